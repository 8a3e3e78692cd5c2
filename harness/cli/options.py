"""The options that say where work runs, the same for every command that has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.support.errors import HarnessError
from harness.workers.engines import Engine, refuse_missing_ray

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
