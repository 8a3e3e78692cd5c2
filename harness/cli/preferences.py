"""`harness preferences`: pairs sampled from the model, as a table of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.engine import Engine, Workers, check
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.recipe import Recipe


def preferences(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe's name or the path of a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="JSONL file for the pairs; a data card goes beside.")],
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, for any key of the recipe.")] = None,
    engine: Engine = "local",
    workers: Workers = None,
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
    from harness.recipe import load

    check(engine, workers)
    chosen = load(recipe, override or [])
    _refuse(chosen, recipe, out)
    if engine == "ray" and chosen.engine != "hf":
        raise HarnessError("samples with transformers", place="--engine ray", mend="Add --set engine=hf.")
    counted = _build(chosen, out, engine, workers)
    if as_json:
        import json

        print(json.dumps({**counted, "out": str(out), "card": str(out.with_suffix(".md"))}))
    else:
        _print(counted, out)


def _refuse(recipe: Recipe, source: str, out: Path) -> None:
    from harness import prompts
    from harness.judges import find

    if out.suffix != ".jsonl":
        raise HarnessError("is no .jsonl file", place=f"--out {out}", mend="Name it like prefs.jsonl.")
    if recipe.preferences is not None:
        mend = "Leave it out with --set preferences=null."
        raise HarnessError("names a preference table of its own", place=source, mend=mend)
    find(recipe.judge)
    if not prompts.load(recipe.prompts, "unsafe"):
        raise HarnessError("holds no unsafe prompts", place=recipe.prompts)


def _build(recipe: Recipe, out: Path, engine: Literal["local", "ray"], workers: int | None) -> dict[str, Any]:
    import shutil

    from harness import artifacts, pair_building, pinning, prompts
    from harness.errors import HarnessError
    from harness.regression import model_path

    keep = out.with_name(f".{out.name}.partial")
    with artifacts.locked(keep):
        began = keep / "hub.json"
        recipe, pins = pinning.pinned(recipe, artifacts.read_json(began) if began.is_file() else {})
        artifacts.write_json(began, pins)
        rows = prompts.load(recipe.prompts, "unsafe")
        built = pair_building.build(recipe, model_path(recipe), rows, keep / "done", engine=engine, workers=workers)
        if not built.rows:
            mend = "Sample at a higher pairs.temperature."
            raise HarnessError(f"no pair came of the prompts: {dict(built.dropped)}", place=recipe.prompts, mend=mend)
        counted = pair_building.statistics(built)
        artifacts.write_text(out.with_suffix(".md"), pair_building.card(recipe, out.name, counted))
        artifacts.write_jsonl(out, built.rows)
    shutil.rmtree(keep)
    return counted


def _print(counted: Mapping[str, Any], out: Path) -> None:
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
