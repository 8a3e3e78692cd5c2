"""Recipes of any kind: the regression run's and the experiments', loaded and run by what their keys say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.experiments.schema import Catastrophic, Percentiles, Selection
from harness.prompts.sets import with_limit
from harness.prompts.variants import refuse_variants
from harness.recipes.loading import read_recipe_keys, validate_recipe
from harness.recipes.schema import Recipe
from harness.run.draws import run_draws
from harness.run.regression import run_regression
from harness.support.errors import HarnessError
from harness.support.run_results import AnyResults

AnyRecipe = Recipe | Catastrophic | Percentiles | Selection
EXPERIMENT_KINDS: dict[str, type[AnyRecipe]] = {
    "catastrophic": Catastrophic,
    "percentiles": Percentiles,
    "selection": Selection,
}


def load_any_recipe(
    source: str,
    overrides: Sequence[str] = (),
    seeds: int | None = None,
    limit: int | None = None,
    tasks: Sequence[str] = (),
) -> AnyRecipe:
    """A recipe of the kind its `experiment` key names; without one, the regression run's.

    `limit`: so many unsafe prompts, and documents of each task, for a regression run. `tasks`: names or files of
    lm-eval tasks beside the recipe's own. The other arguments are those of `read_recipe_keys`.
    """
    keys, place = read_recipe_keys(source, overrides, seeds)
    if "experiment" not in keys:
        if limit is not None:
            keys["prompts"] = with_limit(str(keys.get("prompts", "bundled")), limit)
        if tasks:
            keys["tasks"] = [*(keys.get("tasks") or []), *tasks]
        found = validate_recipe(keys, place, Recipe)
        return found if limit is None else _limit_tasks(found, limit)
    if limit is not None or tasks:
        option = "--tasks" if limit is None else "--limit"
        raise HarnessError(f"{option} does not know the experiment {keys['experiment']!r}", place=place)
    if keys["experiment"] not in EXPERIMENT_KINDS:
        raise HarnessError(
            f"no experiment is called {keys['experiment']!r}",
            place=place,
            hint=f"There are: {', '.join(EXPERIMENT_KINDS)}.",
        )
    refuse_variants(str(keys.get("prompts", "")))
    chosen = validate_recipe(keys, place, EXPERIMENT_KINDS[keys["experiment"]])
    if isinstance(chosen, Percentiles | Selection) and chosen.training.report_to:
        cause = f"training.report_to does not know the experiment {chosen.experiment!r}"
        raise HarnessError(cause, place=place, hint="Leave it out; recipes without an `experiment` key report.")
    return chosen


def _limit_tasks(recipe: Recipe, most: int) -> Recipe:
    """The recipe with no task on more documents than `most`."""
    tasks = tuple(task.model_copy(update={"limit": min(task.limit or most, most)}) for task in recipe.tasks)
    return recipe.model_copy(update={"tasks": tasks})


def run_any_recipe(chosen: AnyRecipe, out: Path, workers: int | None = None) -> AnyResults:
    """Runs a recipe of any kind into `out` and returns its results; `workers` limits the processes."""
    if isinstance(chosen, Recipe) and chosen.is_drawn:
        return run_draws(chosen, out, workers)
    if isinstance(chosen, Recipe):
        return run_regression(chosen, out, workers)
    # Their stages are many and short, so they load torch at once; a regression run that is done loads none of it.
    from harness.experiments.catastrophic import run_catastrophic
    from harness.experiments.percentiles import run_percentiles
    from harness.experiments.selection import run_selection

    if isinstance(chosen, Catastrophic):
        return run_catastrophic(chosen, out)
    return run_percentiles(chosen, out) if isinstance(chosen, Percentiles) else run_selection(chosen, out)
