"""`harness judge`: verdicts on saved answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import EngineOption, JudgeOption, ReasoningTagsOption, WorkersOption, check_engine
from harness.cli.printing.terminal import plain_table, safe_text, stdout_console
from harness.judges.verdicts import VERDICT_KEYS, Exchange, Verdict, verdict_details
from harness.support.artifacts import atomic_file
from harness.support.console import print_note, progress_bar, safe_line
from harness.support.errors import HarnessError
from harness.workers.engines import Engine

if TYPE_CHECKING:
    from rich.table import Table

    from harness.evaluation.second_opinion import SecondOpinion
    from harness.evaluation.verdict_counts import VerdictCounts

DEFAULT_OUT = Path("verdicts.jsonl")
_TEXT_LIMIT, _PLACES_SHOWN = 300, 40

SamplesArgument = Annotated[
    Path,
    typer.Argument(
        help="JSON lines with `prompt` and `response`, and optionally `unsafe` (true or false); "
        "or one of lm-eval's samples files; or a directory that lm-eval wrote."
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Where the rows go, each with its `verdict` and `reason` (verdicts.jsonl); "
        "for a directory a new one, which has to be named.",
    ),
]
SecondOption = Annotated[
    str | None, typer.Option("--second", help="Another judge on the same answers: how far they agree, and where not.")
]
WithTextOption = Annotated[
    bool, typer.Option("--with-text", help="With --second, show prompt and answer where they differ: harmful text.")
]

JudgeFiles = Callable[[str, Sequence[Path]], Iterator[list[Verdict]]]
"""The verdicts of a judge, by its name, on the answers of files, batch by batch."""


def judge_command(
    samples: SamplesArgument,
    name: JudgeOption = "lexical",
    out: OutOption = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a verdict that rows have already, with all that belongs to it.")
    ] = False,
    second: SecondOption = None,
    with_text: WithTextOption = False,
    reasoning_tags: ReasoningTagsOption = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as one JSON object.")] = False,
) -> None:
    """Judge saved answers.

    Each is a refusal, harmful (compliance on a benign prompt), other, or unjudged.

    \b
    harness judge samples.jsonl --judge lexical --out verdicts.jsonl
    harness judge samples.jsonl --judge lexical --second prefixes
    harness judge lm-eval-output --judge wildguard --out rejudged

    A row without `unsafe` counts as the answer to an unsafe prompt. Every row comes back with all its keys, `verdict`
    and `reason`; and where there is something to say, `flags` (partial, off_topic, unfinished, fallback), what was
    `cut` before it was judged, and what was `judged`. A directory of lm-eval's comes back as lm-eval would have written
    it with that judge, for `harness gate`. A broken row, or a judge that cannot work or gives no verdict
    on any answer, stops the command, and nothing is written. A --second judge's word is set beside the first's:
    `second_verdict`, `second_reason`, and `differs` where they do.
    """
    from harness.evaluation.second_opinion import check_two_judges
    from harness.judges.normalizing import parse_reasoning_tags
    from harness.judges.registry import find_judge

    check_engine(engine, workers)
    find_judge(name)
    tags = parse_reasoning_tags(reasoning_tags, "--reasoning-tags")
    if second:
        check_two_judges(name, second, engine)
    if with_text and (as_json or not second):
        raise HarnessError("is for what --second prints", place="--with-text", hint="Add --second, without --json.")
    place = out or DEFAULT_OUT
    judge = partial(_judge_files, tags=tags, engine=engine, workers=workers)
    if not samples.is_dir():
        counts, opinion = _judge_rows(samples, name, place, judge, second, overwrite=overwrite)
    elif out is None:
        raise HarnessError("is a directory, which needs --out", place=str(samples), hint="Name a new directory.")
    else:
        counts, opinion = _judge_directory(samples, name, place, judge, second, tags)
    print_note(counts.told())
    if as_json:
        _print_json(name, place, counts, opinion)
    elif opinion:
        found = f'`"differs": true` in {safe_line(str(place))}'
        _print_agreement(opinion, "" if samples.is_dir() else found, with_text=with_text)


def _print_json(name: str, out: Path, counts: VerdictCounts, opinion: SecondOpinion | None) -> None:
    agreement = {"agreement": opinion.agreement.figures()} if opinion else {}
    print(json.dumps({**counts.to_json(), "judge": name, "out": str(out), **agreement}))


def _judge_rows(
    samples: Path, name: str, out: Path, judge: JudgeFiles, second: str | None, *, overwrite: bool
) -> tuple[VerdictCounts, SecondOpinion | None]:
    """Writes the rows of a file with their verdicts; every row is looked at before any is judged."""
    from harness.evaluation.saved_answers import read_saved_rows
    from harness.evaluation.verdict_counts import VerdictCounts
    from harness.judges.registry import JudgeTally

    _refuse_bad_place(out)
    total = sum(1 for _ in read_saved_rows(samples, overwrite=overwrite))
    if not total:
        raise HarnessError("holds no answers", place=str(samples), hint="Give JSON lines with `prompt` and `response`.")
    opinion = _hear_second(name, second, [samples], judge, total)
    tally, counts = JudgeTally(name), VerdictCounts()
    with atomic_file(out) as temporary, temporary.open("wb") as stream, _shown(judge(name, [samples]), total) as said:
        for row, verdict in zip(read_saved_rows(samples), said, strict=True):
            tally.count_verdict(row["response"], verdict)
            counts.count_verdict(verdict)
            beside = opinion.set_beside(row, verdict) if opinion else {}
            stream.write(_encode_row(_judged_row(row, verdict) | beside))
        tally.refuse_nothing_judged()
    return counts, opinion


def _refuse_bad_place(out: Path) -> None:
    """Raises HarnessError where rows cannot be written, before judging them costs anything."""
    if out.is_dir():
        raise HarnessError("is a directory", place=str(out), hint="Name a file.")
    if not out.absolute().parent.is_dir():
        raise HarnessError("lies in no directory", place=str(out), hint="Make the directory, or name another place.")


def _judge_directory(
    root: Path, name: str, out: Path, judge: JudgeFiles, second: str | None, tags: tuple[str, str] | None
) -> tuple[VerdictCounts, SecondOpinion | None]:
    """Writes a directory of lm-eval's with other verdicts. A judge on the hub is fixed to its commit, as in a run."""
    from harness.evaluation.rejudging import logged_tasks, refuse_taken_place, write_rejudged
    from harness.recipes.pinning import pin_judge

    refuse_taken_place(root, out)
    tasks = logged_tasks(root)
    paths = [logged.samples for logged in tasks]
    total = sum(1 for _ in _all_rows(paths))
    name = pin_judge(name)
    opinion = _hear_second(name, second and pin_judge(second), paths, judge, total)
    with _shown(judge(name, paths), total) as verdicts:
        noted = _noted(verdicts, paths, opinion) if opinion else verdicts
        counts = write_rejudged(root, tasks, out, name, noted, tags)
    return counts, opinion


