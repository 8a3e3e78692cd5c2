"""`harness report`: the HTML report of one or more runs, or of two evaluations of any tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.support.artifacts import explain_write_errors, write_text
from harness.support.errors import HarnessError
from harness.support.layout import RunFiles

_SIDES_PAGE = Path("report.html")

BeforeOption = Annotated[
    Path | None,
    typer.Option("--before", help="Instead of runs: an evaluation of the model before, as `harness gate` reads it."),
]
AfterOption = Annotated[Path | None, typer.Option("--after", help="The same of the model after it, of any tool.")]
PolicyOption = Annotated[Path | None, typer.Option("--policy", help="With --before and --after: the gate's policy.")]
JudgeOption = Annotated[
    str | None,
    typer.Option("--judge", help="With --before and --after: judge answers of other tools than lm-eval anew."),
]


def report_command(
    run_dirs: Annotated[
        list[Path] | None, typer.Argument(help="Run directories written by `harness run`.", show_default=False)
    ] = None,
    before: BeforeOption = None,
    after: AfterOption = None,
    policy: PolicyOption = None,
    judge: JudgeOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Where to; RUN_DIR/report.html without it, or report.html of two sides."),
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out every text of an unsafe prompt and of an answer to one.")
    ] = False,
) -> None:
    """Write the report of one or more runs, or of two evaluations.

    It is one HTML file that needs nothing else.

    \b
    harness report runs/miniature
    harness report runs/monday runs/friday --out compared.html
    harness report runs/miniature --redact --out for-the-ticket.html
    harness report --before inspect-logs/base --after answers.jsonl --out compared.html
    """
    _refuse_other_file(out)
    if before or after:
        if run_dirs or before is None or after is None:
            raise HarnessError("are given together, and without runs", place="--before and --after")
        target = out or _SIDES_PAGE
        page = _sides_page(before, after, policy, judge, redact=redact)
    elif policy or judge:
        raise HarnessError("goes with --before and --after", place="--policy" if policy else "--judge")
    elif not run_dirs:
        raise HarnessError(
            "names no run", place="harness report", hint="Give a run's directory, or --before and --after."
        )
    else:
        target, page = out or RunFiles(run_dirs[0]).report, _runs_page(run_dirs, redact=redact)
    write_text(target, page)
    print(f"Report: {target.resolve()}")


def _refuse_other_file(out: Path | None) -> None:
    """Raises HarnessError where the page would take the place of a file that is no page, as an input is."""
    if out is None or not out.is_file():
        return
    with explain_write_errors(out), out.open("rb") as stream:
        begins = stream.read(200).lstrip().lower()
    if begins and not begins.startswith((b"<!doctype html", b"<html")):
        raise HarnessError("is there already, and no page", place=f"--out {out}", hint="Name another file.")


def _runs_page(run_dirs: list[Path], *, redact: bool) -> str:
    from reports.experiments.page import is_experiment, render_experiment
    from reports.page import render_report

    alone = len(run_dirs) == 1 and is_experiment(run_dirs[0])
    return render_experiment(run_dirs[0]) if alone else render_report(run_dirs, redact=redact)


def _sides_page(before: Path, after: Path, policy: Path | None, judge: str | None, *, redact: bool) -> str:
    from harness.gate.policy import Policy, read_policy
    from reports.sides.page import render_sides

    return render_sides(before, after, read_policy(policy) if policy else Policy(), judge=judge, redact=redact)
