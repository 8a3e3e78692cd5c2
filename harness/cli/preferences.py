"""`harness preferences`: pairs sampled from the model, as a table of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.cli.options import EngineOption, WorkersOption, check_engine
from harness.cli.printing.terminal import plain_table, stdout_console
from harness.support.errors import HarnessError


def preferences_command(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe's name or the path of a YAML file.")],
    out: Annotated[Path, typer.Option("--out", help="JSONL file for the pairs; a data card goes beside.")],
    override: Annotated[list[str] | None, typer.Option("--set", help="key=value, for any key of the recipe.")] = None,
    engine: EngineOption = "local",
    workers: WorkersOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the statistics as one JSON object.")] = False,
) -> None:
    """Build preference pairs from a model's own answers.

    Answers to unsafe prompts are sampled and judged, refusals preferred, ties broken.

    \b
    harness preferences miniature --out prefs.jsonl
    harness preferences llama3_8b_sorrybench --out prefs.jsonl --set pairs.samples=4
    harness preferences llama3_8b_sorrybench --out prefs.jsonl --engine ray --workers 8
    harness run llama3_8b_sorrybench --set preferences=prefs.jsonl

    The rows train in TRL's DPOTrainer as they are; `split` says which are for testing. A killed build goes on where it
    stopped when the same command is given again.
    """
    from harness.recipes.loading import load_recipe
    from harness.run.checks import check_sampling

    check_engine(engine, workers)
    chosen = load_recipe(recipe, override or [])
    if out.suffix != ".jsonl":
        raise HarnessError("is no .jsonl file", place=f"--out {out}", hint="Name it like prefs.jsonl.")
    check_sampling(chosen, recipe)
    if engine == "ray" and chosen.backend != "hf":
        raise HarnessError("samples with transformers", place="--engine ray", hint="Add --set backend=hf.")
    from harness.run.pairs_file import build_pairs_file

    counted = build_pairs_file(chosen, out, engine, workers)
    if as_json:
        print(json.dumps({**counted, "out": str(out), "card": str(out.with_suffix(".md"))}))
    else:
        _print_statistics(counted, out)


def _print_statistics(counted: Mapping[str, Any], out: Path) -> None:
    """Pair types by split, and what gave no pair."""
    table = plain_table("pairs", counted["splits"])
    table.padding = (0, 2, 0, 0)
    for name in counted["pair_types"]:
        table.add_row(name.replace("_", " "), *(str(types[name]) for types in counted["splits"].values()))
    stdout_console().print(table)
    for reason, number in counted["dropped_prompts"].items():
        print(f"{number} prompts gave no pair: {reason}")
    print(f"{counted['pairs']} pairs: {out}   Card: {out.with_suffix('.md')}")
