"""`harness preferences`: pairs sampled from the model, as a table of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.options import EngineOption, WorkersOption, check_engine
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.recipes.schema import Recipe


def preferences_command(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe's name or the path of a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="JSONL file for the pairs; a data card goes beside.")],
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, for any key of the recipe.")] = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the statistics as one JSON object.")] = False,
) -> None:
    """Build preference pairs: sample answers to unsafe prompts, judge them, prefer refusals, break ties.

    \b
    harness preferences miniature --out prefs.jsonl
    harness preferences llama3_8b_sorrybench --out prefs.jsonl --set pairs.samples=4
    harness preferences llama3_8b_sorrybench --out prefs.jsonl --engine ray --workers 8
    harness run llama3_8b_sorrybench --set preferences=prefs.jsonl

    The rows train in TRL's DPOTrainer as they are; `split` says which are for testing. A killed build goes on where it
    stopped when the same command is given again.
    """
    from harness.recipes.loading import load_recipe

    check_engine(engine, workers)
    chosen = load_recipe(recipe, override or [])
    _refuse_unusable(chosen, recipe, out)
    if engine == "ray" and chosen.backend != "hf":
        raise HarnessError("samples with transformers", place="--engine ray", hint="Add --set backend=hf.")
    counted = build_pairs_file(chosen, out, engine, workers)
    if as_json:
        import json

        print(json.dumps({**counted, "out": str(out), "card": str(out.with_suffix(".md"))}))
    else:
        _print_statistics(counted, out)


def _refuse_unusable(recipe: Recipe, source: str, out: Path) -> None:
    from harness.judges.registry import find_judge
    from harness.prompts.sets import load_prompts

    if out.suffix != ".jsonl":
        raise HarnessError("is no .jsonl file", place=f"--out {out}", hint="Name it like prefs.jsonl.")
    if recipe.preferences is not None:
        hint = "Leave it out with --set preferences=null."
        raise HarnessError("names a preference table of its own", place=source, hint=hint)
    find_judge(recipe.judge)
    if not load_prompts(recipe.prompts, "unsafe"):
        raise HarnessError("holds no unsafe prompts", place=recipe.prompts)


def build_pairs_file(recipe: Recipe, out: Path, engine: Literal["local", "ray"], workers: int | None) -> dict[str, Any]:
    import shutil

    from harness.preferences.building import build_pairs, data_card, pair_statistics
    from harness.prompts.sets import load_prompts
    from harness.recipes.pinning import pin_recipe
    from harness.run.regression import obtain_model_path
    from harness.support import artifacts
    from harness.support.errors import HarnessError

    keep = out.with_name(f".{out.name}.partial")
    with artifacts.lock_directory(keep):
        began = keep / "hub.json"
        recipe, pins = pin_recipe(recipe, artifacts.read_json(began) if began.is_file() else {})
        artifacts.write_json(began, pins)
        rows = load_prompts(recipe.prompts, "unsafe")
        built = build_pairs(recipe, obtain_model_path(recipe), rows, keep / "done", engine=engine, workers=workers)
        if not built.rows:
            hint = "Sample at a higher pairs.temperature."
            raise HarnessError(f"no pair came of the prompts: {dict(built.dropped)}", place=recipe.prompts, hint=hint)
        counted = pair_statistics(built)
        artifacts.write_text(out.with_suffix(".md"), data_card(recipe, out.name, counted))
        artifacts.write_jsonl(out, built.rows)
    shutil.rmtree(keep)
    return counted


def _print_statistics(counted: Mapping[str, Any], out: Path) -> None:
    """Pair types by split, and what gave no pair."""
    from rich.console import Console
    from rich.table import Table

    table = Table("pairs", box=None, padding=(0, 2, 0, 0))
    for split in counted["splits"]:
        table.add_column(split, justify="right")
    for name in counted["pair_types"]:
        table.add_row(name.replace("_", " "), *(str(types[name]) for types in counted["splits"].values()))
    Console().print(table)
    for reason, number in counted["dropped_prompts"].items():
        print(f"{number} prompts gave no pair: {reason}")
    print(f"{counted['pairs']} pairs: {out}   Card: {out.with_suffix('.md')}")
