"""Recipes of any kind: the regression run's and the experiments', loaded and run by what their keys say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from harness.experiments.schema import Catastrophic, Percentiles, Selection
from harness.prompts.variants import refuse_variants
from harness.recipes.loading import read_recipe_keys, validate_recipe
from harness.recipes.schema import Recipe
from harness.run.draws import run_draws
from harness.run.regression import run_regression
from harness.support.errors import HarnessError
from harness.support.json_schema import DescribedSchema, headed_schema
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

    `limit`: the key of a regression run's recipe, a smoke run, on so few documents of each task too. `tasks`: names or
    files of lm-eval tasks beside the recipe's own. The other arguments are those of `read_recipe_keys`.
    """
    limited = () if limit is None else (f"limit={limit}",)
    keys, place = read_recipe_keys(source, (*overrides, *limited), seeds)
    if "experiment" not in keys:
        if tasks:
            keys["tasks"] = [*(keys.get("tasks") or []), *tasks]
        found = validate_recipe(keys, place, Recipe)
        return found if found.limit is None else _limit_tasks(found, found.limit)
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


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe of the kind that its `experiment` key names; without one, the regression run's."""
    kinds: list[type[BaseModel]] = [Recipe, *EXPERIMENT_KINDS.values()]
    refs, made = models_json_schema([(kind, "validation") for kind in kinds], schema_generator=DescribedSchema)
    chosen: dict[str, Any] = refs[Recipe, "validation"]
    for name, kind in EXPERIMENT_KINDS.items():
        named = {"properties": {"experiment": {"const": name}}, "required": ["experiment"]}
        chosen = {"if": named, "then": refs[kind, "validation"], "else": chosen}
    own = made["$defs"][Recipe.__name__]
    own["required"].remove("model")
    own["anyOf"] = [{"required": ["model"]}, {"required": ["models"]}]
    tasks = own["properties"]["tasks"]
    tasks["items"] = {"anyOf": [{"type": "string"}, tasks["items"]]}  # a name alone is a task, too
    return headed_schema("harness recipe", {"type": "object", **chosen, **made})
