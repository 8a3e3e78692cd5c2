"""A row's values as they were given: kept with the types that Arrow has for them, and put into JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pyarrow as pa

from harness.support.errors import HarnessError


class TypedRow(dict[str, Any]):
    """A row of a table that has types, and where in Arrow it stands: `place` in `batch`."""

    __slots__ = ("batch", "place")

    def __init__(self, values: Mapping[str, Any], batch: pa.RecordBatch, place: int) -> None:
        super().__init__(values)
        self.batch, self.place = batch, place

    def __reduce__(self) -> tuple[Any, ...]:
        """How a worker on another machine gets it; rows of one batch share it there too."""
        return TypedRow, (dict(self), self.batch, self.place)


def typed_rows(batch: pa.RecordBatch) -> Iterator[TypedRow]:
    """The rows of a batch. Raises HarnessError naming a column that comes twice or whose values Python cannot hold."""
    columns: dict[str, list[Any]] = {}
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if field.name in columns:
            raise HarnessError("comes twice", place=f"column {field.name!r}", hint="Rename or leave out one of them.")
        try:
            columns[field.name] = python_values(column)
        except (ValueError, OverflowError, pa.ArrowException) as error:
            cause = f"holds values that cannot be read ({error})"
            raise HarnessError(cause, place=f"column {field.name!r}", hint="Leave the column out.") from error
    for place in range(batch.num_rows):
        yield TypedRow({name: values[place] for name, values in columns.items()}, batch, place)


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """The values of a column; those that `datasets` keeps as JSON (Arrow's type `arrow.json`) are read."""
    values: list[Any] = column.to_pylist()
    read = _json_reader(column.type)
    return values if read is None else [read(value) for value in values]


Read = Callable[[Any], Any]


def _json_reader(kind: pa.DataType) -> Read | None:
    """What reads the JSON inside values of an Arrow type; None where there is none."""
    if isinstance(kind, pa.BaseExtensionType):
        return _unless_null(json.loads) if kind.extension_name == "arrow.json" else None
    if pa.types.is_struct(kind):
        found = {field.name: read for field in kind if (read := _json_reader(field.type))}
        return (
            _unless_null(lambda value: {**value, **{n: read(value[n]) for n, read in found.items()}}) if found else None
        )
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        inner = _json_reader(kind.value_type)
        return _unless_null(lambda value: [inner(part) for part in value]) if inner else None
    return None


def _unless_null(read: Read) -> Read:
    return lambda value: None if value is None else read(value)


# The column in which a table of scores carries the rows as they were given


def given_column(rows: Sequence[Mapping[str, Any] | None]) -> pa.Array:
    """Rows as one column: structs of their own types where they have types, else each row's JSON text."""
    if all(row is None for row in rows):
        return pa.nulls(len(rows))
    typed = [row for row in rows if isinstance(row, TypedRow)]
    if typed and len(typed) == sum(row is not None for row in rows):
        try:
            return _struct_column(rows)
        except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
            pass  # files of one table that give a column different types, or types that Parquet cannot write
    return pa.array([None if row is None else given_text(row) for row in rows], pa.string())


def _struct_column(rows: Sequence[Mapping[str, Any] | None]) -> pa.Array:
    runs: list[tuple[pa.RecordBatch, list[int]]] = []
    order: list[int | None] = []
    for row in rows:
        if not isinstance(row, TypedRow):
            order.append(None)
            continue
        if not runs or runs[-1][0] is not row.batch:
            runs.append((row.batch, []))
        order.append(sum(len(places) for _, places in runs))
        runs[-1][1].append(row.place)
    tables = [pa.table(batch.take(pa.array(places))) for batch, places in runs]
    whole = pa.concat_tables(tables, promote_options="default")
    if any(_holds_empty_struct(field.type) for field in whole.schema):
        raise pa.ArrowNotImplementedError("an object that is always empty")
    structs = pa.StructArray.from_arrays(
        [column.combine_chunks() for column in whole.columns], fields=list(whole.schema.remove_metadata())
    )
    return structs.take(pa.array(order, pa.int64()))


def _holds_empty_struct(kind: pa.DataType) -> bool:
    """Whether the type is one that Parquet cannot write."""
    if isinstance(kind, pa.BaseExtensionType):
        return False
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    return (pa.types.is_struct(kind) and not inner) or any(map(_holds_empty_struct, inner))


def given_text(row: Mapping[str, Any]) -> str:
    """A row as text that `json.loads` makes the same row of; what neither has is in the form that `json_form` gives."""
    return json.dumps(row, default=lambda value: json_form(value, []))


def given_rows(column: pa.ChunkedArray) -> list[dict[str, Any]]:
    """What `given_column` made a column of."""
    if pa.types.is_struct(column.type):
        return python_values(column)
    return [json.loads(text) for text in column.to_pylist()]


# JSON


class JsonForm(NamedTuple):
    """Values that JSON has not: in which column they stand, and what they become."""

    column: str
    form: str


def json_form(value: Any, found: list[JsonForm], column: str = "") -> Any:
    """A value as JSON has it; what is changed for that is added to `found`.

    NaN and the infinities become null, dates and times ISO 8601, durations seconds, bytes base64, decimals and UUIDs
    text, maps lists of [key, value].
    """
    if value is None or (isinstance(value, str | int) and not isinstance(value, np.generic)):
        return value
    if isinstance(value, Mapping):
        return {str(name): json_form(part, found, column or str(name)) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return json_form(value.tolist(), found, column)
    if isinstance(value, list | tuple):
        return [json_form(part, found, column) for part in value]
    if isinstance(value, float) and math.isfinite(value):
        return value
    form, made = _other_form(value)
    found.append(JsonForm(column, form))
    return made


def _other_form(value: Any) -> tuple[str, Any]:
    if isinstance(value, float):
        return "null for NaN and infinite", None
    if isinstance(value, date | time):  # a datetime is a date
        return "ISO 8601", value.isoformat()
    if isinstance(value, timedelta):
        return "seconds", value.total_seconds()
    if isinstance(value, bytes | bytearray):
        return "base64", base64.b64encode(value).decode()
    if isinstance(value, Decimal | UUID):
        return "text", str(value)
    raise HarnessError(f"a value of the type {type(value).__name__} has no form in JSON", hint="Leave the column out.")
