"""The paper's other experiments, each a recipe of its own kind: section 3's and section 5's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness import recipe
from harness.errors import HarnessError
from harness.experiments import catastrophic, percentiles
from harness.experiments.catastrophic import Catastrophic
from harness.experiments.percentiles import Percentiles

AnyRecipe = recipe.Recipe | Catastrophic | Percentiles
KINDS: dict[str, type[AnyRecipe]] = {"catastrophic": Catastrophic, "percentiles": Percentiles}


def load(source: str, overrides: Sequence[str] = (), seeds: int | None = None) -> AnyRecipe:
    """A recipe of the kind its `experiment` key names; without one, the regression run's (`harness.recipe.load`)."""
    keys, place = recipe.content(source, overrides, seeds)
    if "experiment" not in keys:
        return recipe.checked(keys, place, recipe.Recipe)
    if keys["experiment"] not in KINDS:
        raise HarnessError(
            f"no experiment is called {keys['experiment']!r}", place=place, mend=f"There are: {', '.join(KINDS)}."
        )
    return recipe.checked(keys, place, KINDS[keys["experiment"]])


def run(chosen: AnyRecipe, out: Path, workers: int | None = None) -> dict[str, Any]:
    """Runs a recipe of any kind into `out` and returns results.json's content; `workers` limits the processes."""
    if isinstance(chosen, Catastrophic):
        return catastrophic.run(chosen, out)
    if isinstance(chosen, Percentiles):
        return percentiles.run(chosen, out)
    from harness import regression

    return regression.run(chosen, out, workers)
