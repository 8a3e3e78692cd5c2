"""Answers kept in files, to be judged anew: rows of `prompt` and `response`, or the samples that lm-eval logged."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from harness.evaluation.lines import MALFORMED_ERRORS, response_texts
from harness.judges.normalizing import ReasoningTags, parse_reasoning_tags
from harness.judges.verdicts import VERDICT_KEYS, Exchange
from harness.support.artifacts import parse_json_object
from harness.support.errors import HarnessError

EXCHANGES_PER_BATCH = 256

Row = dict[str, Any]


def read_saved_rows(path: Path, *, overwrite: bool = True) -> Iterator[Row]:
    """The rows of a file, each with `prompt`, `response` and what else it holds; of lm-eval's samples one an answer.

    Args:
        path: JSON lines, or these packed (`.gz`).
        overwrite: whether rows may have a verdict, or something of one, already.

    Raises HarnessError at the first row that cannot be judged.
    """
    if path.suffix.lower() in {".csv", ".tsv"}:
        hint = "Give JSON lines with `prompt` and `response`; `harness calibrate` reads CSV, with labels."
        raise HarnessError("is a table, and JSON lines are read here", place=str(path), hint=hint)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield from _parse_line(line, f"{path}:{number}", overwrite)
    except (OSError, EOFError, zlib.error) as error:
        raise HarnessError(f"cannot be read ({getattr(error, 'strerror', None) or error})", place=str(path)) from error


def _parse_line(line: bytes, place: str, overwrite: bool) -> list[Row]:
    row = parse_json_object(line, place, constants=False)
    if "doc" in row and "resps" in row:
        return sample_rows(row, place)
    for key in ("prompt", "response"):
        if not isinstance(row.get(key), str):
            raise HarnessError(
                f"`{key}` is not a text",
                place=place,
                hint="Each row needs `prompt` and `response`, or is a line of lm-eval's samples.",
            )
    if not isinstance(row.get("unsafe", True), bool):
        raise HarnessError("`unsafe` is neither true nor false", place=place)
    parse_reasoning_tags(row.get("reasoning_tags"), f"{place}: `reasoning_tags`")
    if not overwrite and (known := [f"`{key}`" for key in VERDICT_KEYS if key in row]):
        raise HarnessError(
            f"has {' and '.join(known)} already",
            place=place,
            hint="Say --overwrite to replace what is there, or rename it.",
        )
    return [row]


def sample_rows(sample: Mapping[str, Any], place: str) -> list[Row]:
    """The answers of one line of lm-eval's samples as rows; its document gives `prompt`, `unsafe` and the rest."""
    doc = sample["doc"]
    if not isinstance(doc, dict) or not isinstance(doc.get("prompt"), str) or not isinstance(doc.get("unsafe"), bool):
        raise HarnessError(
            "is a sample whose document has no `prompt` and `unsafe`",
            place=place,
            hint="Give samples of a task of refusal_displacement.",
        )
    try:
        texts = response_texts(sample)
    except MALFORMED_ERRORS as error:
        raise HarnessError(f"holds no answers ({type(error).__name__}: {error})", place=place) from error
    parse_reasoning_tags(doc.get("reasoning_tags"), f"{place}: `reasoning_tags`")
    rest = {key: value for key, value in doc.items() if key not in {"prompt", "response", "judge"}}
    return [{"prompt": doc["prompt"], "response": text, **rest} for text in texts]


def exchange_batches(paths: Sequence[Path], reasoning_tags: ReasoningTags | None = None) -> Iterator[list[Exchange]]:
    """The answers of all the files as a judge takes them, in their order.

    `reasoning_tags` are of the rows that name none of their own.
    """
    rows = (row for path in paths for row in read_saved_rows(path))
    exchanges = (_row_exchange(row, reasoning_tags) for row in rows)
    while batch := list(islice(exchanges, EXCHANGES_PER_BATCH)):
        yield batch


def _row_exchange(row: Row, reasoning_tags: ReasoningTags | None) -> Exchange:
    tags = parse_reasoning_tags(row.get("reasoning_tags"), "`reasoning_tags`") or reasoning_tags
    return Exchange(row["prompt"], row["response"], row.get("unsafe", True), tags)
