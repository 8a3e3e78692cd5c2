"""A run's first stage by itself: the pairs sampled from a model as a preference table, with its data card."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from harness.models.paths import ModelPath
from harness.models.templates import check_chat_template
from harness.preferences.building import build_pairs, data_card, pair_statistics
from harness.prompts.sets import load_prompts
from harness.recipes.pinning import pin_recipe
from harness.recipes.schema import Recipe
from harness.run.state import find_starting_model
from harness.support import artifacts
from harness.support.errors import HarnessError
from harness.workers.engines import Engine


def build_pairs_file(recipe: Recipe, out: Path, engine: Engine, workers: int | None) -> dict[str, Any]:
    """Writes the pairs as JSON lines and the card beside them, and returns the card's figures.

    What is done, and the commits that it was done with, is kept in a hidden directory beside `out` until the table is
    whole; the same call goes on after a kill.

    Args:
        recipe: its model, prompts, judge and `pairs`.
        out: the JSONL file; the card is of that name, with `.md`.
        engine: `ray` samples on workers of a Ray cluster.
        workers: copies of the model on Ray; None for one a GPU or CPU core.

    Raises HarnessError where no prompt gave a pair, another process builds this table, or `out` cannot be written.
    """
    keep = out.with_name(f".{out.name}.partial")
    with artifacts.lock_directory(keep):
        began = keep / "hub.json"
        recipe, pins = pin_recipe(recipe, artifacts.read_json(began) if began.is_file() else {})
        artifacts.write_json(began, pins)
        rows = load_prompts(recipe.prompts, "unsafe")
        if recipe.asked_model:
            model = ModelPath("", recipe.asked_model)
        else:
            model = find_starting_model(recipe)
            check_chat_template(model)
        built = build_pairs(recipe, model, rows, keep / "done", engine=engine, workers=workers)
        if not built.rows:
            hint = "Sample at a higher pairs.temperature."
            raise HarnessError(f"no pair came of the prompts: {dict(built.dropped)}", place=recipe.prompts, hint=hint)
        counted = pair_statistics(built)
        artifacts.write_text(out.with_suffix(".md"), data_card(recipe, out.name, counted))
        artifacts.write_jsonl(out, built.rows)
    shutil.rmtree(keep)
    return counted
