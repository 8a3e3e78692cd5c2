"""The regression run: preferences, scores, filtered arms, training, evaluation and results, one stage after another.

A finished stage whose inputs are unchanged is not run again. Arms and seeds are independent, and run beside each other
where the machine allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from harness import artifacts, console, judges, launching, pinning, prompts, run_directory, stages, vllm_engine, workers
from harness.errors import HarnessError
from harness.judges import identity
from harness.models import ModelPath
from harness.recipe import Recipe
from harness.run_directory import RunDirectory, planned_threads
from harness.stages import Run
from harness.workers import Plan

PLANNED_RATE, PLANNED_POWER = 0.75, 0.8
"""The refusal rate that the size of a prompt set is checked at, and the least chance to pass a harmless change."""

Kind = Literal["pairs", "scores", "reference", "difficulty", "train", "evaluate"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a run.

    Attributes:
        name: what the manifest calls it.
        kind: what work it is.
        do: does it, unless it was done before.
        of: the pairs' source, or the arm.
        seed: of an arm's training or evaluation.
        after: the stages whose files it reads.
    """

    name: str
    kind: Kind
    do: Callable[[Run], None]
    of: str = stages.ON_POLICY
    seed: int = 0
    after: tuple[str, ...] = ()


def run(recipe: Recipe, out: Path, at_most: int | None = None) -> dict[str, Any]:
    """Runs the recipe into `out` and returns results.json's content (also written there, with the report).

    Args:
        recipe: what to run.
        out: the run directory; a run that was stopped goes on.
        at_most: a limit on the processes that train and evaluate arms.
    """
    recipe, pins = pinning.pinned(recipe, run_directory.pins(out))
    check(recipe)
    path = model_path(recipe)
    plan = process_plan(recipe, path, at_most)
    with artifacts.locked(out), planned_threads(plan.threads):
        current = opened(recipe, path, out, pins)
        waiting, pieces = due(current), arm_stages(current)
        left = [piece for piece in pieces if any(stage.name in waiting for stage in piece)]
        if plan.processes > 1 and len(left) > 1:
            workers.warm_up()
        done_before = [stage for piece in pieces if piece not in left for stage in piece]
        for stage in (*shared_stages(current), *done_before):
            stage.do(current)
        workers.each(partial(do, current), left, plan, "Training and evaluating", out / "workers.log")
        results = stages.results(current)
        stages.report(current)
    return results


def opened(recipe: Recipe, path: ModelPath, out: Path, pins: pinning.Pins) -> Run:
    """The run of a pinned recipe in its directory; nothing is written before a stage has something to record."""
    facts = {"hub": pins, "seeds": _seeds(recipe), "data": _data(recipe)}
    return Run(recipe, path, RunDirectory(out, recipe.model_dump(mode="json"), path.described, facts))


def shared_stages(run: Run) -> list[Stage]:
    """What comes before the arms, in its order."""
    made = [
        Stage("preferences", "pairs", stages.preferences),
        Stage("scores", "scores", stages.scores, after=("preferences",)),
    ]
    for source in run.other_sources:
        pairs = f"{source} pairs"
        made += [
            Stage(pairs, "pairs", partial(stages.other_pairs, source=source), source),
            Stage(f"{source} scores", "scores", partial(stages.scores, source=source), source, after=(pairs,)),
        ]
    scored = tuple(stage.name for stage in made if stage.kind == "scores")
    made.append(Stage("reference", "reference", stages.reference, after=scored))
    if stages.needs_difficulty(run):
        made.append(Stage("difficulty", "difficulty", stages.difficulty, after=(*scored, "reference")))
    return made


def arm_stages(run: Run) -> list[list[Stage]]:
    """What each arm takes with each seed, the baseline first; these pieces do not depend on each other."""
    shared = shared_stages(run)
    return [
        _piece(name, seed, tuple(stage.name for stage in shared if _reads(run, name, stage)))
        for name in ("baseline", *run.recipe.arms)
        for seed in run.recipe.seeds
    ]


def _reads(run: Run, arm: str, stage: Stage) -> bool:
    """Whether the arm's training reads what the stage wrote."""
    if arm == "baseline":
        return False
    return stage.kind != "difficulty" or run.recipe.arms[arm].filter.by == "validation_loss"


def _piece(arm: str, seed: int, before: tuple[str, ...]) -> list[Stage]:
    which: dict[str, Any] = {"name": arm, "seed": seed}
    evaluate = Stage(f"evaluate {arm} seed {seed}", "evaluate", partial(stages.evaluate, **which), arm, seed)
    if arm == "baseline":
        return [evaluate]
    train = Stage(f"train {arm} seed {seed}", "train", partial(stages.train, **which), arm, seed, before)
    return [train, replace(evaluate, after=(train.name,))]


def every_stage(run: Run) -> list[Stage]:
    """All stages of a run in their order; results.json and the report, written anew each time, are none."""
    return [*shared_stages(run), *chain.from_iterable(arm_stages(run))]


def due(run: Run) -> dict[str, str]:
    """Why each stage that is not done has to be, by name, in the order of the run; nothing is written.

    A stage after one that is due counts as due; where that one leaves the same files as before, it is not run.
    """
    reasons: dict[str, str] = {}
    for stage in every_stage(run):
        if first := next((name for name in stage.after if name in reasons), None):
            reasons[stage.name] = f"after {first}"
            continue
        with run.directory.looking() as found:
            stage.do(run)
        reasons |= found
    return reasons


def do(run: Run, piece: Sequence[Stage]) -> None:
    """The stages of one arm with one seed, in their order."""
    for stage in piece:
        stage.do(run)


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


def check(recipe: Recipe) -> None:
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


def process_plan(recipe: Recipe, path: ModelPath, at_most: int | None) -> Plan:
    """Processes for the arms; a model that is not here yet is taken to be too large to have twice on a CPU."""
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    plan = workers.plan(sum(weights) if weights else 1 << 40, at_most)
    # A launched training takes all GPUs for itself, vLLM's engine for CPUs all cores.
    alone = recipe.training.launch or (recipe.engine == "vllm" and not plan.devices)
    return workers.plan(0, 1) if alone else plan
