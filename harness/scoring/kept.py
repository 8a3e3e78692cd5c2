"""The kept pairs of a table of scores, written as they were given and with their scores beside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from harness.preferences.formats import PairFormat, format_rows
from harness.preferences.pairs import Unscorable, trainable_rows
from harness.preferences.values import JsonForm, given_rows, given_text, json_form
from harness.scoring.filtering import Choice
from harness.scoring.scorer import score_columns
from harness.scoring.streaming import GIVEN
from harness.scoring.targets import TARGETS
from harness.support.artifacts import atomic_file, write_jsonl
from harness.support.console import print_note
from harness.support.errors import HarnessError

_PAIR = ("prompt", "chosen", "rejected")
_INTERNAL = ("reason", "unreadable", "prompt_merged", GIVEN)
"""Columns that only scoring needs."""
_ADDED = tuple(name for name in score_columns(with_coefficients=True, targets=TARGETS) if name not in _INTERNAL)
"""Columns that a kept pair gets beside its own."""
_BESIDE = "harness_"
"""What an added column is called with, where the pairs have one of its name."""


def read_scores(path: Path) -> Dataset:
    """A table of scores; where it carries the pairs as they were given, its columns of numbers and texts alone.

    Raises HarnessError where it cannot be read.
    """
    with _explained(path):
        file = pq.ParquetDataset(path)
        flat = [f.name for f in file.schema if f.name.isprintable() and f.name and not pa.types.is_nested(f.type)]
        names = [name for name in flat if name not in (GIVEN, *_PAIR)] if GIVEN in file.schema.names else None
        return Dataset(file.read(names))


def write_kept(scores: Path, table: Dataset, choice: Choice, out: Path, kind: PairFormat | None = None) -> None:
    """Writes the kept pairs of a table of scores: Parquet where `out` is called so, else JSON lines.

    A pair has its columns value for value as it was given, its `pair_id`, and beside them its scores and lengths. Where
    TRL would not take the pairs together as they were given, their prompts are made explicit. In JSON lines, values
    that JSON has not are in the form that `harness.preferences.values.json_form` says, which a note tells. With a
    `kind`, the columns of the pair itself are that format's (`harness.preferences.formats`).

    Raises HarnessError where Parquet has no common type for a column of pairs that came as JSON or text, and where the
    format has no place for what a pair holds.
    """
    place = {name: number for number, name in enumerate(table["pair_id"][:])}
    given, carried = _read_given(scores, [place[name] for name in choice.kept["pair_id"][:]])
    rows = given_rows(given)
    try:
        trainable = trainable_rows(rows) if kind is None else format_rows(rows, kind)
    except Unscorable as error:
        raise HarnessError(f"holds a pair that is none ({error})", place=str(scores), hint="Score it again.") from error
    beside = _columns_beside(choice.kept, rows) if carried else {}
    if out.suffix == ".parquet":
        _write_parquet(out, given, rows, trainable, beside)
        return
    found: list[JsonForm] = []
    write_jsonl(
        out,
        (
            json_form(row, found) | {name: values[place] for name, values in beside.items()}
            for place, row in enumerate(trainable)
        ),
    )
    _note_forms(found, out)


def _read_given(scores: Path, places: Sequence[int]) -> tuple[pa.ChunkedArray, bool]:
    """The rows at `places` as they were given, and whether the table carries those: else they are its own columns."""
    with _explained(scores):
        file = pq.ParquetDataset(scores)
        names = file.schema.names
        if GIVEN in names:
            return file.read([GIVEN])[GIVEN].take(pa.array(places)), True
        kept = file.read([name for name in names if name not in _INTERNAL]).take(pa.array(places))
    return kept.to_struct_array(), False


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        hint = "Give a Parquet file written by `harness score`."
        raise HarnessError(f"cannot be read ({error})", place=str(path), hint=hint) from error


def _columns_beside(kept: Dataset, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What is added to the kept pairs, under names that none of them has: their id where one has none, their scores."""
    own = {name for row in rows for name in row}
    beside: dict[str, list[Any]] = {}
    if not all(row.get("pair_id") not in (None, "") for row in rows):
        beside["pair_id"] = [
            name if row.get("pair_id") in (None, "") else row["pair_id"]
            for name, row in zip(kept["pair_id"][:], rows, strict=True)
        ]
    renamed: dict[str, str] = {}
    for name in (name for name in _ADDED if name in kept.column_names):
        new = name
        while new in own:
            new = _BESIDE + new
        beside[new] = kept[name][:]
        renamed |= {name: new} if new != name else {}
    if renamed:
        names = ", ".join(f"{name} ({new})" for name, new in renamed.items())
        print_note(
            f"the pairs have columns of their own named like scores; theirs are kept, the scores are beside: {names}"
        )
    return beside


def _note_forms(found: Iterable[JsonForm], out: Path) -> None:
    if forms := dict.fromkeys(found):
        said = ", ".join(f"{column} ({form})" for column, form in forms)
        print_note(
            f"JSON has no such values, so these are in another form: {said}; name --out {out.stem}.parquet to keep them"
        )


# Parquet


def _write_parquet(
    out: Path,
    given: pa.ChunkedArray,
    rows: Sequence[Mapping[str, Any]],
    trainable: Sequence[Mapping[str, Any]],
    beside: Mapping[str, list[Any]],
) -> None:
    columns: dict[str, pa.ChunkedArray | list[Any]] = {}
    if pa.types.is_struct(given.type):
        table = pa.Table.from_struct_array(given)
        left = {name for row in trainable for name in row}
        columns = {n: c for n, c in zip(table.column_names, table.columns, strict=True) if n in left}
    for name in dict.fromkeys(name for row in trainable for name in row):
        values = [row.get(name) for row in trainable]
        if name not in columns or any(old.get(name) != new for old, new in zip(rows, values, strict=True)):
            columns[name] = _exact_column(values, name)
    added = {name: _exact_column(values, name) for name, values in beside.items()}
    with atomic_file(out) as temporary:
        pq.write_table(pa.table(columns | added), temporary)


def _exact_column(values: list[Any], name: str) -> pa.ChunkedArray:
    """Values that came without types as a column of one; `datasets` and TRL read it as the values that they are."""
    data = Dataset.from_dict({name: values}, on_mixed_types="use_json")
    if [given_text({name: value}) for value in data[name]] != [given_text({name: value}) for value in values]:
        cause = f"holds values that Parquet has no one type for, under {name}"
        raise HarnessError(cause, place="--out", hint="Name a .jsonl file.")
    return data.data.column(name)
