"""Preference tables: read row by row from anywhere, and checked."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset, load_from_disk

from harness.preferences.pairs import (
    BrokenRow,
    PreferenceRow,
    Unscorable,
    check_pair,
    explicit_row,
    looks_conversational,
    pair_id,
    refuse_repeated,
)
from harness.support import hub, storage
from harness.support.errors import HarnessError

_LOCAL = {".jsonl", ".ndjson", ".json", ".csv", ".parquet"}
_SAVED_BY_DATASETS = {"dataset_info.json", "dataset_dict.json", "state.json"}


def load_preferences(source: str | Path, *, config: str | None = None, split: str = "train") -> Dataset:
    """A whole preference table as a data set with explicit `prompt`, `chosen`, `rejected` and a unique `pair_id`.

    Args:
        source: what `stream_rows` takes: a file or directory, here or in object storage, or a hub id ("org/name").
        config: configuration of a hub data set.
        split: split of a hub data set.

    Raises HarnessError where the source cannot be read, a row is no usable pair, or a `pair_id` comes twice.
    """
    rows = [_require_pair(row, number, source) for number, row in enumerate(stream_rows(source, config, split))]
    if not rows:
        raise HarnessError("holds no rows", place=str(source))
    refuse_repeated([row["pair_id"] for row in rows], str(source))
    return Dataset.from_list(rows)


def load_training_rows(table: str) -> list[dict[str, Any]]:
    """A table's rows; where it says which are for testing, the others."""
    return [row for row in load_preferences(table) if row.get("split") != "test"]


def _require_pair(row: PreferenceRow | BrokenRow, number: int, source: str | Path) -> dict[str, Any]:
    try:
        pair = check_pair(row)
    except Unscorable as error:
        raise HarnessError(str(error), place=f"{source}, row {number + 1}", hint="Mend or remove the row.") from error
    return {**explicit_row(pair), "pair_id": pair_id(pair.row, number)}


# Reading: every source is a stream of rows, and a row that cannot be read is one too


def stream_rows(
    source: str | Path, config: str | None = None, split: str = "train"
) -> Iterator[PreferenceRow | BrokenRow]:
    """The rows of a table, one at a time; memory does not grow with their number (except for `.json`, read whole).

    Args:
        source: a JSONL, JSON, CSV or Parquet file, or a directory of such files (read in the order of their names),
            here or in object storage (`s3://`, `gs://`); a directory saved by `datasets`; or a hub id,
            with `@REVISION` at its end or without.
        config: configuration of a hub data set.
        split: split of a hub data set.

    Raises HarnessError where there is no such file or data set, or it cannot be opened.
    """
    place = str(source)
    if files := _table_files(place):
        for file in files:
            yield from _read_file(file)
    elif Path(source).is_dir():
        yield from _read_directory(Path(source))
    elif storage.is_remote(place) or Path(place).suffix in _LOCAL or place.startswith((".", "/", "~")):
        raise HarnessError("no such file", place=place, hint="Give a file or a hub id such as org/name.")
    else:
        yield from _read_hub(place, config, split)


def count_rows(source: str | Path, config: str | None = None, split: str = "train") -> int | None:
    """How many rows `stream_rows` will yield, where that can be told without loading them or fetching them twice."""
    place = str(source)
    files = _table_files(place)
    if files and all(file.endswith(".parquet") for file in files):
        return sum(map(_count_parquet_rows, files))
    return sum(1 for _ in stream_rows(source, config, split)) if files and not storage.is_remote(place) else None


def _table_files(place: str) -> list[str]:
    """The files of a table: the one named, or those of known kinds in a directory that is no `datasets` one."""
    if storage.is_file(place):
        return [place]
    names = storage.file_names(place)
    if _SAVED_BY_DATASETS & set(names):
        return []
    return [storage.join_path(place, name) for name in names if Path(name).suffix in _LOCAL and name[0] not in "._"]


