"""`harness init`: a commented starter recipe for a model and data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.support.artifacts import atomic_file
from harness.support.console import printable_line
from harness.support.errors import HarnessError


def init_command(
    model: Annotated[
        str, typer.Option("--model", help="Directory, GGUF file or hub id of what is to be trained.")
    ] = "miniature",
    preferences: Annotated[
        str | None,
        typer.Option("--preferences", help="Pairs to train on; without it the model's own answers."),
    ] = None,
    prompts: Annotated[
        str, typer.Option("--prompts", help="What to ask: bundled, a published set, or a .jsonl or .csv file.")
    ] = "bundled",
    out: Annotated[Path, typer.Option("--out", help="The recipe to write; one that is there is kept.")] = Path(
        "my-model.yaml"
    ),
) -> None:
    """Write a commented starter recipe for a model and data.

    The model's weights are not loaded: its size, context and chat template say how to train and to ask it, the first
    pairs of the table what it is about.

    \b
    harness init --model ./my-model --preferences prefs.jsonl
    harness init --model org/name --prompts prompts.csv --out recipes/name.yaml

    What it writes can be run as it is: `harness run my-model.yaml --dry-run` says what that would take.
    """
    if out.exists():
        raise HarnessError("is there already", place=str(out), hint="Name another file with --out.")
    from harness.recipes.loading import load_recipe
    from harness.recipes.starter import smoke_limit, starter_text
    from harness.run.starter import look_at_model, look_at_prompts, look_at_table
    from harness.support.json_schema import schema_comment

    asked = look_at_prompts(prompts, out.parent)
    table = None if preferences is None else look_at_table(preferences, out.parent)
    start = look_at_model(model, out.parent)
    shown = printable_line(shlex.quote(str(out)))
    text = starter_text(_recipe_name(out), shown, start, asked, table)
    with atomic_file(out) as partial:
        partial.write_text(schema_comment("harness.recipes", "recipe.schema.json") + text, encoding="utf-8")
        load_recipe(str(partial))  # no file that the run would refuse
    print(f"Wrote {out}. Next:\n")
    for words in ("--dry-run", f"--limit {smoke_limit(asked)}"):
        print(f"  harness run {shown} {words}")


def _recipe_name(file: Path) -> str:
    """What a recipe may be called after its file."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", file.stem).strip("-._")[:64] or "my-model"