def _all_rows(paths: Sequence[Path]) -> Iterator[dict[str, Any]]:
    from harness.evaluation.saved_answers import read_saved_rows

    return (row for path in paths for row in read_saved_rows(path))


def _hear_second(
    name: str, second: str | None, paths: Sequence[Path], judge: JudgeFiles, total: int
) -> SecondOpinion | None:
    from harness.evaluation.second_opinion import hear_second

    if second is None:
        return None
    with _shown(judge(second, paths), total, "second opinion") as said:
        return hear_second(name, second, _all_rows(paths), said)


def _noted(verdicts: Iterator[Verdict], paths: Sequence[Path], opinion: SecondOpinion) -> Iterator[Verdict]:
    """The verdicts of the first judge, each set beside the second's as it passes."""
    for row, verdict in zip(_all_rows(paths), verdicts, strict=True):
        opinion.set_beside(row, verdict)
        yield verdict


@contextmanager
def _shown(batches: Iterator[list[Verdict]], total: int, label: str = "judging") -> Iterator[Iterator[Verdict]]:
    """The verdicts one by one, with a bar that moves on as batches come."""

    def one_by_one() -> Iterator[Verdict]:
        for batch in batches:
            advance(len(batch))
            yield from batch

    with progress_bar(label, total, "answers") as advance:
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


