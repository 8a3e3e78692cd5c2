"""`harness run`: the whole regression run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.listing import complete_recipe
from harness.cli.printing.dry_run import print_dry_run
from harness.support.console import duration_text
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.experiments.any_recipe import AnyRecipe


ReportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--report-to",
        metavar="wandb|mlflow|trackio|tensorboard",
        help="Log each training and the results there; repeatable.",
    ),
]


def run_command(
    recipe: Annotated[
        str, typer.Argument(help="A packaged recipe's name or the path of a YAML file.", autocompletion=complete_recipe)
    ] = "miniature",
    out: Annotated[
        Path | None, typer.Option("--out", help="Run directory; without it runs/RECIPE, or runs/RECIPE-limitN.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="Use the seeds 0 to N-1.")] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="A smoke run: at most so many unsafe prompts, of each hazard its share."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--tasks", help="An lm-eval task, group or YAML file measured beside (again, or with commas)."),
    ] = None,
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, for any key of the recipe.")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="At most so many processes; without it one a GPU or core.")
    ] = None,
    report_to: ReportOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be run, in what memory and time.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print results.json, or the dry run, on standard output.")
    ] = False,
) -> None:
    """Train the arms of a recipe and measure what it did.

    By default a raw and a CHES-filtered arm and their controls: refusals before and after, and the report.

    \b
    harness run
    harness run miniature --seeds 5 --out runs/five
    harness run my-model.yaml --dry-run
    harness run my-model.yaml --report-to wandb
    harness run my-model.yaml --tasks gsm8k,my_task.yaml
    harness run my-model.yaml --set training.learning_rate=1e-6 --set evaluation.batch_size=16

    A killed run goes on where it stopped when the same command is given again; a finished stage is not run twice.
    """
    from harness.cli.printing.results import print_results
    from harness.experiments.any_recipe import load_any_recipe, run_any_recipe

    overrides = [*(override or []), *([f"training.report_to={json.dumps(report_to)}"] if report_to else [])]
    chosen = load_any_recipe(recipe, overrides, seeds, limit, _split_names(task or []))
    most = getattr(chosen, "limit", None)
    directory = out or Path("runs") / (chosen.name if most is None else f"{chosen.name}-limit{most}")
    if dry_run:
        _estimate_run(chosen, directory, workers, as_json)
        return
    results = run_any_recipe(chosen, directory, workers)
    if as_json:
        print(json.dumps(results.to_json()))
        return
    print_results(results)
    print(f"\nReport: {(directory / 'report.html').resolve()}")


def _split_names(given: list[str]) -> list[str]:
    """Names given one by one or with commas between them."""
    return [name for each in given for name in each.split(",") if name]


def _estimate_run(recipe: AnyRecipe, directory: Path, workers: int | None, as_json: bool) -> None:
    """The dry run."""
    from harness.recipes.schema import Recipe

    if not isinstance(recipe, Recipe):
        raise HarnessError(
            f"--dry-run does not know the experiment {recipe.experiment!r}",
            place=recipe.name,
            hint="It estimates recipes without an `experiment` key.",
        )
    import psutil

    from harness.run.cost.dry_run import dry_run
    from harness.run.directory import is_finished
    from harness.run.draws import draw_directory, list_draws

    began = psutil.Process().create_time()
    draws = list_draws(recipe) if recipe.is_drawn else []
    places = {draw.name: draw_directory(directory, draw) for draw in draws}
    waiting = [draw for draw in draws if not is_finished(places[draw.name])]
    if not draws:
        found = dry_run(recipe, directory, workers, began=began)
    else:
        one = (waiting or draws)[0]
        found = dry_run(one.recipe, places[one.name], workers, began=began)
    in_all = found.draws_seconds(len(waiting))
    counts = {"draws": len(draws), "draws_left": len(waiting), "draws_seconds": in_all} if draws else {}
    if as_json:
        print(json.dumps(found.to_json() | counts))
        return
    if draws:
        print(f"{len(draws)} draws, each a run of its own, {len(draws) - len(waiting)} done. What follows is of one.\n")
    print_dry_run(found)
    if waiting and in_all is not None:
        print(f"All {len(waiting)} draws that are left, about: {duration_text(in_all)}")
