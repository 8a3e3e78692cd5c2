"""`harness run`: the whole regression run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def run(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe's name or the path of a YAML file.")] = "miniature",
    out: Annotated[Path | None, typer.Option("--out", help="Run directory; runs/RECIPE without it.")] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Use the seeds 0 to N-1.")] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, for any key of the recipe.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="At most so many processes; one a GPU or core without it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print results.json on standard output.")] = False,
) -> None:
    """Train a baseline, a raw and a CHES-filtered arm, measure refusals before and after, and write the report.

    \b
    harness run
    harness run miniature --seeds 5 --out runs/five
    harness run my-model.yaml --set training.learning_rate=1e-6 --set evaluation.batch_size=16

    A killed run goes on where it stopped when the same command is given again; a finished stage is not run twice.
    """
    from harness import experiments
    from harness.cli.tables import show

    chosen = experiments.load(recipe, override or [], seeds)
    directory = out or Path("runs") / chosen.name
    results = experiments.run(chosen, directory, workers)
    if as_json:
        print(json.dumps(results))
        return
    show(results)
    print(f"\nReport: {(directory / 'report.html').resolve()}")
