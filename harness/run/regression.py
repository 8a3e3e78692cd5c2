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

from harness.judges.registry import judge_identity, judges_version
from harness.models.paths import ModelPath
from harness.prompts.sets import PromptKind, load_prompts
from harness.recipes.pinning import Pins, fetch_model_path, pin_recipe
from harness.recipes.schema import Recipe
from harness.run.checks import check_prerequisites
from harness.run.directory import RunDirectory, read_pins
from harness.run.stages import (
    difficulty_stage,
    evaluation_stage,
    needs_difficulty,
    other_pairs_stage,
    preferences_stage,
    reference_stage,
    scores_stage,
    training_stage,
    write_report,
    write_results,
)
from harness.run.state import Run
from harness.support import artifacts
from harness.support.layout import ON_POLICY
from harness.support.run_results import RunResults
from harness.workers.machine import planned_threads
from harness.workers.processes import ProcessPlan, plan_processes, preload_imports, run_in_processes

StageKind = Literal["pairs", "scores", "reference", "difficulty", "train", "evaluate"]


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
    kind: StageKind
    do: Callable[[Run], None]
    of: str = ON_POLICY
    seed: int = 0
    after: tuple[str, ...] = ()


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
        for stage in (*shared_stages(current), *done_before):
            stage.do(current)
        run_in_processes(partial(run_stages, current), left, plan, "Training and evaluating", out / "workers.log")
        results = write_results(current)
        write_report(current)
    return results


def open_run(recipe: Recipe, path: ModelPath, out: Path, pins: Pins) -> Run:
    """The run of a pinned recipe in its directory; nothing is written before a stage has something to record."""
    facts = {"hub": pins, "seeds": _seed_facts(recipe), "data": _data_facts(recipe)}
    return Run(recipe, path, RunDirectory(out, recipe.model_dump(mode="json"), path.manifest_entry, facts))


def shared_stages(run: Run) -> list[Stage]:
    """What comes before the arms, in its order."""
    made = [
        Stage("preferences", "pairs", preferences_stage),
        Stage("scores", "scores", scores_stage, after=("preferences",)),
    ]
    for source in run.other_sources:
        pairs = f"{source} pairs"
        made += [
            Stage(pairs, "pairs", partial(other_pairs_stage, source=source), source),
            Stage(f"{source} scores", "scores", partial(scores_stage, source=source), source, after=(pairs,)),
        ]
    scored = tuple(stage.name for stage in made if stage.kind == "scores")
    made.append(Stage("reference", "reference", reference_stage, after=scored))
    if needs_difficulty(run):
        made.append(Stage("difficulty", "difficulty", difficulty_stage, after=(*scored, "reference")))
    return made


def arm_stages(run: Run) -> list[list[Stage]]:
    """What each arm takes with each seed, the baseline first; these pieces do not depend on each other."""
    shared = shared_stages(run)
    return [
        _arm_piece(name, seed, tuple(stage.name for stage in shared if _needs_stage(run, name, stage)))
        for name in ("baseline", *run.recipe.arms)
        for seed in run.recipe.seeds
    ]


def _needs_stage(run: Run, arm: str, stage: Stage) -> bool:
    """Whether the arm's training reads what the stage wrote."""
    if arm == "baseline":
        return False
    return stage.kind != "difficulty" or run.recipe.arms[arm].filter.by == "validation_loss"


def _arm_piece(arm: str, seed: int, before: tuple[str, ...]) -> list[Stage]:
    which: dict[str, Any] = {"name": arm, "seed": seed}
    evaluate = Stage(f"evaluate {arm} seed {seed}", "evaluate", partial(evaluation_stage, **which), arm, seed)
    if arm == "baseline":
        return [evaluate]
    train = Stage(f"train {arm} seed {seed}", "train", partial(training_stage, **which), arm, seed, before)
    return [train, replace(evaluate, after=(train.name,))]


def every_stage(run: Run) -> list[Stage]:
    """All stages of a run in their order; results.json and the report, written anew each time, are none."""
    return [*shared_stages(run), *chain.from_iterable(arm_stages(run))]


def due_stages(run: Run) -> dict[str, str]:
    """Why each stage that is not done has to be, by name, in the order of the run; nothing is written.

    A stage after one that is due counts as due; where that one leaves the same files as before, it is not run.
    """
    reasons: dict[str, str] = {}
    for stage in every_stage(run):
        if first := next((name for name in stage.after if name in reasons), None):
            reasons[stage.name] = f"after {first}"
            continue
        with run.directory.collect_reasons() as found:
            stage.do(run)
        reasons |= found
    return reasons


def run_stages(run: Run, piece: Sequence[Stage]) -> None:
    """The stages of one arm with one seed, in their order."""
    for stage in piece:
        stage.do(run)


def obtain_model_path(recipe: Recipe) -> ModelPath:
    """Where the recipe's model is: its directory, fetched now if need be, or the miniature's, grown now if need be."""
    if recipe.model != "miniature":
        return fetch_model_path(recipe)
    from harness.organism.store import ensure_miniature

    return ModelPath(str(ensure_miniature(recipe.organism_seed)))


def _seed_facts(recipe: Recipe) -> dict[str, Any]:
    return {"training and evaluation": recipe.seeds, "pairs": recipe.pairs.seed, "organism": recipe.organism_seed}


def _data_facts(recipe: Recipe) -> dict[str, Any]:
    """Hashes of what the run reads, and who judges."""
    kinds: tuple[PromptKind, ...] = ("unsafe", "benign")
    tables = {name: artifacts.hash_if_local(getattr(recipe, name)) for name in ("preferences", "gold", "off_policy")}
    return {
        "prompts": artifacts.json_fingerprint([load_prompts(recipe.prompts, kind) for kind in kinds]),
        **{name: content for name, content in tables.items() if content is not None},
        "judge": {"identity": judge_identity(recipe.judge), "version": judges_version()},
    }


def process_plan(recipe: Recipe, path: ModelPath, at_most: int | None) -> ProcessPlan:
    """Processes for the arms; a model that is not here yet is taken to be too large to have twice on a CPU."""
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    plan = plan_processes(sum(weights) if weights else 1 << 40, at_most)
    # A launched training takes all GPUs for itself, vLLM's engine for CPUs all cores.
    alone = recipe.training.launch or (recipe.engine == "vllm" and not plan.devices)
    return plan_processes(0, 1) if alone else plan
