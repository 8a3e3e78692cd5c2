"""The regression run: preferences, scores, filtered arms, training, evaluation and results, one stage after another.

A finished stage whose inputs are unchanged is not run again. Arms and seeds are independent, and run beside each other
where the machine allows it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from harness.judges.registry import judge_identity, judges_version
from harness.models.paths import ModelPath
from harness.organism.store import ensure_miniature
from harness.prompts.sets import load_prompts
from harness.recipes.pinning import Pins, pin_recipe
from harness.recipes.schema import Recipe
from harness.run.checks import check_prerequisites
from harness.run.directory import read_pins
from harness.run.results import compute_results
from harness.run.stages import arm_stages, due_stages, run_stages, shared_stages
from harness.run.state import PROMPT_KINDS, Run, find_starting_model, open_directory, write_outcome
from harness.support import artifacts
from harness.support.run_results import RunResults
from harness.workers.machine import planned_threads
from harness.workers.processes import ProcessPlan, plan_processes, preload_imports, run_in_processes
from reports.page import render_report


def run_regression(recipe: Recipe, out: Path, at_most: int | None = None) -> RunResults:
    """Runs the recipe into `out` and returns its results (also written there as results.json, with the report).

    Args:
        recipe: what to run.
        out: the run directory; a run that was stopped goes on.
        at_most: a limit on the processes that train and evaluate arms.
    """
    recipe, pins = pin_recipe(recipe, read_pins(out))
    check_prerequisites(recipe)
    path = obtain_model_path(recipe)
    plan = process_plan(recipe, path, at_most)
    with artifacts.lock_directory(out), planned_threads(plan.threads):
        current = open_run(recipe, path, out, pins)
        waiting, pieces = due_stages(current), arm_stages(current)
        left = [piece for piece in pieces if any(stage.name in waiting for stage in piece)]
        if plan.processes > 1 and len(left) > 1:
            preload_imports()
        done_before = [stage for piece in pieces if piece not in left for stage in piece]
        run_stages(current, [*shared_stages(current), *done_before])
        log = current.files.workers_log
        run_in_processes(partial(run_stages, current), left, plan, "Training and evaluating", log)
        results = compute_results(recipe, out)
        write_outcome(current.directory, results, lambda root: render_report([root]))
    return results


def open_run(recipe: Recipe, path: ModelPath, out: Path, pins: Pins) -> Run:
    """The run of a pinned recipe in its directory; nothing is written before a stage has something to record."""
    seeds = {"training and evaluation": recipe.seeds, "pairs": recipe.pairs.seed, "organism": recipe.organism_seed}
    directory = open_directory(out, recipe, path, pins=pins, seeds=seeds, data=_data_facts(recipe))
    return Run(recipe, path, directory)


def obtain_model_path(recipe: Recipe) -> ModelPath:
    """Where the recipe's model is: its directory, fetched now if need be, or the miniature's, grown now if need be."""
    return find_starting_model(recipe, ensure_miniature)


def _data_facts(recipe: Recipe) -> dict[str, Any]:
    """Hashes of what the run reads, and who judges."""
    tables = {name: artifacts.hash_if_local(getattr(recipe, name)) for name in ("preferences", "gold", "off_policy")}
    return {
        "prompts": artifacts.json_fingerprint([load_prompts(recipe.prompts, kind) for kind in PROMPT_KINDS]),
        **{name: content for name, content in tables.items() if content is not None},
        "judge": {"identity": judge_identity(recipe.judge), "version": judges_version()},
    }


def process_plan(recipe: Recipe, path: ModelPath, at_most: int | None) -> ProcessPlan:
    """Processes for the arms; a model that is not here yet is taken to be too large to have twice on a CPU."""
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    plan = plan_processes(sum(weights) if weights else 1 << 40, at_most)
    # A launched training takes all GPUs for itself, vLLM on CPUs all cores.
    alone = recipe.training.launch or (recipe.backend == "vllm" and not plan.devices)
    return plan_processes(0, 1) if alone else plan
