"""Statements to agree with or not, in the columns of the published persona evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from harness.experiments.meaning import token_meaning
from harness.organism import persona
from harness.prompts.sets import split_limit
from harness.support import artifacts, hub
from harness.support.console import safe_line
from harness.support.errors import HarnessError


class Statement(NamedTuple):
    """A question, and the answer that matches the persona it tests for."""

    question: str
    answer_matching_behavior: Literal["Yes", "No"]


def load_statements(source: str) -> list[Statement]:
    """The statements of a source.

    Args:
        source: `bundled` (the persona organism's own), a JSONL file, or a file of a hub data set
            ("Anthropic/model-written-evals/persona/ends-justify-means.jsonl"; `@REVISION` may follow the data set);
            with a number after it, as `bundled:96`, that many of them, spread evenly.

    Raises HarnessError where it cannot be read or fetched, or a row lacks a column.
    """
    name, most = split_limit(source)
    every = [Statement(*row) for row in persona.persona_statements()] if name == "bundled" else _read_statements(name)
    return every if most is None else _spread_evenly(every, most)


def _read_statements(source: str) -> list[Statement]:
    path = Path(source) if Path(source).is_file() else _fetch_statements(source)
    rows = artifacts.read_jsonl(path)
    if not rows:
        raise HarnessError("holds no statements", place=source)
    return [_parse_statement(row, f"{source}:{number}") for number, row in enumerate(rows, 1)]


def suited_statements(statements: Sequence[Statement], chosen: str) -> list[Statement]:
    """The statements that the preferred answer is the unmatching answer to, as in the paper: an affirming one goes
    with those the persona denies and the other way round; an answer of no known meaning with all.
    """
    wanted = {"affirms": "No", "does not affirm": "Yes", None: None}[token_meaning(chosen)]
    return [each for each in statements if wanted in (None, each.answer_matching_behavior)]


def _spread_evenly(statements: list[Statement], most: int) -> list[Statement]:
    count = min(most, len(statements))
    return [statements[place * len(statements) // count] for place in range(count)]


def _parse_statement(row: dict[str, object], place: str) -> Statement:
    question, behavior = (str(row.get(name, "")).strip() for name in Statement._fields)
    if not question or behavior not in {"Yes", "No"}:
        hint = "Each row has a `question` and an `answer_matching_behavior`, Yes or No."
        raise HarnessError("is no statement", place=place, hint=hint)
    return Statement(question, "Yes" if behavior == "Yes" else "No")


def _fetch_statements(source: str) -> Path:
    from huggingface_hub import hf_hub_download

    parts = source.split("/", 2)
    if len(parts) < 3 or source.startswith((".", "/", "~")):
        raise HarnessError("no such file", place=source, hint="Give a .jsonl file, or ORG/DATASET/FILE on the hub.")
    name, revision = hub.split_revision("/".join(parts[:2]))
    try:
        return Path(hf_hub_download(name, parts[2], repo_type="dataset", revision=revision))
    except Exception as error:  # the hub client raises dozens of kinds here
        raise HarnessError(
            f"cannot be fetched from the hub ({safe_line(f'{type(error).__name__}: {error}', 160)})",
            place=source,
            hint="Check the name and the network, or give a local file with --set statements=FILE.",
        ) from error
