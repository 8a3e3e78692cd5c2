"""Tables of any size scored as a stream: parts a killed run continues from, joined into one Parquet file."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from harness.judges.registry import judges_version
from harness.models.loading import load_model
from harness.preferences.files import ONLY_SPLIT
from harness.preferences.pairs import BrokenRow, PreferenceRow, explicit_row
from harness.preferences.tables import count_rows, stream_rows
from harness.preferences.values import given_column, given_text, python_values
from harness.scoring.influence.directions import Directions, Keep, build_directions
from harness.scoring.influence.keeping import DirectionFolder
from harness.scoring.influence.shifting import in_float32
from harness.scoring.influence.subspace import Subspace, check_layers
from harness.scoring.probes import find_probes
from harness.scoring.scorer import (
    WINDOW,
    CheckedRow,
    ScoredRow,
    Scorer,
    cut_windows,
    refuse_scoreless,
    sample_pair_tokens,
    score_columns,
    score_window,
)
from harness.scoring.targets import InfluenceSettings
from harness.support import storage
from harness.support.artifacts import json_fingerprint, sha256_of
from harness.support.console import Advance, progress_bar
from harness.support.errors import HarnessError
from harness.support.layout import RunFiles

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


FILE_ROWS = 1 << 17
"""Rows in each file of an output directory, at most."""

GIVEN = "row_as_given"
"""The column that carries each pair's row as it was given, for `harness filter` to write again."""

USUAL_MAX_LENGTH = 1024
"""DPOTrainer's default `max_length`."""

_RUN_MARKER = "run.json"
"""What says, among the parts, which run they are of."""


@dataclass(frozen=True, slots=True)
class ScoringJob:
    """Which table to score, and how; the same for either engine."""

    preferences: str
    config: str | None = None
    split: str = ONLY_SPLIT
    max_length: int | None = None
    with_coefficients: bool = False
    influence: InfluenceSettings | None = None
    paper_states: bool = False

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """Names and types of the columns that it adds."""
        return score_columns(self.with_coefficients, self.influence.targets if self.influence else ())

    def windows(self, skip: Container[int] = ()) -> Iterator[tuple[int, list[CheckedRow]]]:
        """The numbered windows of the table but those in `skip`."""
        return cut_windows(stream_rows(self.preferences, self.config, self.split), skip)

    def count_rows(self) -> int | None:
        """How many rows there are, where that is quickly told."""
        return count_rows(self.preferences, self.config, self.split)

    def table_mark(self) -> object:
        """What changes with the table (of one on the hub, its name) and with the probes that influence asks."""
        here = storage.is_remote(self.preferences) or Path(self.preferences).exists()
        content = storage.content_mark(self.preferences) if here else self.preferences
        return [content, self.config, self.split, *([self._influence_mark()] if self.influence else [])]

    def run_identity(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, mark: object) -> dict[str, Any]:
        """What must be the same for parts to be continued, whichever engine wrote them; `mark`: the table's."""
        return {
            "preferences": mark,
            "model": weights_mark(model),
            "dtype": str(model.dtype),
            "tokenizer": json_fingerprint([tokenizer.get_vocab(), tokenizer.chat_template, tokenizer.eos_token]),
            "max_length": self.max_length,
            "paper_states": self.paper_states,
            "with_coefficients": self.with_coefficients,
            "window": WINDOW,
        }

    def _influence_mark(self) -> dict[str, Any] | None:
        if self.influence is None:
            return None
        place = Path(self.influence.probes)
        file = RunFiles(place).probes if place.is_dir() else place
        content = sha256_of(file) if file.is_file() else self.influence.probes
        return asdict(self.influence) | {
            "probes": content,
            "targets": [*self.influence.targets],
            "judges": judges_version(),
        }

    def find_directions(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, content: str, keep: Keep
    ) -> Directions | None:
        """The directions of the influence that is asked for, their gradients kept by `keep`; None where none is."""
        asked = self.influence
        if asked is None:
            return None
        subspace = Subspace.parse(asked.subspace) if asked.subspace else None
        check_layers(model, subspace)
        probes = find_probes(model, tokenizer, asked, content)
        own = "preferred" in asked.targets
        pairs = sample_pair_tokens(self.windows(), tokenizer, self.max_length) if own else ()
        return build_directions(model, tokenizer, probes, asked.targets, pairs, subspace, keep)