def _read_file(place: str) -> Iterator[PreferenceRow | BrokenRow]:
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".json": _read_json, ".csv": _read_csv,
               ".parquet": _read_parquet}  # fmt: skip
    reader = readers.get(Path(place).suffix)
    if reader is None:
        raise HarnessError("is of no known kind", place=place, hint=f"Use one of {', '.join(sorted(_LOCAL))}.")
    try:
        with storage.open_for_reading(place) as stream:
            yield from reader(stream, place)
    except OSError as error:
        raise HarnessError(f"cannot be read ({error.strerror or error})", place=place) from error


def _read_jsonl(stream: BinaryIO, _place: str) -> Iterator[PreferenceRow | BrokenRow]:
    yield from (_json_row(line) for line in stream if line.strip())


def _json_row(line: bytes) -> PreferenceRow | BrokenRow:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return BrokenRow("not UTF-8", line[:200].decode(errors="replace"))
    except (ValueError, RecursionError):
        return BrokenRow("not JSON", line[:200].decode(errors="replace"))
    return row if isinstance(row, dict) else BrokenRow("not a JSON object", line[:200].decode(errors="replace"))


def _read_json(stream: BinaryIO, place: str) -> Iterator[PreferenceRow | BrokenRow]:
    """A JSON array of rows, an object with one under `data`, or (as `datasets` allows) one object a line."""
    content = stream.read()
    try:
        value = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        yield from _read_jsonl(io.BytesIO(content), place)
        return
    rows = value.get("data", [value]) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise HarnessError("holds no list of rows", place=place, hint="Write a JSON array of objects.")
    yield from (row if isinstance(row, dict) else BrokenRow("not a JSON object", str(row)[:200]) for row in rows)


def _read_csv(stream: BinaryIO, _place: str) -> Iterator[PreferenceRow | BrokenRow]:
    csv.field_size_limit(sys.maxsize)
    rows = csv.DictReader(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
    while True:
        try:
            yield _csv_row(next(rows))
        except StopIteration:
            return
        except csv.Error as error:
            yield BrokenRow(f"not CSV ({error})")


def _csv_row(row: Mapping[Any, Any]) -> PreferenceRow | BrokenRow:
    if None in row:
        return BrokenRow("more fields than the header names", str(row)[:200])
    return {str(name): _parse_messages(cell) for name, cell in row.items()}


def _parse_messages(cell: str | None) -> object:
    """A CSV cell that holds a JSON list of messages, as that list; any other as it stands."""
    if cell is None or not cell.lstrip().startswith("["):
        return cell
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    return value if looks_conversational(value) else cell


def _read_parquet(stream: BinaryIO, place: str) -> Iterator[PreferenceRow | BrokenRow]:
    with _open_parquet(stream, place) as table:
        for batch in table.iter_batches(batch_size=256):
            yield from batch.to_pylist()


def _count_parquet_rows(place: str) -> int:
    with storage.open_for_reading(place) as stream, _open_parquet(stream, place) as table:
        return int(table.metadata.num_rows)


@contextmanager
def _open_parquet(stream: BinaryIO, place: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(stream) as table:
            yield table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise HarnessError(f"is not Parquet ({error})", place=place, hint="Write the file anew.") from error


def _read_directory(path: Path) -> Iterator[PreferenceRow | BrokenRow]:
    try:
        data = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise HarnessError(f"is no data set saved by `datasets` ({error})", place=str(path)) from error
    if not isinstance(data, Dataset):
        raise HarnessError("holds several splits", place=str(path), hint=f"Give one of: {', '.join(data)}.")
    yield from data


def _read_hub(source: str, config: str | None, split: str) -> Iterator[PreferenceRow | BrokenRow]:
    name, revision = hub.split_revision(source)
    chosen = {"revision": revision} if revision else {}
    try:
        yield from load_dataset(name, config, split=split, streaming=True, **chosen)
    except Exception as error:  # `datasets` and the hub client raise dozens of kinds here
        reason = f"cannot be loaded from the hub ({type(error).__name__}: {error})"
        raise HarnessError(reason, place=source, hint="Check the id, --config, --split and the network.") from error
