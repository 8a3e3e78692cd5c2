"""`harness recipes` and `harness judges`: what there is, one line each."""

from __future__ import annotations

from collections.abc import Mapping


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
