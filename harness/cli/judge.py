"""`harness judge`: verdicts on saved answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.options import EngineOption, WorkersOption, check_engine
from harness.judges.verdicts import Exchange, Verdict
from harness.support.artifacts import atomic_file, parse_json_object
from harness.support.console import print_note, progress_bar
from harness.support.errors import HarnessError
from harness.workers.engines import Engine

ROWS_PER_BATCH = 256


def judge_command(
    samples: Annotated[
        Path, typer.Argument(help="JSON lines with `prompt` and `response`, and optionally `unsafe` (true or false).")
    ],
    name: Annotated[str, typer.Option("--judge", help="Which judge; `harness judges` lists them.")] = "lexical",
    out: Annotated[Path, typer.Option("--out", help="Where the rows go, each with its `verdict` and `reason`.")] = Path(
        "verdicts.jsonl"
    ),
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Judge saved answers.

    Each is a refusal, harmful (compliance on a benign prompt), other, or unjudged.

    \b
    harness judge samples.jsonl --judge lexical --out verdicts.jsonl

    A row without `unsafe` counts as the answer to an unsafe prompt. Every row comes back with all its keys and
    `verdict` and `reason`. A broken row stops the command, and nothing is written.
    """
    check_engine(engine, workers)
    batches = _judged_batches(name, samples, engine, workers)
    counts: Counter[str] = Counter()
    with (
        progress_bar("judging", _count_rows(samples), "answers") as advance,
        atomic_file(out) as temporary,
        temporary.open("wb") as stream,
    ):
        for judged in batches:
            stream.writelines(map(_encode_row, judged))
            counts.update(row["verdict"] for row in judged)
            advance(len(judged))
    print_note(f"{counts.total()} answers: " + ", ".join(f"{count} {label}" for label, count in sorted(counts.items())))
    if as_json:
        print(
            json.dumps(
                {"rows": counts.total(), "verdicts": dict(sorted(counts.items())), "judge": name, "out": str(out)}
            )
        )


def _count_rows(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            return sum(1 for line in stream if line.strip())
    except OSError as error:
        raise HarnessError(f"cannot be read ({error.strerror})", place=str(path)) from error


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                yield _parse_row(line, f"{path}:{number}")


def _parse_row(line: bytes, place: str) -> dict[str, Any]:
    row = parse_json_object(line, place, constants=False)
    for key in ("prompt", "response"):
        if not isinstance(row.get(key), str):
            raise HarnessError(f"`{key}` is not a text", place=place, hint="Each row needs `prompt` and `response`.")
    if not isinstance(row.get("unsafe", True), bool):
        raise HarnessError("`unsafe` is neither true nor false", place=place)
    return row


def _judged_batches(name: str, samples: Path, engine: Engine, workers: int | None) -> Iterator[list[dict[str, Any]]]:
    """The rows of the file batch by batch, in its order; a judge that cannot run is told before any is read."""
    judge = _batch_judge(name)
    if engine == "ray":
        from harness.workers.ray import map_in_order

        return map_in_order(partial(_row_batches, samples.absolute()), partial(_batch_judge, name), workers=workers)
    return map(judge, _row_batches(samples))


def _row_batches(samples: Path) -> Iterator[list[dict[str, Any]]]:
    rows = _read_rows(samples)
    while batch := list(islice(rows, ROWS_PER_BATCH)):
        yield batch


def _batch_judge(name: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    """What judges a batch. Raises HarnessError where the judge lacks something, on a worker's machine too."""
    from harness.judges.registry import find_judge, judge_exchanges

    find_judge(name)
    return partial(_judge_rows, partial(judge_exchanges, name))


def _judge_rows(judge: Callable[[list[Exchange]], list[Verdict]], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    given = judge([Exchange(row["prompt"], row["response"], row.get("unsafe", True)) for row in rows])
    return [
        row | {"verdict": verdict.label, "reason": verdict.reason} for row, verdict in zip(rows, given, strict=True)
    ]


def _encode_row(row: dict[str, Any]) -> bytes:
    # A lone surrogate has no UTF-8: written as the JSON escape it came as.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
