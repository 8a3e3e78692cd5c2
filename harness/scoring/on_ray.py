"""Tables of pairs scored on workers of a Ray cluster."""

from __future__ import annotations

import io
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.scoring.scorer import WINDOW, CheckedRow, Progress, Scorer, score_window
from harness.scoring.streaming import Parts, ScoringJob, ScoringSummary, load_scoring_model
from harness.support import storage
from harness.support.artifacts import explain_write_errors
from harness.support.console import print_note
from harness.support.errors import HarnessError
from harness.workers.ray import cluster_path, map_on_workers, ray_cluster, share_cluster

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def score_file_on_ray(
    job: ScoringJob,
    model: str,
    out: str,
    *,
    chat_template: str | None = None,
    workers: int | None = None,
    content: str = "",
) -> ScoringSummary:
    """`harness.scoring.streaming.score_file` on Ray: the same packs, the same rows, the same parts to go on from.

    Args:
        job: which table, and how.
        model: directory or hub id of the model; this and all paths must mean the same on every machine of the cluster.
        out: a Parquet file, or with a `/` at its end a directory of them; either may be in object storage.
        chat_template: in place of the tokenizer's own.
        workers: how many copies of the model; one a GPU, or where there is none, one a CPU core.
        content: which model it is, to a run whose probe answers are taken.

    The directions of influence are found in this process, and laid among the parts for the workers. Raises
    HarnessError as the local engine does, and where Ray is missing or has not the workers asked for.
    """
    parts, there = Parts(out), replace(job, preferences=cluster_path(job.preferences))
    load = partial(load_scoring_model, cluster_path(model), chat_template, float32=job.influence is not None)
    noted = set[str]()
    with ray_cluster(), _ensured_folder(parts.folder):
        if job.influence is not None:
            _lay_directions(job, parts, load, content)
        share = share_cluster(workers)
        work = partial(_ScoreWriter, there, there.table_mark(), load, cluster_path(out, new=True))
        rows = job.count_rows()
        source = partial(_window_groups, there, frozenset(parts.numbers), windows_per_group(rows, share.workers))
        with parts.progress_meter(rows) as meter:
            for done in map_on_workers(source, work, share):
                for line in done.notes - noted:
                    print_note(line)
                noted |= done.notes
                meter(done.pairs, done.tokens)
                meter.catch_up(done.rows)
    return parts.join_parts(job.preferences)


def _lay_directions(job: ScoringJob, parts: Parts, load: Callable[[], Loaded], content: str) -> None:
    """Finds the directions here, once, and leaves them among the parts; the model goes before the workers come."""
    model, tokenizer = load()
    parts.resume_or_begin(job.run_identity(model, tokenizer, job.table_mark()))
    parts.keep_directions(partial(job.find_directions, model, tokenizer, content))


@contextmanager
def _ensured_folder(folder: str) -> Iterator[None]:
    """The folder of the parts, there before a worker looks for it; gone again where nothing came to lie in it."""
    if storage.is_remote(folder):
        yield
        return
    with explain_write_errors(Path(folder)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            Path(folder).rmdir()


def windows_per_group(rows: int | None, workers: int) -> int:
    """How many windows are handed out at a time, as handing out has its price: at most 8, and 64 times to a worker."""
    return min(8, max(1, (rows or 0) // (WINDOW * 64 * workers)))


WindowGroup = Sequence[tuple[int, list[CheckedRow]]]
"""Numbered windows that are handed out together."""


def _window_groups(job: ScoringJob, skip: Container[int], size: int) -> Iterator[WindowGroup]:
    """The windows in groups, after an empty one: if no window is left, a worker still sees whose the parts are."""
    windows = job.windows(skip)
    yield []
    while group := list(islice(windows, size)):
        yield group


@dataclass(frozen=True, slots=True)
class _GroupOutcome:
    """What came of a group, and what scoring with this model notes."""

    notes: frozenset[str]
    rows: int
    pairs: float
    tokens: float


class _ScoreWriter:
    """A worker that scores windows and writes their parts, if those there are of the same table, model and options."""

    def __init__(self, job: ScoringJob, mark: object, load: Callable[[], Loaded], out: str) -> None:
        self._job, self._parts = job, Parts(out)
        folder = self._parts.folder
        if not storage.is_remote(folder) and not storage.is_directory(folder):
            hint = "Give an --out that all machines of the cluster share, or one in object storage."
            raise HarnessError("is not there on a worker's machine", place=folder, hint=hint)
        model, self._tokenizer = load()
        with redirect_stderr(io.StringIO()) as said:
            self._scorer = Scorer(
                model,
                paper_states=job.paper_states,
                with_coefficients=job.with_coefficients,
                directions=self._parts.read_directions(),
            )
        self._notes = frozenset(said.getvalue().splitlines())
        self._identity: dict[str, Any] | None = job.run_identity(model, self._tokenizer, mark)

    def __call__(self, group: WindowGroup) -> _GroupOutcome:
        """Scores the windows of a group and writes their parts."""
        if self._identity is not None:  # opened no sooner: a worker that starts late finds the parts joined and gone
            self._parts.resume_or_begin(self._identity)
            self._identity = None
        done = [(0.0, 0.0)]
        for number, window in group:
            self._write_window(number, window, lambda *more: done.append(more))
        pairs, tokens = map(sum, zip(*done, strict=True))
        return _GroupOutcome(self._notes, sum(len(window) for _, window in group), pairs, tokens)

    def _write_window(self, number: int, window: list[CheckedRow], progress: Progress) -> None:
        rows = score_window(window, self._scorer, self._tokenizer, self._job.max_length, progress)
        self._parts.write_part(number, rows, self._job.columns)
