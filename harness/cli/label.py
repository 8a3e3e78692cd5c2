"""`harness label`: the answers that are worth most to label, and a page to label them in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.printing.terminal import padded_text, plain_table, safe_text, stdout_console
from harness.support.artifacts import write_text
from harness.support.console import progress_bar, safe_line
from harness.support.errors import HarnessError
from harness.support.label_files import PromptsDrawn, label_file_text, read_label_file
from harness.support.layout import ARMS, RunFiles

if TYPE_CHECKING:
    from harness.evaluation.samples import Evaluation
    from harness.labeling.drawing import Queue, Stratum

BASELINE, USUAL_ARM = "baseline", "raw"


def label_command(
    source: Annotated[
        Path | None,
        typer.Argument(help="A run directory, or one directory that lm-eval wrote.", show_default=False),
    ] = None,
    arm: Annotated[
        str | None, typer.Option("--arm", help="Which arm of the run stands beside its baseline; `raw` without it.")
    ] = None,
    before: Annotated[
        Path | None, typer.Option("--before", help="In place of a run: as `harness gate` has it.")
    ] = None,
    after: Annotated[Path | None, typer.Option("--after", help="In place of a run: as `harness gate` has it.")] = None,
    n: Annotated[int, typer.Option("--n", min=2, help="How many answers to label.")] = 60,
    kind: Annotated[PromptsDrawn, typer.Option("--prompts", help="Answers to which prompts.")] = "unsafe",
    second: Annotated[
        str | None, typer.Option("--second", help="Another judge: where it disagrees, labels are worth more.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file to fill; the page goes beside it.")] = Path("labels.csv"),
    seed: Annotated[int, typer.Option("--seed", help="Of the draw.")] = 0,
) -> None:
    """Pick the answers that are worth most to label.

    Doubtful verdicts and changed ones more often than others, each with a known chance, so that what people say of
    these answers holds for all. Writes a CSV, and a page to label them in with the keyboard.

    \b
    harness label runs/mine
    harness label runs/mine --arm ches_filtered --n 120 --second wildguard
    harness label --before out/base --after out/tuned --out labels.csv

    What comes back is for `harness gate --labels` and `harness calibrate`; the last lines say how.
    """
    from harness.evaluation.output import read_evaluations
    from harness.evaluation.second_opinion import check_two_judges
    from harness.labeling.drawing import draw_queue, find_doubtful
    from harness.labeling.population import collect_texts
    from reports.labels import render_label_page

    page = _refuse_filled_file(out)
    places = _find_sides(source, arm, before, after)
    if second:
        check_two_judges("lexical", second, "local")
    sides = {side: read_evaluations(place) for side, place in places.items()}
    texts = collect_texts(sides, kind, " and ".join(map(str, places.values())))
    with progress_bar("looking for doubtful verdicts", len(texts), "answers") as advance:
        doubtful = find_doubtful(texts, second, advance)
    queue = draw_queue(texts, doubtful, kind, n, seed)
    commands = tuple(_next_commands(places, sides, out))
    write_text(out, label_file_text(queue.file))
    write_text(page, render_label_page(queue, commands, out.name))
    _print_queue(queue, out, page, commands)


def _refuse_filled_file(out: Path) -> Path:
    """The page's place. Raises HarnessError where the file is no CSV, or one that holds labels already."""
    if out.suffix != ".csv":
        raise HarnessError("is no .csv file", place=f"--out {out}", hint="Name it like labels.csv.")
    if out.is_file():
        known = read_label_file(out)
        if known is None or known.labelled:
            held = "is another file" if known is None else f"holds {len(known.labelled)} labels"
            raise HarnessError(held, place=str(out), hint="Name another file with --out.")
    return out.with_suffix(".html")


def _find_sides(source: Path | None, arm: str | None, before: Path | None, after: Path | None) -> dict[str, Path]:
    """The directories of the sides: of a run, of two evaluations, or of one alone."""
    from harness.support.run_results import refuse_unfinished_run

    if (source is None) == (before is None and after is None) or (before is None) != (after is None):
        raise HarnessError("name a run, a directory of lm-eval's, or --before and --after", hint="See --help.")
    if before is not None and after is not None:
        if arm:
            raise HarnessError("is for a run", place="--arm", hint="Leave it out beside --before and --after.")
        return {"before": before, "after": after}
    assert source is not None  # noqa: S101 - one of the two is given
    if not (source / ARMS).is_dir():
        if arm:
            raise HarnessError("is no run, which alone has arms", place=str(source), hint="Leave --arm out.")
        return {"only": source}
    refuse_unfinished_run(source)
    return {"before": RunFiles(source).seeds(BASELINE), "after": RunFiles(source).seeds(_choose_arm(source, arm))}


def _choose_arm(run: Path, arm: str | None) -> str:
    names = sorted(each.name for each in (run / ARMS).iterdir() if each.is_dir() and each.name != BASELINE)
    chosen = arm or (USUAL_ARM if USUAL_ARM in names else names[0] if len(names) == 1 else None)
    if chosen not in names:
        told = f"has no arm {arm!r}" if arm else "has several arms"
        raise HarnessError(told, place=str(run), hint=f"Give --arm, one of: {', '.join(names) or 'none is there'}.")
    return chosen


def _next_commands(places: Mapping[str, Path], sides: Mapping[str, Sequence[Evaluation]], out: Path) -> Iterator[str]:
    """What to run with the labels."""
    file = shlex.quote(str(out))
    if "before" in places:
        named = " ".join(f"--{side} {shlex.quote(str(place))}" for side, place in places.items())
        yield f"harness gate {named} --labels {file}"
    judges = {answer.judge for side in sides.values() for each in side for answer in each.answers}
    judge = judges.pop().partition("/")[0] if len(judges) == 1 else ""
    yield f"harness calibrate {file} --judge {shlex.quote(judge or 'lexical')} --out calibration.json"


def _print_queue(queue: Queue, out: Path, page: Path, commands: Sequence[str]) -> None:
    console = stdout_console()
    table = plain_table("stratum", ("prompts", "given", "texts", "to label"), lines=True)
    table.add_column("in common")
    for one in queue.strata:
        kind, given = "unsafe" if one.unsafe else "benign", {"only": "", "both": "on both"}.get(one.side, one.side)
        table.add_row(one.letter, kind, given, str(one.texts), str(one.drawn), one.told)
    console.print(table)
    for line in _advice(queue.strata):
        console.print(safe_text(line), soft_wrap=True)
    told = f"Label {len(queue.file.rows)} answers in {page}, or fill the column verdict of {out}. Then:"
    console.print(safe_text(told), soft_wrap=True)
    for command in commands:
        console.print(padded_text(f"  {safe_line(command)}"), soft_wrap=True)


def _advice(strata: Sequence[Stratum]) -> Iterator[str]:
    """Where the gate will want more labels than were drawn."""
    from harness.gate.judge_error import MINIMUM_LABELS

    for unsafe in sorted({stratum.unsafe for stratum in strata}, reverse=True):
        own = [stratum for stratum in strata if stratum.unsafe == unsafe and stratum.side != "only"]
        counts = {
            side: sum(stratum.drawn for stratum in own if stratum.side in (side, "both"))
            for side in ("before", "after")
        }
        if own and min(counts.values()) < MINIMUM_LABELS:
            kind = "unsafe" if unsafe else "benign"
            yield (
                f"Of answers to {kind} prompts {counts['before']} before and {counts['after']} after are drawn; the "
                f"gate takes {MINIMUM_LABELS} or more a side: give a larger --n for it."
            )
