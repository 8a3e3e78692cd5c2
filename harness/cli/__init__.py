"""The `harness` command. One module a subcommand; what they need is imported when they run."""

from __future__ import annotations

import os
import sys
import traceback

import typer

from harness import console
from harness.blotting import blot_logs, blotted
from harness.cli.calibrate import calibrate
from harness.cli.displacement import displacement
from harness.cli.filter import filter_ as filter_command
from harness.cli.gate import gate
from harness.cli.judge import judge
from harness.cli.listing import judges, recipes
from harness.cli.power import power
from harness.cli.preferences import preferences
from harness.cli.report import report
from harness.cli.run import run
from harness.cli.score import score
from harness.errors import HarnessError

app = typer.Typer(
    name="harness",
    help="Know before release whether preference training has made a language model less safe.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    run,
    preferences,
    score,
    filter_command,
    displacement,
    judge,
    calibrate,
    report,
    gate,
    power,
    recipes,
    judges,
):
    app.command(name=command.__name__.rstrip("_"))(command)


def main() -> None:
    """Runs the command; bad input ends it with one line on standard error and exit code 2."""
    _quiet_libraries()
    blot_logs()
    try:
        app()
    except HarnessError as error:
        print(f"harness: {console.safe(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("harness: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception:  # a defect of ours: told whole, but for the secrets that a library's error may hold
        print(blotted(traceback.format_exc()), file=sys.stderr, end="")
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
    if not sys.stderr.isatty():
        quiet["TQDM_DISABLE"] = "1"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