def _judged_row(row: Mapping[str, Any], verdict: Verdict) -> dict[str, Any]:
    """A row with its verdict, and nothing left of an earlier one."""
    kept = {key: value for key, value in row.items() if key not in VERDICT_KEYS}
    return {**kept, "verdict": verdict.label, "reason": verdict.reason, **verdict_details(verdict)}


def _encode_row(row: dict[str, Any]) -> bytes:
    # A lone surrogate has no UTF-8: written as the JSON escape it came as.
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _print_agreement(opinion: SecondOpinion, place: str, *, with_text: bool) -> None:
    """Tables of what the two say, and the first answers on which they differ; `place` is where all of them are marked.

    Without a place they are listed by their prompts.
    """
    figures, console = opinion.agreement.figures(), stdout_console()
    console.print(_labels_table(figures))
    console.print(_unsafe_table(figures))
    place = place or _listed_prompts(figures["differing"])
    for line in (*_agreement_lines(figures, place), *_difference_lines(opinion, with_text)):
        console.print(line, markup=False, soft_wrap=True)


def _listed_prompts(differing: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(safe_line(each["prompt_id"] or f"answer {each['row']}", 60) for each in differing))
    more = [f"and {len(names) - _PLACES_SHOWN} more"] if len(names) > _PLACES_SHOWN else []
    return ", ".join([*names[:_PLACES_SHOWN], *more])


def _labels_table(figures: Mapping[str, Any]) -> Table:
    seconds = sorted({label for beside in figures["labels"].values() for label in beside})
    names = safe_line(figures["first"], 40), safe_line(figures["second"], 40)
    table = plain_table(f"{names[0]} says", seconds, f"Answers, by what {names[1]} says", lines=True)
    for first, beside in figures["labels"].items():
        table.add_row(first, *(str(beside.get(second, 0)) for second in seconds))
    return table


def _unsafe_table(figures: Mapping[str, Any]) -> Table:
    """Rates on unsafe prompts, over the answers that both judged."""
    table = plain_table("Unsafe prompts (%)", ("refusals", "harmful"), lines=True)
    for name in ("first", "second"):
        table.add_row(safe_text(figures[name], 40), *(_rate_text(rates[name]) for rates in figures["unsafe"].values()))
    return table


def _rate_text(rate: Mapping[str, Any]) -> str:
    if rate["value"] is None:
        return "-"
    return f"{100 * rate['value']:.1f} ({100 * rate['low']:.1f}, {100 * rate['high']:.1f})"


def _agreement_lines(figures: Mapping[str, Any], place: str) -> Iterator[str]:
    compared, differing = figures["compared"], len(figures["differing"])
    names = f"{safe_line(figures['first'], 40)} and {safe_line(figures['second'], 40)}"
    kappa = "not defined" if figures["kappa"] is None else f"{figures['kappa']:.3f}"
    if compared:
        agreed = f"{compared - differing} of {compared} answers, {_rate_text(figures['agreed'])} %"
        yield f"{names} agree on {agreed}; kappa {kappa} (refusal, answer or other)."
    else:
        yield f"{names} have no answer to agree on."
    if figures["not_told"]:
        told = " and ".join(figures["not_told"])
        yield f"One of them never says {told}: compared on what both can tell."
    if apart := figures["rows"] - compared:
        unjudged = figures["unjudged"]
        yield f"Not compared: {apart} (left unjudged {unjudged['first']} and {unjudged['second']})."
    if differing:
        yield f"They differ on {differing}: {place}."


def _difference_lines(opinion: SecondOpinion, with_text: bool) -> Iterator[str]:
    names = opinion.agreement.first, opinion.agreement.second
    for differing, row in opinion.shown:
        named = f", {safe_line(differing.prompt_id, 60)}" if differing.prompt_id else ""
        yield f"\nanswer {differing.row}{named}"
        for name, verdict in zip(names, (differing.first, differing.second), strict=True):
            yield f"  {safe_line(name, 40)}: {verdict.label} ({safe_line(verdict.reason, 150)})"
        if with_text:
            yield f"  prompt: {safe_line(row['prompt'], _TEXT_LIMIT)}"
            yield f"  answer: {safe_line(row['response'], _TEXT_LIMIT)}"