@dataclass(frozen=True, slots=True)
class ScoringSummary:
    """What became of a table: rows read, pairs scored, prompts whose end merged with the answers, reasons for none.

    `beyond_usual`: pairs scored whole that DPOTrainer would cut at `USUAL_MAX_LENGTH` or leave out.
    """

    out: str
    rows: int
    scored: int
    merged: int
    beyond_usual: int
    reasons: dict[str, int]


def load_scoring_model(
    path: str, chat_template: str | None = None, *, float32: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A model over all accelerators, and its tokenizer with the chat template given in place of its own.

    `float32`: whatever type its weights were saved in, as influence needs it.
    """
    model, tokenizer = load_model(path, chat=False, spread=True, float32=float32)
    tokenizer.chat_template = chat_template or tokenizer.chat_template
    return model, tokenizer


def score_file(
    preferences: str | Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    out: str | Path,
    *,
    config: str | None = None,
    split: str = ONLY_SPLIT,
    max_length: int | None = None,
    paper_states: bool = False,
    with_coefficients: bool = False,
    budget: int | None = None,
    influence: InfluenceSettings | None = None,
    content: str = "",
) -> ScoringSummary:
    """Scores a table of any size into Parquet, in parts that a killed run continues from.

    `out` is a file, or with a `/` at its end a directory for files of `FILE_ROWS` rows each; either may be in object
    storage. The parts lie beside it (`<out>.parts/`) until the last is written; the same call goes on after a kill.
    With `influence` come the columns of its targets; `content` tells a run, whose probe answers are taken, which model
    this is. Rows come out in the order they came in: the pair with its prompt made explicit, its other columns as far
    as Arrow has one type for them, the score columns of `harness.scoring.scorer.score`, for a row that is no pair its
    beginning as text under `unreadable`, and under `row_as_given` the row itself, value for value.

    Raises HarnessError where the table cannot be read, `out` cannot be written, the parts there belong to a
    different run, or no row can be scored.
    """
    job = ScoringJob(str(preferences), config, split, max_length, with_coefficients, influence, paper_states)
    parts = Parts(str(out))
    parts.resume_or_begin(job.run_identity(model, tokenizer, job.table_mark()))
    with in_float32(model) if influence else nullcontext():
        directions = parts.keep_directions(partial(job.find_directions, model, tokenizer, content))
        scorer = Scorer(
            model, budget, paper_states=paper_states, with_coefficients=with_coefficients, directions=directions
        )
        with parts.progress_meter(job.count_rows()) as meter:
            for number, window in job.windows(parts.numbers):
                parts.write_part(number, score_window(window, scorer, tokenizer, max_length, meter), job.columns)
                meter.catch_up(len(window))
    return parts.join_parts(str(preferences))


class Meter:
    """Moves the bar on by pairs as packs end, and by the rows that no pack held as their window ends."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self._started = advance, perf_counter()
        self._pairs = self._tokens = self._in_window = 0.0

    def __call__(self, pairs: float, tokens: float) -> None:
        """Moves on by `pairs` of `tokens` tokens together."""
        self._pairs, self._tokens, self._in_window = self._pairs + pairs, self._tokens + tokens, self._in_window + pairs
        seconds = perf_counter() - self._started
        self._advance(pairs, f"{self._pairs / seconds:,.1f} pairs/s {self._tokens / seconds:,.0f} tokens/s")

    def catch_up(self, rows: int) -> None:
        """Ends a window of `rows` rows."""
        self._advance(rows - self._in_window)
        self._in_window = 0


class Parts:
    """The parts of one output beside it, one a window, and what they add up to."""

    def __init__(self, out: str) -> None:
        self.out, self.folder = out, f"{out.rstrip('/')}.parts"
        if not out.endswith("/") and storage.is_directory(out):
            hint = "Name a Parquet file, or put a / at its end for a directory of files."
            raise HarnessError("is a directory", place=out, hint=hint)

    def resume_or_begin(self, identity: dict[str, Any]) -> None:
        """Takes up the parts of an earlier, killed run of the same call, or begins anew."""
        marker = storage.join_path(self.folder, _RUN_MARKER)
        if storage.is_file(marker):
            with storage.open_for_reading(marker) as stream:
                if json.load(stream) != identity:
                    hint = f"Remove {self.folder} or choose another --out."
                    raise HarnessError("holds the parts of a different run", place=self.folder, hint=hint)
        storage.write_bytes(marker, json.dumps(identity, indent=2).encode())

    def keep_directions(self, find: Callable[[Keep], Directions | None]) -> Directions | None:
        """The directions that lie among the parts, or those found now, which come to lie there."""
        if (kept := self.read_directions()) is not None:
            return kept
        folder = DirectionFolder(self.folder)
        try:
            found = find(folder.keep_gradient)
        except HarnessError:  # what mends it is another run, which these parts would be in the way of
            storage.remove_path(self.folder)
            raise
        if found is not None:
            folder.write_steps(found)
        return found

    def read_directions(self) -> Directions | None:
        """The directions among the parts; None where none are."""
        return DirectionFolder(self.folder).read()

    @property
    def numbers(self) -> set[int]:
        """The windows whose parts are there."""
        found = (re.fullmatch(r"part-(\d{6,})\.parquet", name) for name in storage.file_names(self.folder))
        return {int(match[1]) for match in found if match}

    @contextmanager
    def progress_meter(self, rows: int | None) -> Iterator[Meter]:
        """A bar over all `rows`, moved on by those of the parts that are there."""
        with progress_bar("scoring", rows, "pairs") as advance:
            advance(WINDOW * len(self.numbers))
            yield Meter(advance)

    def write_part(self, number: int, rows: Sequence[ScoredRow], columns: Mapping[str, pa.DataType]) -> None:
        """Writes the part of one window, whole or not at all; a second time changes nothing."""
        with storage.open_for_writing(self._part_path(number)) as stream:
            pq.write_table(_part_table(rows, columns), stream)

    def join_parts(self, preferences: str) -> ScoringSummary:
        """Writes the parts in order as one table, removes them, and says what they add up to.

        Raises HarnessError, and removes them all the same, where no row has a score.
        """
        numbers = sorted(self.numbers)
        if numbers != list(range(len(numbers))):
            raise HarnessError("a part is missing", place=self.folder, hint="Run the same command again.")
        summary, schema = self._survey_parts(numbers)
        if summary.scored == 0:
            storage.remove_path(self.folder)
        refuse_scoreless(summary.rows, summary.scored, summary.reasons, preferences)
        tables = (_as_schema(self._read_part(number), schema) for number in numbers)
        if self.out.endswith("/"):
            self._write_files(tables, schema)
        else:
            _write_file(self.out, tables, schema)
        storage.remove_path(self.folder)
        return summary

    def _survey_parts(self, numbers: Sequence[int]) -> tuple[ScoringSummary, pa.Schema]:
        merged, beyond, reasons = 0, 0, Counter[str | None]()
        schemas = []
        for table in map(self._read_part, numbers):
            merged += pc.sum(table["prompt_merged"]).as_py() or 0
            beyond += _count_longer(table.filter(pc.is_valid(table["ln_ches"])), USUAL_MAX_LENGTH)
            reasons.update(table["reason"].to_pylist())
            schemas.append(table.schema)
        rows, scored = reasons.total(), reasons.pop(None, 0)
        told = {str(reason): n for reason, n in reasons.most_common()}
        return ScoringSummary(self.out, rows, scored, merged, beyond, told), _common_schema(schemas)

    def _write_files(self, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        """Files of `FILE_ROWS` rows; those that an earlier run left there go."""
        tables, written = iter(tables), set[str]()
        while batch := list(islice(tables, FILE_ROWS // WINDOW)):
            name = f"scores-{len(written):05d}.parquet"
            _write_file(storage.join_path(self.out, name), batch, schema)
            written.add(name)
        for name in storage.file_names(self.out):
            if re.fullmatch(r"scores-\d{5,}\.parquet", name) and name not in written:
                storage.remove_path(storage.join_path(self.out, name))

    def _part_path(self, number: int) -> str:
        return storage.join_path(self.folder, f"part-{number:06d}.parquet")

    def _read_part(self, number: int) -> pa.Table:
        with storage.open_for_reading(self._part_path(number)) as stream:
            return pq.read_table(stream)


def _count_longer(table: pa.Table, limit: int) -> int:
    answers = pc.max_element_wise(table["chosen_tokens"], table["rejected_tokens"])
    return int(pc.sum(pc.greater(pc.add(table["prompt_tokens"], answers), limit)).as_py() or 0)


def _write_file(place: str, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
    # Zstandard, as most texts are there twice: to be looked at, and as they were given.
    with storage.open_for_writing(place) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)


def weights_mark(model: PreTrainedModel) -> str:
    """A mark that any change of the weights changes, the same on every machine: sums of their bits as integers."""
    kinds = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return json_fingerprint(
        [
            [name, int(part.detach().contiguous().view(kinds[part.element_size()]).sum())]
            for name, part in model.named_parameters()
            if not part.is_meta
        ]
    )


def _part_table(rows: Sequence[ScoredRow], added: Mapping[str, pa.DataType]) -> pa.Table:
    """One part: ids and scores with fixed types, pairs and their other columns with the types they have."""
    fixed = {"pair_id": pa.string(), **added, "unreadable": pa.string()}
    columns = {name: pa.array([_fixed_value(row, name) for row in rows], kind) for name, kind in fixed.items()}
    pairs = [explicit_row(row.pair) if row.pair else {} for row in rows]
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        if name not in (*columns, GIVEN):
            columns[name] = _arrow_column([pair.get(name) for pair in pairs])
    given = [None if row.pair is None or isinstance(row.row, BrokenRow) else row.row for row in rows]
    return pa.table(columns | {GIVEN: given_column(given)})


def _fixed_value(row: ScoredRow, name: str) -> object:
    if name == "pair_id":
        return _printable_text(row.pair_id)
    if name == "unreadable":
        return None if row.pair else _printable_text(_row_beginning(row.row))
    return row.scores.get(name)


def _row_beginning(row: PreferenceRow | BrokenRow) -> str:
    return row.text if isinstance(row, BrokenRow) else _as_text(row)[:2000]


def _arrow_column(values: list[Any]) -> pa.Array:
    """The values as they are, or as JSON text where they have no common type."""
    try:
        return pa.array([_without_empty(value) for value in values])
    except (pa.ArrowException, UnicodeEncodeError, OverflowError):
        return pa.array([None if value is None else _as_text(value) for value in values], pa.string())


def _without_empty(value: object) -> object:
    """Empty objects as nulls: Parquet has no way to write them."""
    if isinstance(value, Mapping):
        return {name: _without_empty(part) for name, part in value.items()} or None
    return [_without_empty(part) for part in value] if isinstance(value, list) else value


def _as_text(value: object) -> str:
    return value if isinstance(value, str) and value.isascii() else json.dumps(value, default=str)


def _printable_text(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """One schema for all parts; a column whose types cannot be brought together becomes JSON text."""
    fields: dict[str, list[pa.Field]] = defaultdict(list)
    for field in (field for schema in schemas for field in schema):
        fields[field.name].append(field)
    return pa.schema([_common_field(alike) for alike in fields.values()])


def _common_field(fields: Sequence[pa.Field]) -> pa.Field:
    # What is looked at may become wider (whole numbers fractions), what was given may not.
    options = "default" if fields[0].name == GIVEN else "permissive"
    try:
        return pa.unify_schemas([pa.schema([field]) for field in fields], promote_options=options).field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.field(fields[0].name, pa.string())


def _as_schema(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
        elif field.type == pa.string() and table.schema.field(field.name).type != pa.string():
            columns.append(_column_as_text(table[field.name], given_text if field.name == GIVEN else _as_text))
        else:
            columns.append(_cast_column(table[field.name], field.type))
    return pa.table(columns, schema=schema)


def _cast_column(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == kind:
        return column
    try:
        cast = column.cast(kind)
        cast.validate()  # Arrow makes broken columns of lists of objects with a part that is always null
        return cast
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.array(column.to_pylist(), kind)


def _column_as_text(column: pa.ChunkedArray, to_text: Callable[[Any], str]) -> pa.Array:
    return pa.array([None if value is None else to_text(value) for value in python_values(column)], pa.string())
