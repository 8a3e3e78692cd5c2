"""A recipe run on several draws: every table of pairs of every starting model is a regression run of its own.

Each lies in `draws/` as `harness run` would leave it, with its own report; beside them `results.json` and a page of
all, whose intervals hold the draws. A run that was stopped goes on, and further seeds add further draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.recipes.pinning import pin_recipe
from harness.recipes.schema import Recipe
from harness.run.directory import RunDirectory, read_pins, refuse_other_layout
from harness.run.draw_results import compute_draw_results
from harness.run.regression import run_regression
from harness.run.state import write_outcome
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.layout import ARMS, RunFiles
from harness.support.run_results import DrawResults
from reports.experiments.page import render_experiment


@dataclass(frozen=True, slots=True)
class Draw:
    """One table of pairs of one starting model, and the recipe of its run."""

    name: str
    recipe: Recipe


def list_draws(recipe: Recipe) -> list[Draw]:
    """Every draw of a recipe that is drawn several times: the tables of the first model, then those of the next."""
    single = {"pair_seeds": None, "organism_seeds": None, "models": None}
    found = []
    for named, start in _starting_models(recipe):
        for seed in recipe.pair_seeds or (recipe.pairs.seed,):
            pairs = recipe.pairs.model_copy(update={"seed": seed})
            of_draw = recipe.model_copy(update={**single, **start, "pairs": pairs})
            found.append(Draw(f"{named}-pairs-{seed}", of_draw))
    return found


def _starting_models(recipe: Recipe) -> list[tuple[str, dict[str, object]]]:
    """What a starting model is called in names, and the keys that make it the recipe's."""
    if recipe.models is not None:
        return [(f"model-{place}", {"model": name, "revision": None}) for place, name in enumerate(recipe.models)]
    if recipe.model == "miniature":
        seeds = recipe.organism_seeds or (recipe.organism_seed,)
        return [(f"organism-{seed}", {"organism_seed": seed}) for seed in seeds]
    return [("model-0", {})]


def draw_directory(out: Path, draw: Draw) -> Path:
    """Where a draw's run lies."""
    return RunFiles(out).draw(draw.name).root


def run_draws(recipe: Recipe, out: Path, max_processes: int | None = None) -> DrawResults:
    """Runs the recipe on every draw into `out` and returns the results over all of them.

    Arguments as `run_regression`; the results are also written there as results.json, with the page.
    """
    refuse_other_layout(out, ARMS, "one draw alone")
    pinned, pins = pin_recipe(recipe, read_pins(out))
    draws = list_draws(pinned)
    with artifacts.lock_directory(out):
        seeds = {
            "training and evaluation": recipe.seeds,
            "pairs": recipe.pair_seeds,
            "organisms": recipe.organism_seeds,
        }
        facts = {"hub": pins, "seeds": seeds, "draws": [draw.name for draw in draws]}
        directory = RunDirectory(out, pinned.model_dump(mode="json"), {}, facts)
        directory.begin()
        _run_each(draws, out, max_processes)
        results = compute_draw_results(pinned, [(draw.name, draw.recipe, draw_directory(out, draw)) for draw in draws])
        write_outcome(directory, results, render_experiment)
    return results


def _run_each(draws: Sequence[Draw], out: Path, max_processes: int | None) -> None:
    """Runs every draw, one after the other: each takes all processes there are for its arms."""
    for number, draw in enumerate(draws, 1):
        console.print_note(f"Draw {number} of {len(draws)}: {draw.name}")
        try:
            run_regression(draw.recipe, draw_directory(out, draw), max_processes)
        except HarnessError as error:
            place = f"draw {draw.name}" + (f", {error.place}" if error.place else "")
            raise HarnessError(error.cause, place=place, hint=error.hint) from error
