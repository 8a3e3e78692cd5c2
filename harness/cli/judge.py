"""`harness judge`: verdicts on saved answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.options import EngineOption, ReasoningTagsOption, WorkersOption, check_engine
from harness.judges.verdicts import Exchange, Verdict
from harness.support.artifacts import atomic_file
from harness.support.console import print_note, progress_bar
from harness.support.errors import HarnessError
from harness.workers.engines import Engine

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
        bool, typer.Option("--overwrite", help="Replace a `verdict` and a `reason` that rows have already.")
    ] = False,
    reasoning_tags: ReasoningTagsOption = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Judge saved answers.

    Each is a refusal, harmful (compliance on a benign prompt), other, or unjudged.

    \b
    harness judge samples.jsonl --judge lexical --out verdicts.jsonl
    harness judge lm-eval-output --judge wildguard --out rejudged

    A row without `unsafe` counts as the answer to an unsafe prompt. Every row comes back with all its keys and
    `verdict` and `reason`. A directory of lm-eval's comes back as lm-eval would have written it with that judge, for
    `harness gate`. A broken row, or a judge that cannot work, stops the command, and nothing is written.
    """
    from harness.judges.normalizing import parse_reasoning_tags
    from harness.judges.registry import find_judge

    check_engine(engine, workers)
    find_judge(name)
    tags = parse_reasoning_tags(reasoning_tags, "--reasoning-tags")
    place = out or DEFAULT_OUT
    judge = partial(_judge_files, tags=tags, engine=engine, workers=workers)
    if not samples.is_dir():
        counts = _judge_rows(samples, name, place, judge, overwrite=overwrite)
    elif out is None:
        raise HarnessError("is a directory, which needs --out", place=str(samples), hint="Name a new directory.")
    else:
        counts = _judge_directory(samples, name, place, judge, tags)
    print_note(f"{counts.total()} answers: " + ", ".join(f"{count} {label}" for label, count in sorted(counts.items())))
    if as_json:
        verdicts = dict(sorted(counts.items()))
        print(json.dumps({"rows": counts.total(), "verdicts": verdicts, "judge": name, "out": str(place)}))


def _judge_rows(samples: Path, name: str, out: Path, judge: JudgeFiles, *, overwrite: bool) -> Counter[str]:
    """Writes the rows of a file with their verdicts; every row is looked at before any is judged."""
    from harness.evaluation.saved_answers import read_saved_rows
    from harness.judges.registry import JudgeTally

    total = sum(1 for _ in read_saved_rows(samples, overwrite=overwrite))
    tally, counts = JudgeTally(name), Counter[str]()
    with atomic_file(out) as temporary, temporary.open("wb") as stream, _shown(judge(name, [samples]), total) as said:
        for row, verdict in zip(read_saved_rows(samples), said, strict=True):
            tally.count_verdict(row["response"], verdict)
            counts[verdict.label] += 1
            stream.write(_encode_row(row | {"verdict": verdict.label, "reason": verdict.reason}))
        tally.refuse_failure()
    return counts


def _judge_directory(root: Path, name: str, out: Path, judge: JudgeFiles, tags: tuple[str, str] | None) -> Counter[str]:
    """Writes a directory of lm-eval's with other verdicts. A judge on the hub is fixed to its commit, as in a run."""
    from harness.evaluation.rejudging import logged_tasks, refuse_taken_place, write_rejudged
    from harness.evaluation.saved_answers import read_saved_rows
    from harness.recipes.pinning import pin_judge

    refuse_taken_place(root, out)
    tasks = logged_tasks(root)
    total = sum(1 for logged in tasks for _ in read_saved_rows(logged.samples))
    name = pin_judge(name)
    with _shown(judge(name, [logged.samples for logged in tasks]), total) as verdicts:
        return write_rejudged(root, tasks, out, name, verdicts, tags)


@contextmanager
def _shown(batches: Iterator[list[Verdict]], total: int) -> Iterator[Iterator[Verdict]]:
    """The verdicts one by one, with a bar that moves on as batches come."""

    def one_by_one() -> Iterator[Verdict]:
        for batch in batches:
            advance(len(batch))
            yield from batch

    with progress_bar("judging", total, "answers") as advance:
        yield one_by_one()


def _judge_files(
    name: str, paths: Sequence[Path], *, tags: tuple[str, str] | None, engine: Engine, workers: int | None
) -> Iterator[list[Verdict]]:
    from harness.evaluation.saved_answers import exchange_batches

    batches = partial(exchange_batches, [path.absolute() for path in paths], tags)
    if engine == "ray":
        from harness.workers.ray import map_in_order

        return map_in_order(batches, partial(_batch_judge, name), workers=workers)
    return map(_batch_judge(name), batches())


def _batch_judge(name: str) -> Callable[[list[Exchange]], list[Verdict]]:
    """What judges a batch. Raises HarnessError where the judge lacks something, on a worker's machine too."""
    from harness.judges.registry import find_judge, judge_exchanges

    find_judge(name)
    return partial(judge_exchanges, name)


def _encode_row(row: dict[str, Any]) -> bytes:
    # A lone surrogate has no UTF-8: written as the JSON escape it came as.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
