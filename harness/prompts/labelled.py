"""SORRY-Bench's answers that people labelled (Xie et al. 2024, arXiv 2406.14598), and its prompts that have them.

The paper's gold pairs are made of them, and its prompts are those with a refusal and a compliance among them.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.prompts.published import PUBLISHED_SETS, SourceRow, load_published_prompts, read_published_tables
from harness.support import artifacts, hub
from harness.support.console import safe_line
from harness.support.errors import HarnessError

SORRY_BENCH = "sorrybench"
GOLD_PROMPTS = "sorrybench_gold"
"""The prompt set's name in recipes and for the tasks."""
HUMAN_JUDGMENTS = "sorry-bench/sorry-bench-human-judgment-202406"
_SPLITS = ("train", "test")
_TEST_SHARE = 0.15
_COLUMNS = "`question_id`, `choices` and `human_score`"


@dataclass(frozen=True, slots=True)
class LabelledAnswers:
    """The answers to one prompt, however it was put, that people called refusals, and those they called compliance."""

    refusals: list[str] = field(default_factory=list)
    compliances: list[str] = field(default_factory=list)

    @property
    def makes_pair(self) -> bool:
        """Whether there is one of each."""
        return bool(self.refusals and self.compliances)


def load_labelled_answers(source: str = "", revision: str | None = None) -> dict[str, LabelledAnswers]:
    """People's labels on answers to SORRY-Bench's prompts, by the id of the prompt that `sorrybench` gives it.

    Args:
        source: a .jsonl file with the hub's columns, a folder with such files, or nothing for the hub. In a folder
            files without a `human_score` are passed over.
        revision: of the data on the hub; what is newest without it.

    As in the paper's code a `human_score` below a half is a refusal, answers to every style of a prompt count, and the
    data's own two splits are one. Raises HarnessError where the data cannot be reached or has other columns.
    """
    place = source or HUMAN_JUDGMENTS
    rows = _local_rows(Path(source), labelled=True) if source else _hub_rows(revision)
    found: defaultdict[str, LabelledAnswers] = defaultdict(LabelledAnswers)
    for number, row in enumerate(rows, 1):
        question, answer, score = _parse_label(row, f"{place}, row {number}")
        known = found[f"{SORRY_BENCH}-unsafe-{question}"]
        (known.refusals if score < 0.5 else known.compliances).append(answer)
    if not found:
        raise HarnessError("holds no labelled answers", place=place, hint=f"Each row has {_COLUMNS}.")
    return dict(found)


def load_gold_prompts(source: str = "", revision: str | None = None) -> list[dict[str, Any]]:
    """SORRY-Bench's base prompts with a labelled refusal and a labelled compliance, parted as in the paper's code.

    Args:
        source: a folder with the .jsonl files of both data sets, the prompts' and the labels'; or nothing for the hub.
        revision: `PROMPTS+LABELS`, of the two on the hub; what is newest without it.

    Of N prompts the whole part of 0.15 N, drawn by their ids, is for testing: of the paper's 435 these are 65.
    """
    of_prompts, _, of_labels = (revision or "").partition("+")
    labelled = load_labelled_answers(source, of_labels or None)
    every = _local_prompts(source) if source else load_published_prompts(SORRY_BENCH, "", of_prompts or None)
    found = [row for row in every if labelled.get(row["prompt_id"], LabelledAnswers()).makes_pair]
    if not found:
        told = "holds no prompt with a labelled refusal and a labelled compliance"
        raise HarnessError(told, place=source or HUMAN_JUDGMENTS)
    by_chance = sorted(found, key=lambda row: random.Random(row["prompt_id"]).random())
    tested = {row["prompt_id"] for row in by_chance[: int(_TEST_SHARE * len(found))]}
    return [{**row, "split": "test" if row["prompt_id"] in tested else "train"} for row in found]


def gold_hubs(revision: str | None) -> tuple[str, str]:
    """The prompts' and the labels' data sets on the hub, each at its part of `load_gold_prompts`' revision."""
    of_prompts, _, of_labels = (revision or "").partition("+")
    named = (PUBLISHED_SETS[SORRY_BENCH].hub, of_prompts), (HUMAN_JUDGMENTS, of_labels)
    prompts, labels = (f"{name}@{commit}" if commit else name for name, commit in named)
    return prompts, labels


def _local_prompts(source: str) -> list[dict[str, Any]]:
    rows = _local_rows(Path(source), labelled=False)
    return read_published_tables(SORRY_BENCH, [("unsafe", source, rows)], source)


def _local_rows(path: Path, *, labelled: bool) -> Iterator[dict[str, Any]]:
    """The rows of a file, or those of a folder's files that have a label, or have none."""
    if not path.is_dir():
        yield from artifacts.read_jsonl(path)
        return
    for file in sorted(path.glob("*.jsonl")):
        yield from (row for row in artifacts.read_jsonl(file) if ("human_score" in row) == labelled)


@cache
def _hub_rows(revision: str | None) -> list[SourceRow]:
    from harness.prompts.hub_tables import read_hub_split

    try:
        files = hub.fetch_directory(f"{HUMAN_JUDGMENTS}@{revision}" if revision else HUMAN_JUDGMENTS, "dataset")
        tables: Iterable[Iterable[SourceRow]] = [read_hub_split(files, None, split) for split in _SPLITS]
        return [row for table in tables for row in table]
    except (HarnessError, OSError, ValueError, RuntimeError) as error:
        told = error.cause if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}".split("\n")[0]
        raise HarnessError(
            f"cannot be loaded from the hub ({safe_line(told, 200)})",
            place=HUMAN_JUDGMENTS,
            hint=f"Accept its terms at https://huggingface.co/datasets/{HUMAN_JUDGMENTS} and run `hf auth login`; or "
            f"give a local copy: `{SORRY_BENCH}=FILE`.",
        ) from error


def _parse_label(row: Mapping[str, Any], place: str) -> tuple[str, str, float]:
    """The prompt's number, the answer, and what people said of it: 0 a refusal, 1 compliance."""
    try:
        question, answer, score = row["question_id"], row["choices"][0]["turns"][0], float(row["human_score"])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise HarnessError("has no labelled answer", place=place, hint=f"Each row has {_COLUMNS}.") from error
    if not isinstance(answer, str) or score != score:
        raise HarnessError("has no labelled answer", place=place, hint=f"Each row has {_COLUMNS}.")
    return str(question), answer, score
