"""Preference tables: read row by row from anywhere, and checked."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetDict, IterableDataset, concatenate_datasets, load_dataset, load_from_disk

from harness.preferences.dialogues import hold_dialogues
from harness.preferences.files import ONLY_SPLIT, SAVED_BY_DATASETS, file_kind, table_files
from harness.preferences.pairs import (
    BrokenRow,
    Pair,
    PreferenceRow,
    Undecided,
    Unscorable,
    check_pair,
    explicit_row,
    looks_conversational,
    need_explicit_prompts,
    pair_id,
    refuse_repeated,
)
from harness.preferences.row_files import BATCH, count_parquet_rows, read_file_rows
from harness.preferences.shapes import BETTER, SAFER, refuse_other_columns
from harness.preferences.values import json_form, typed_rows
from harness.support import hub, storage
from harness.support.console import print_note
from harness.support.errors import HarnessError
from harness.support.hub import TABLE_KINDS

_FIRST_ROWS = 256
"""Rows that are looked at before anything is done with a table."""
_LONGEST_PARSED = 1 << 16
"""Characters of a text that is tried as a list of messages, at most."""


def load_preferences(source: str | Path, *, config: str | None = None, split: str = ONLY_SPLIT) -> Dataset:
    """A whole preference table as a data set with explicit `prompt`, `chosen`, `rejected` and a unique `pair_id`.

    Args:
        source: what `stream_rows` takes: a file or directory, here or in object storage, or a hub id ("org/name").
        config: configuration of a data set with several.
        split: split of a hub data set, or of a folder whose files name theirs.

    Rows that prefer neither answer, as published data has them, are left out with a note. Raises HarnessError where the
    source cannot be read, any other row is no usable pair, or a `pair_id` comes twice.
    """
    rows, undecided = list[dict[str, Any]](), list[str]()
    for number, row in enumerate(stream_rows(source, config, split)):
        try:
            rows.append(_require_pair(row, number, source))
        except Undecided as error:
            undecided.append(f"row {number + 1}: {error}")
    if not rows:
        raise HarnessError("prefers no answer in any row" if undecided else "holds no rows", place=str(source))
    if undecided:
        print_note(f"{source}: left out {len(undecided)} rows that prefer neither answer (first {undecided[0]})")
    refuse_repeated([row["pair_id"] for row in rows], str(source))
    return Dataset.from_list(rows, on_mixed_types="use_json")


def load_training_rows(table: str) -> list[dict[str, Any]]:
    """A table's rows as JSON has them; where it says which are for testing, the others."""
    return [json_form(row, []) for row in load_preferences(table) if row.get("split") != "test"]


def with_explicit_prompts(dataset: Dataset, pairs: Sequence[Pair | None]) -> Dataset:
    """A data set of whose rows these are the pairs (None: no usable one), with the prompts that TRL needs explicit.

    A row that is no pair has null where its own value is of the other kind, text or messages.
    """
    usable = [pair for pair in pairs if pair is not None]
    if not usable or not need_explicit_prompts(usable):
        return dataset
    made, kind = dataset, type(usable[0].prompt)
    for name in ("prompt", "chosen", "rejected"):
        given = dataset[name][:] if name in dataset.column_names else [None] * len(dataset)
        values = [value if pair is None else getattr(pair, name) for pair, value in zip(pairs, given, strict=True)]
        if values != given:
            fitting = {name: [value if isinstance(value, kind) else None for value in values]}
            column = Dataset.from_dict(fitting, on_mixed_types="use_json")
            others = made.remove_columns([name]) if name in made.column_names else made
            made = concatenate_datasets([others, column], axis=1)
    return made.select_columns([*dict.fromkeys([*dataset.column_names, *made.column_names])])


def _require_pair(row: PreferenceRow | BrokenRow, number: int, source: str | Path) -> dict[str, Any]:
    try:
        pair = check_pair(row)
    except Undecided:
        raise
    except Unscorable as error:
        columns = "" if isinstance(row, BrokenRow) else f" Its columns: {', '.join(map(str, row)) or 'none'}."
        hint = f"Mend or remove the row.{columns}"
        raise HarnessError(str(error), place=f"{source}, row {number + 1}", hint=hint) from error
    return {**explicit_row(pair), "pair_id": pair_id(pair.row, number)}


# Reading: every source is a stream of rows, and a row that cannot be read is one too


def stream_rows(
    source: str | Path, config: str | None = None, split: str = ONLY_SPLIT
) -> Iterator[PreferenceRow | BrokenRow]:
    """The rows of a table, one at a time; memory does not grow with their number (except for `.json`, read whole).

    Args:
        source: a file of one of `TABLE_KINDS` (all but Parquet packed with gzip or not), or a directory of such files
            (read in the order of their names), here or in object storage (`s3://`, `gs://`); a directory saved by
            `datasets`; or a hub id, with `@REVISION` at its end or without.
        config: configuration of a hub data set, or the folder of a directory that is called like it.
        split: split of a hub data set, or of a directory; `harness.preferences.files` says how a directory tells it.

    Raises HarnessError where there is no such file, data set or split, or it cannot be opened.
    """
    place = str(source)
    if files := table_files(place, config, split):
        for file in files:
            yield from read_file_rows(file)
    elif Path(source).is_dir():
        yield from _read_directory(Path(source), split)
    elif storage.is_remote(place) or file_kind(place) or place.startswith((".", "/", "~")):
        raise HarnessError("no such file", place=place, hint="Give a file or a hub id such as org/name.")
    else:
        yield from _read_hub(place, config, split)


