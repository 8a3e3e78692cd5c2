"""The `harness` command: a file a subcommand, beside what they share; what one needs is imported when it runs."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn, get_type_hints

import typer
import typer.main
from typer.completion import shell_complete

from harness.cli.calibrate import calibrate_command
from harness.cli.displacement import displacement_command
from harness.cli.evaluate import evaluate_command
from harness.cli.filter import filter_command
from harness.cli.forecast import forecast_command
from harness.cli.gate import GateCommand, gate_command
from harness.cli.init import init_command
from harness.cli.judge import judge_command
from harness.cli.label import label_command
from harness.cli.listing import judges_command, recipes_command
from harness.cli.options import HarnessGroup
from harness.cli.power import power_command
from harness.cli.preferences import preferences_command
from harness.cli.report import report_command
from harness.cli.run import run_command
from harness.cli.score import score_command
from harness.support.ending import ERROR_CODE, end_process
from harness.support.redaction import redact_logs

_ClickError: Any = typer.BadParameter.__mro__[2]
"""What Click raises of a command line; newer versions of Typer have Click within themselves."""
_COMPLETE = "_HARNESS_COMPLETE"
"""The variable by which a shell asks for completions, in the script that `--show-completion` prints."""

app = typer.Typer(
    name="harness",
    help="Know before release whether preference training has made a language model less safe.",
    cls=HarnessGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    init_command,
    run_command,
    evaluate_command,
    preferences_command,
    score_command,
    filter_command,
    forecast_command,
    displacement_command,
    judge_command,
    label_command,
    calibrate_command,
    report_command,
    gate_command,
    power_command,
    recipes_command,
    judges_command,
):
    command.__annotations__ = get_type_hints(command, include_extras=True)  # read once; Typer would four times
    kind = GateCommand if command is gate_command else None
    app.command(name=command.__name__.removesuffix("_command"), cls=kind)(command)


def main() -> NoReturn:
    """Runs the command and ends the process; how is `harness/support/ending.py`'s."""
    end_process(run_command_line)


def run_command_line() -> int:
    """Runs the command that the process was started with, and returns its exit code; what goes wrong is raised."""
    redact_logs()
    command = typer.main.get_command(app)
    if asked := os.environ.get(_COMPLETE):
        return ERROR_CODE if shell_complete(command, {}, "harness", _COMPLETE, asked) else 0
    try:
        context = _read_own_options(command)
        # Typer's own `main` ends some errors with exit code 1.
        with context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except _ClickError as error:
        error.show()
        return ERROR_CODE
    return 0


def _read_own_options(command: Any) -> Any:
    """What stands before the subcommand's name. That Typer cannot install a completion, it would say with exit code 1.

    Raises typer.Exit where that is all there is to do.
    """
    try:
        return command.make_context("harness", sys.argv[1:])
    except (SystemExit, typer.Exit) as ended:
        code = ended.code if isinstance(ended, SystemExit) else ended.exit_code
        raise typer.Exit(ERROR_CODE if code else 0) from ended
