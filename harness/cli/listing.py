"""`harness recipes` and `harness judges`: what there is, one line each; and the names that a shell completes."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources


def recipes_command() -> None:
    """List the packaged recipes."""
    from harness.recipes.loading import packaged_recipes

    _print_listing(packaged_recipes())


def judges_command() -> None:
    """List the judges."""
    from harness.judges.registry import JUDGE_DESCRIPTIONS

    _print_listing(JUDGE_DESCRIPTIONS)


def _print_listing(lines: Mapping[str, str]) -> None:
    width = max(map(len, lines))
    for name, about in lines.items():
        print(f"{name:<{width}}  {about}")


# For a shell, which waits: nothing heavy is imported


def complete_recipe(beginning: str) -> list[str]:
    """Names of packaged recipes that begin so; where there are none, the shell goes on with files."""
    names = (item.name for item in resources.files("harness.recipes").iterdir() if item.name.endswith(".yaml"))
    return sorted(name.removesuffix(".yaml") for name in names if name.startswith(beginning))


def complete_judge(beginning: str) -> list[str]:
    """Names of judges that begin so."""
    from harness.judges.registry import JUDGE_DESCRIPTIONS

    return [name for name in JUDGE_DESCRIPTIONS if name.startswith(beginning)]


def complete_measure(beginning: str) -> list[str]:
    """Columns of `harness score` to filter by that begin so."""
    from harness.scoring.targets import TARGETS, influence_column

    return [name for name in (*_MEASURES, *map(influence_column, TARGETS)) if name.startswith(beginning)]


_MEASURES = ("ln_ches", "ches", "last_hidden_inner_product", "neg_edit_distance")
"""Those of `harness.scoring.ches`, which takes seconds to import."""
