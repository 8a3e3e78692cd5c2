"""`harness judge`: verdicts on saved answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import EngineOption, WorkersOption, check_engine
from harness.judges.verdicts import VERDICT_KEYS, Exchange, Verdict, verdict_details
from harness.support.artifacts import atomic_file
from harness.support.console import print_note, progress_bar
from harness.support.errors import HarnessError
from harness.workers.engines import Engine

if TYPE_CHECKING:
    from harness.evaluation.verdict_counts import VerdictCounts

DEFAULT_OUT = Path("verdicts.jsonl")

JudgeFiles = Callable[[str, Sequence[Path]], Iterator[list[Verdict]]]
"""The verdicts of a judge, by its name, on the answers of files, batch by batch."""


def judge_command(
    samples: Annotated[
        Path,
        typer.Argument(
            help="JSON lines with `prompt` and `response`, and optionally `unsafe` (true or false); "
            "or one of lm-eval's samples files; or a directory that lm-eval wrote."
        ),
    ],
    name: Annotated[str, typer.Option("--judge", help="Which judge; `harness judges` lists them.")] = "lexical",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Where the rows go, each with its `verdict` and `reason` (verdicts.jsonl); "
            "for a directory a new one, which has to be named.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a verdict that rows have already, with all that belongs to it.")
    ] = False,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Judge saved answers.

    Each is a refusal, harmful (compliance on a benign prompt), other, or unjudged.

    \b
    harness judge samples.jsonl --judge lexical --out verdicts.jsonl
    harness judge lm-eval-output --judge wildguard --out rejudged

    A row without `unsafe` counts as the answer to an unsafe prompt. Every row comes back with all its keys, `verdict`
    and `reason`; and where there is something to say, `flags` (partial, off_topic, unfinished, fallback), what was
    `cut` before it was judged, and what was `judged`. A directory of lm-eval's comes back as lm-eval would have written
    it with that judge, for `harness gate`. A broken row, or a judge that cannot work, stops the command, and nothing is
    written.
    """
    from harness.judges.registry import find_judge

    check_engine(engine, workers)
    find_judge(name)
    place = out or DEFAULT_OUT
    judge = partial(_judge_files, engine=engine, workers=workers)
    if not samples.is_dir():
        counts = _judge_rows(samples, name, place, judge, overwrite=overwrite)
    elif out is None:
        raise HarnessError("is a directory, which needs --out", place=str(samples), hint="Name a new directory.")
    else:
        counts = _judge_directory(samples, name, place, judge)
    print_note(counts.told())
    if as_json:
        print(json.dumps({**counts.to_json(), "judge": name, "out": str(place)}))


def _judge_rows(samples: Path, name: str, out: Path, judge: JudgeFiles, *, overwrite: bool) -> VerdictCounts:
    """Writes the rows of a file with their verdicts; every row is looked at before any is judged."""
    from harness.evaluation.saved_answers import read_saved_rows
    from harness.evaluation.verdict_counts import VerdictCounts
    from harness.judges.registry import JudgeTally

    total = sum(1 for _ in read_saved_rows(samples, overwrite=overwrite))
    tally, counts = JudgeTally(name), VerdictCounts()
    with atomic_file(out) as temporary, temporary.open("wb") as stream, _shown(judge(name, [samples]), total) as said:
        for row, verdict in zip(read_saved_rows(samples), said, strict=True):
            tally.count_verdict(row["response"], verdict)
            counts.count_verdict(verdict)
            stream.write(_encode_row(_judged_row(row, verdict)))
        tally.refuse_failure()
    return counts


def _judge_directory(root: Path, name: str, out: Path, judge: JudgeFiles) -> VerdictCounts:
    """Writes a directory of lm-eval's with other verdicts. A judge on the hub is fixed to its commit, as in a run."""
    from harness.evaluation.rejudging import logged_tasks, refuse_taken_place, write_rejudged
    from harness.evaluation.saved_answers import read_saved_rows
    from harness.recipes.pinning import pin_judge

    refuse_taken_place(root, out)
    tasks = logged_tasks(root)
    total = sum(1 for logged in tasks for _ in read_saved_rows(logged.samples))
    name = pin_judge(name)
    with _shown(judge(name, [logged.samples for logged in tasks]), total) as verdicts:
        return write_rejudged(root, tasks, out, name, verdicts)


@contextmanager
def _shown(batches: Iterator[list[Verdict]], total: int) -> Iterator[Iterator[Verdict]]:
    """The verdicts one by one, with a bar that moves on as batches come."""

    def one_by_one() -> Iterator[Verdict]:
        for batch in batches:
            advance(len(batch))
            yield from batch

    with progress_bar("judging", total, "answers") as advance:
        yield one_by_one()


def _judge_files(name: str, paths: Sequence[Path], *, engine: Engine, workers: int | None) -> Iterator[list[Verdict]]:
    from harness.evaluation.saved_answers import exchange_batches

    files = [path.absolute() for path in paths]
    if engine == "ray":
        from harness.workers.ray import map_in_order

        return map_in_order(partial(exchange_batches, files), partial(_batch_judge, name), workers=workers)
    return map(_batch_judge(name), exchange_batches(files))


def _batch_judge(name: str) -> Callable[[list[Exchange]], list[Verdict]]:
    """What judges a batch. Raises HarnessError where the judge lacks something, on a worker's machine too."""
    from harness.judges.registry import find_judge, judge_exchanges

    find_judge(name)
    return partial(judge_exchanges, name)


def _judged_row(row: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """A row with its verdict, and nothing left of an earlier one."""
    kept = {key: value for key, value in row.items() if key not in VERDICT_KEYS}
    return {**kept, "verdict": verdict.label, "reason": verdict.reason, **verdict_details(verdict)}


def _encode_row(row: dict[str, Any]) -> bytes:
    # A lone surrogate has no UTF-8: written as the JSON escape it came as.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
