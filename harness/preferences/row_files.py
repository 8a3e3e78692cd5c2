"""Rows of table files, one at a time; a row that cannot be read is one too. Nothing heavy is loaded for it."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from harness.preferences.files import file_kind, is_packed
from harness.preferences.pairs import BrokenRow, PreferenceRow, looks_conversational
from harness.preferences.values import typed_rows
from harness.support import storage
from harness.support.errors import HarnessError
from harness.support.hub import TABLE_KINDS

BATCH = 256
"""Rows of a table with types that are read at a time."""


def read_file_rows(place: str) -> Iterator[PreferenceRow | BrokenRow]:
    """The rows of one file of `TABLE_KINDS`, here or in object storage; only `.json` is read whole.

    Raises HarnessError where the file is of another kind or cannot be read.
    """
    readers = {".jsonl": _read_jsonl, ".ndjson": _read_jsonl, ".json": _read_json, ".csv": _read_csv,
               ".tsv": _read_tsv, ".parquet": _read_parquet}  # fmt: skip
    kind = file_kind(place)
    if kind is None:
        hint = f"Use one of {', '.join(TABLE_KINDS)}, or of all but Parquet with .gz behind it."
        raise HarnessError("is of no known kind", place=place, hint=hint)
    try:
        with storage.open_for_reading(place) as stream:
            yield from readers[kind](_unpacked(stream, place), place)
    except (OSError, EOFError, zlib.error) as error:
        said = getattr(error, "strerror", None) or error
        raise HarnessError(f"cannot be read ({said})", place=place) from error


def _unpacked(stream: BinaryIO, place: str) -> BinaryIO:
    return cast(BinaryIO, gzip.open(stream)) if is_packed(place) else stream


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


def _read_tsv(stream: BinaryIO, place: str) -> Iterator[PreferenceRow | BrokenRow]:
    return _read_csv(stream, place, delimiter="\t")


def _read_csv(stream: BinaryIO, _place: str, delimiter: str = ",") -> Iterator[PreferenceRow | BrokenRow]:
    csv.field_size_limit(sys.maxsize)
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    rows = csv.DictReader(text, delimiter=delimiter)
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
        for batch in table.iter_batches(batch_size=BATCH):
            yield from typed_rows(batch)


def count_parquet_rows(place: str) -> int:
    """How many rows a Parquet file has, without reading them."""
    with storage.open_for_reading(place) as stream, _open_parquet(stream, place) as table:
        return int(table.metadata.num_rows)


@contextmanager
def _open_parquet(stream: BinaryIO, place: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(stream) as table:
            yield table
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise HarnessError(f"is not Parquet ({error})", place=place, hint="Write the file anew.") from error