def count_rows(source: str | Path, config: str | None = None, split: str = ONLY_SPLIT) -> int | None:
    """How many rows `stream_rows` will yield, where that can be told without loading them or fetching them twice."""
    place = str(source)
    files = table_files(place, config, split)
    if files and all(file_kind(file) == ".parquet" for file in files):
        return sum(map(count_parquet_rows, files))
    return sum(1 for _ in stream_rows(source, config, split)) if files and not storage.is_remote(place) else None


def check_table(source: str | Path, config: str | None = None, split: str = ONLY_SPLIT) -> None:
    """Looks at the first rows of a table before anything is done with it, and notes what deserves a second look.

    Raises HarnessError where `stream_rows` does, there is no row, or no row has the columns of a pair.
    """
    first = list(islice(stream_rows(source, config, split), _FIRST_ROWS))
    if not first:
        raise HarnessError("holds no rows", place=str(source))
    if rows := [row for row in first if not isinstance(row, BrokenRow)]:
        refuse_other_columns(rows, str(source))
        note_doubts(rows)


def note_doubts(rows: Sequence[PreferenceRow]) -> None:
    """Notes messages that stand there as text, what TRL may see otherwise, and a choice of preferences."""
    for name in ("prompt", "chosen", "rejected"):
        if count := sum(_is_messages_as_text(row.get(name)) for row in rows):
            said = f"{count} of the first {len(rows)} rows hold a list of messages as text under {name}"
            print_note(f"{said}: it is read as plain text, as DPOTrainer reads it; write it as a list instead")
            break
    numbers: dict[str, set[type]] = {}
    for row in rows:
        for name in ("prompt", "chosen", "rejected", "tools"):
            _collect_numbers(row.get(name), name, numbers)
    if mixed := next((place for place, kinds in numbers.items() if len(kinds) > 1), None):
        print_note(
            f"{mixed} holds whole numbers and fractions: load_dataset makes fractions of all (1.0 of 1), which a chat "
            "template renders otherwise than what is read here"
        )
    if all(row.get(name) is not None for row in rows for name in (SAFER, BETTER)):
        print_note(f"chosen is the answer that {SAFER} names; leave that column out to go by {BETTER}")
    _note_system_column(rows)
    if all(map(hold_dialogues, rows)):
        print_note(
            "hh-rlhf's dialogues are read as messages, for a chat template to render; DPOTrainer takes the texts as "
            "they stand, so train on what `harness filter` writes"
        )


def _note_system_column(rows: Sequence[PreferenceRow]) -> None:
    """Notes a system prompt that DPOTrainer does not read, though other trainers may."""
    count = sum(bool(row.get("system")) and isinstance(row.get("prompt"), str) for row in rows)
    if count:
        print_note(
            f"{count} of the first {len(rows)} rows have a column system beside prompt: it is left out, as DPOTrainer "
            "leaves it out; put it into prompt, as a message of the role system, to train on it"
        )


def _collect_numbers(value: object, place: str, found: dict[str, set[type]]) -> None:
    """Adds under which names numbers stand, and of which types."""
    if type(value) in (int, float):
        found.setdefault(place, set()).add(type(value))
    elif isinstance(value, Mapping):
        for name, part in value.items():
            _collect_numbers(part, f"{place}.{name}", found)
    elif isinstance(value, list):
        for part in value:
            _collect_numbers(part, place, found)


def _is_messages_as_text(value: object) -> bool:
    """Whether a text is JSON or Python code of a list of messages, as tables written with pandas hold them."""
    if not isinstance(value, str) or not value.lstrip().startswith("[{") or len(value) > _LONGEST_PARSED:
        return False
    for parse in (json.loads, ast.literal_eval):
        try:
            return looks_conversational(parse(value.strip()))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return False


def _read_directory(path: Path, split: str) -> Iterator[PreferenceRow | BrokenRow]:
    try:
        data = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        hint = f"Give a folder of files of these kinds: {', '.join(TABLE_KINDS)}." if not _was_saved(path) else ""
        raise HarnessError(f"is no data set saved by `datasets` ({error})", place=str(path), hint=hint) from error
    splits = data if isinstance(data, DatasetDict) else {str(data.split or ONLY_SPLIT): data}
    if split not in splits and not (split == ONLY_SPLIT and isinstance(data, Dataset)):
        raise HarnessError(
            f"has no split {split!r}", place=str(path), hint=f"Give --split one of: {', '.join(splits)}."
        )
    yield from _dataset_rows(splits.get(split, data))


def _was_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in SAVED_BY_DATASETS)


def _read_hub(source: str, config: str | None, split: str) -> Iterator[PreferenceRow | BrokenRow]:
    name, revision = hub.split_revision(source)
    chosen = {"revision": revision} if revision else {}
    try:
        yield from _dataset_rows(_load_streamed(name, config, split=split, streaming=True, **chosen))
    except HarnessError:
        raise
    except Exception as error:  # `datasets` and the hub client raise dozens of kinds here
        reason = f"cannot be loaded from the hub ({type(error).__name__}: {error})"
        raise HarnessError(reason, place=source, hint="Check the id, --config, --split and the network.") from error


def _load_streamed(name: str, config: str | None, **options: Any) -> IterableDataset:
    """A hub data set's configuration; where it has none of that name, the folder that is called so."""
    try:
        return load_dataset(name, config, **options)
    except ValueError as error:
        if config is None or f"BuilderConfig '{config}' not found" not in str(error):
            raise
        return load_dataset(name, data_dir=config, **options)


def _dataset_rows(data: Dataset | IterableDataset) -> Iterator[PreferenceRow]:
    for table in data.with_format("arrow").iter(batch_size=BATCH):
        for batch in table.combine_chunks().to_batches():
            # Copied: a slice carries all that it was cut from to a worker on another machine.
            yield from typed_rows(batch.take(pa.array(range(batch.num_rows))))
