"""`harness report`: the HTML report of one or more runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.support.artifacts import write_text
from harness.support.layout import RunFiles


def report_command(
    run_dirs: Annotated[list[Path], typer.Argument(help="Run directories written by `harness run`.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to; RUN_DIR/report.html without it.")] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out every text of an unsafe prompt and of an answer to one.")
    ] = False,
) -> None:
    """Write the report of one or more runs.

    It is one HTML file that needs nothing else.

    \b
    harness report runs/miniature
    harness report runs/monday runs/friday --out compared.html
    harness report runs/miniature --redact --out for-the-ticket.html
    """
    from reports.experiments.page import is_experiment, render_experiment
    from reports.page import render_report

    target = out or RunFiles(run_dirs[0]).report
    alone = len(run_dirs) == 1 and is_experiment(run_dirs[0])
    write_text(target, render_experiment(run_dirs[0]) if alone else render_report(run_dirs, redact=redact))
    print(f"Report: {target.resolve()}")
