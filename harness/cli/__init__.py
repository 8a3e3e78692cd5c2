"""The `harness` command: a file a subcommand, beside what they share; what one needs is imported when it runs."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import get_type_hints

import typer

from harness.cli.calibrate import calibrate_command
from harness.cli.displacement import displacement_command
from harness.cli.filter import filter_command
from harness.cli.gate import gate_command
from harness.cli.judge import judge_command
from harness.cli.listing import judges_command, recipes_command
from harness.cli.power import power_command
from harness.cli.preferences import preferences_command
from harness.cli.report import report_command
from harness.cli.run import run_command
from harness.cli.score import score_command
from harness.support import console
from harness.support.errors import HarnessError
from harness.support.redaction import redact_logs, redact_text

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
    preferences_command,
    score_command,
    filter_command,
    displacement_command,
    judge_command,
    calibrate_command,
    report_command,
    gate_command,
    power_command,
    recipes_command,
    judges_command,
):
    command.__annotations__ = get_type_hints(command, include_extras=True)  # read once; Typer would four times
    app.command(name=command.__name__.removesuffix("_command"))(command)


def main() -> None:
    """Runs the command; bad input ends it with one line on standard error and exit code 2."""
    _quiet_libraries()
    redact_logs()
    try:
        app()
    except HarnessError as error:
        print(f"harness: {console.safe_line(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("harness: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception:  # a defect of ours: told whole, but for the secrets that a library's error may hold
        print(redact_text(traceback.format_exc()), file=sys.stderr, end="")
        sys.exit(1)


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
