"""The `harness` command: a file a subcommand, beside what they share; what one needs is imported when it runs."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any, NoReturn, get_type_hints

import typer
import typer.main

from harness.cli.calibrate import calibrate_command
from harness.cli.displacement import displacement_command
from harness.cli.evaluate import evaluate_command
from harness.cli.filter import filter_command
from harness.cli.forecast import forecast_command
from harness.cli.gate import GateCommand, gate_command
from harness.cli.judge import judge_command
from harness.cli.label import label_command
from harness.cli.listing import judges_command, recipes_command
from harness.cli.power import power_command
from harness.cli.preferences import preferences_command
from harness.cli.report import report_command
from harness.cli.run import run_command
from harness.cli.score import score_command
from harness.support.ending import ERROR_CODE, end_process
from harness.support.redaction import redact_logs

_ClickError: Any = typer.BadParameter.__mro__[2]
"""What Click raises of a command line; newer versions of Typer have Click within themselves."""

app = typer.Typer(
    name="harness",
    help="Know before release whether preference training has made a language model less safe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
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
    _quiet_libraries()
    redact_logs()
    command = typer.main.get_command(app)
    try:
        # Typer's own `main` ends some errors with exit code 1.
        with command.make_context("harness", sys.argv[1:]) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code
    except _ClickError as error:
        error.show()
        return ERROR_CODE
    return 0


def _quiet_libraries() -> None:
    """Keeps the libraries' own bars and notices off the terminal, unless the user asked for them."""
    quiet = {
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "DATASETS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
    }
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # at import it tells to install a faster kernel
    if not sys.stderr.isatty():
        quiet["TQDM_DISABLE"] = "1"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
