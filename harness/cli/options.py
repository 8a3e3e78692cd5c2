"""The options that more than one command has: where work runs, who judges; and, of every command, how much is told."""

from __future__ import annotations

import logging
import os
import platform
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
import typer.main
from typer.core import TyperGroup

from harness.cli.listing import complete_judge
from harness.support.console import Verbosity, is_quiet, is_verbose, set_verbosity
from harness.support.errors import HarnessError
from harness.support.versions import DISTRIBUTION, library_version
from harness.workers.engines import Engine, refuse_missing_ray

# Where work runs, and who judges

EngineOption = Annotated[Engine, typer.Option("--engine", help="This process, or workers on Ray Data.")]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Copies of the model on Ray; by default one a GPU or CPU core.")
]

ReasoningTagsOption = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--reasoning-tags",
        metavar="START END",
        help="What opens and what closes a reasoning block, where it is none of the usual tags.",
    ),
]


JudgeOption = Annotated[
    str, typer.Option("--judge", help="Which judge; `harness judges` lists them.", autocompletion=complete_judge)
]
ProbeJudgeOption = Annotated[
    str, typer.Option("--judge", help="Who judges the probe answers.", autocompletion=complete_judge)
]


def check_engine(engine: Engine, workers: int | None) -> None:
    """Raises HarnessError where the engine asked for is not installed, or takes no workers."""
    if engine == "ray":
        refuse_missing_ray()
    elif workers is not None:
        raise HarnessError("is for --engine ray", place="--workers", hint="Add --engine ray, or leave it out.")


def resolve_own_model(model: str) -> str:
    """The directory of `miniature` or `smollm2`, made now if need be; whatever else a model is named by, as it is."""
    if Path(model).exists():
        return model
    from harness.run.own_models import find_own_model

    own = find_own_model(model)
    return model if own is None else own.directory


# How much is told: before the subcommand's name or behind it

_TOLD = (DISTRIBUTION, "torch", "transformers", "trl", "lm-eval")
"""The distributions whose versions are told: a defect is mostly one of these meeting another."""
_SAID = "harness.verbosity"


def _choose_verbosity(context: typer.Context, parameter: typer.CallbackParam, given: bool) -> None:
    """Raises typer.BadParameter where one command line asks for both."""
    if not given or context.resilient_parsing:
        return
    said: Verbosity = "quiet" if parameter.name == "quiet" else "verbose"
    if context.find_root().meta.setdefault(_SAID, said) != said:
        raise typer.BadParameter("not beside --quiet" if said == "verbose" else "not beside --verbose")
    set_verbosity(said)


def _print_versions(context: typer.Context, _parameter: typer.CallbackParam, given: bool) -> None:
    """Without importing any of them: a broken one must not keep this from saying which it is."""
    if not given or context.resilient_parsing:
        return
    print(f"harness {library_version(DISTRIBUTION)}")
    versions = {"python": platform.python_version()} | {name: library_version(name) for name in _TOLD[1:]}
    for name, version in versions.items():
        print(f"{name} {version}")
    raise typer.Exit


def _version_option(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_versions,
            is_eager=True,
            expose_value=False,
            help="Print the versions of this and of what it rests on.",
        ),
    ] = False,
) -> None: ...


def _verbosity_options(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            callback=_choose_verbosity,
            is_eager=True,
            expose_value=False,
            help="Tell results and errors alone: no notes, no bars.",
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            callback=_choose_verbosity,
            is_eager=True,
            expose_value=False,
            help="Tell also what libraries log, tracebacks, and times.",
        ),
    ] = False,
) -> None: ...


def _options_of(declared: Callable[..., None]) -> list[Any]:
    """The options that a function declares, as Typer makes them of it."""
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    declared.__annotations__ = get_type_hints(declared, include_extras=True)
    alone.command()(declared)
    return list(typer.main.get_command(alone).params)


class HarnessGroup(TyperGroup):
    """The command `harness`, whose own options and those of every subcommand say how much is told."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        everywhere = _options_of(_verbosity_options)
        self.params += [*_options_of(_version_option), *everywhere]
        for command in self.commands.values():
            command.params += everywhere
            command.callback = _once_logs_are_set(command.callback)


def _once_logs_are_set(callback: Any) -> Callable[..., None]:
    """A command's work, begun when it is known how much is to be told, and before a library is imported."""

    @wraps(callback)
    def work(**given: Any) -> None:
        _set_library_logs()
        callback(**given)

    return work


def _set_library_logs() -> None:
    """Keeps the libraries' own bars and notices off the terminal, unless the user asked for them."""
    level = "info" if is_verbose() else "error"
    chosen = {
        "TRANSFORMERS_VERBOSITY": level,
        "DATASETS_VERBOSITY": level,
        "TOKENIZERS_PARALLELISM": "false",
    }
    if is_verbose():
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    else:
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # at import it tells to install a faster kernel
        chosen |= {"HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    if is_quiet() or not sys.stderr.isatty():
        chosen["TQDM_DISABLE"] = "1"
    for name, value in chosen.items():
        os.environ.setdefault(name, value)
