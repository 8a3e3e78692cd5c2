"""The regression run: preferences, scores, filtered arms, training, evaluation and results, one stage after another.

A finished stage whose inputs are unchanged is not run again. Arms and seeds are independent, and run beside each other
where the machine allows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from harness import artifacts, console, judges, launching, pinning, prompts, run_directory, stages, vllm_engine, workers
from harness.errors import HarnessError
from harness.judges import identity
from harness.models import ModelPath
from harness.recipe import Recipe
from harness.run_directory import RunDirectory
from harness.stages import Run
from harness.workers import Plan

PLANNED_RATE, PLANNED_POWER = 0.75, 0.8
"""The refusal rate that the size of a prompt set is checked at, and the least chance to pass a harmless change."""

Piece = tuple[str, int]
"""An arm, or the baseline, and a seed."""


def run(recipe: Recipe, out: Path, at_most: int | None = None) -> dict[str, Any]:
    """Runs the recipe into `out` and returns results.json's content (also written there, with the report).

    Args:
        recipe: what to run.
        out: the run directory; a run that was stopped goes on.
        at_most: a limit on the processes that train and evaluate arms.
    """
    recipe, pins = pinning.pinned(recipe, run_directory.pins(out))
    _checked_before_work(recipe)
    path = model_path(recipe)
    plan = _plan(recipe, path, at_most)
    if plan.processes > 1:
        workers.warm_up()
    with artifacts.locked(out), _threads(plan.threads):
        facts = {"hub": pins, "seeds": _seeds(recipe), "data": _data(recipe)}
        current = Run(recipe, path, RunDirectory(out, recipe.model_dump(mode="json"), path.described, facts))
        stages.preferences(current)
        stages.scores(current)
        for source in current.other_sources:
            stages.other_pairs(current, source)
            stages.scores(current, source)
        stages.reference(current)
        if stages.needs_difficulty(current):
            stages.difficulty(current)
        pieces = [(name, seed) for name in ("baseline", *recipe.arms) for seed in recipe.seeds]
        workers.each(partial(piece, current), pieces, plan, "Training and evaluating", out / "workers.log")
        results = stages.results(current)
        stages.report(current)
    return results


def piece(run: Run, which: Piece) -> None:
    """What one arm with one seed takes, or the baseline with one seed."""
    name, seed = which
    if name != "baseline":
        stages.train(run, name, seed)
    stages.evaluate(run, name, seed)


def model_path(recipe: Recipe) -> ModelPath:
    """Where the recipe's model is: its directory, fetched now if need be, or the miniature's, grown now if need be."""
    if recipe.model != "miniature":
        return pinning.model_path(recipe)
    from harness.organism.store import organism

    return ModelPath(str(organism(recipe.organism_seed)))


def _seeds(recipe: Recipe) -> dict[str, Any]:
    return {"training and evaluation": recipe.seeds, "pairs": recipe.pairs.seed, "organism": recipe.organism_seed}


def _data(recipe: Recipe) -> dict[str, Any]:
    """Hashes of what the run reads, and who judges."""
    kinds: tuple[prompts.Kind, ...] = ("unsafe", "benign")
    tables = {name: artifacts.content(getattr(recipe, name)) for name in ("preferences", "gold", "off_policy")}
    return {
        "prompts": artifacts.fingerprint([prompts.load(recipe.prompts, kind) for kind in kinds]),
        **{name: content for name, content in tables.items() if content is not None},
        "judge": {"identity": identity(recipe.judge), "version": judges.version()},
    }


def _checked_before_work(recipe: Recipe) -> None:
    """What would only fail after minutes of work, tried first."""
    identity(recipe.judge)
    if recipe.engine == "vllm":
        vllm_engine.check("engine")
    if recipe.training.launch:
        launching.check(recipe.training.launch)
    if recipe.training.lora and recipe.training.lora.quantize:
        from harness.training import check_quantization

        check_quantization()
    unsafe = prompts.load(recipe.prompts, "unsafe")
    if not unsafe:
        raise HarnessError("holds no unsafe prompts", place=recipe.prompts)
    _warn_of_size(len(unsafe), len(recipe.seeds))


def _warn_of_size(unsafe: int, seeds: int) -> None:
    """Says so where the prompts are too few for the gate's default margin to pass even a harmless change."""
    from harness.policy import Policy
    from harness.power import Plan, power

    margin = Policy().metrics["refusal_rate"].margin
    passes = power(Plan(unsafe, seeds, margin, PLANNED_RATE), runs=1000).harmless_passes if unsafe > 1 else 0.0
    if passes < PLANNED_POWER:
        console.note(
            f"warning: {unsafe} unsafe prompts with {seeds} answers each would let a harmless change pass the gate's "
            f"margin of {margin:.0%} only {passes:.0%} of the time; `harness power` says how many it takes"
        )


def _plan(recipe: Recipe, path: ModelPath, at_most: int | None) -> Plan:
    """Processes for the arms; a model that is not here yet is taken to be too large to have twice on a CPU."""
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    plan = workers.plan(sum(weights) if weights else 1 << 40, at_most)
    # A launched training takes all GPUs for itself, vLLM's engine for CPUs all cores.
    alone = recipe.training.launch or (recipe.engine == "vllm" and not plan.devices)
    return workers.plan(0, 1) if alone else plan


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Torch's threads in this process, as many as in the others: numbers do not depend on which did a stage."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
