"""The stages of a regression run as data: what each reads and leaves. `work.py` beside this file does them.

The run, its resumption, the question why a stage is due, and the dry run all go through this one list. A stage reads
what the stages before it wrote, and leaves whole files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Literal

from harness.models.paths import ModelPath
from harness.recipes.schema import TrainingSettings
from harness.recipes.task_files import fingerprint_tasks
from harness.run.state import Run, variant_facts
from harness.scoring.targets import asks_unsafe
from harness.support import artifacts
from harness.support.layout import ON_POLICY, OTHER_SOURCES
from harness.workers.machine import thread_count

StageKind = Literal[
    "pairs", "scores", "reference", "difficulty", "probes", "influence", "forecast", "pushes", "train", "evaluate"
]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a run.

    Attributes:
        name: what the manifest calls it.
        kind: what work it is, a key of `work.WORK_OF_KIND`.
        inputs: everything its outputs depend on, by what a reader would call it; asked when the stages before are done.
        outputs: the files and directories that it writes.
        of: the pairs' source, or the arm.
        seed: of an arm's training or evaluation.
        after: the stages whose files it reads.
    """

    name: str
    kind: StageKind
    inputs: Callable[[Run], Mapping[str, object]]
    outputs: tuple[Path, ...]
    of: str = ON_POLICY
    seed: int = 0
    after: tuple[str, ...] = ()


Piece = list[Stage]
"""Stages that run one after another, in one process."""

# The list


def shared_stages(run: Run) -> list[Stage]:
    """What comes before the arms, in its order."""
    sources = (ON_POLICY, *run.other_sources)
    made = [stage for source in sources for stage in (_pairs_stage(run, source), _scores_stage(run, source))]
    made.append(_reference_stage(run, tuple(stage.name for stage in made if stage.kind == "scores")))
    if run.needs_difficulty:
        made.append(_difficulty_stage(run, made[-1]))
    if run.recipe.influences:
        made += _influence_stages(run)
    return made


def arm_stages(run: Run) -> list[Piece]:
    """What each arm takes with each seed, the baseline first; these pieces do not depend on each other.

    Before them, what the page alone reads: the forecast, and what pushes the prompts' refusals.
    """
    shared = shared_stages(run)
    arms = [[_forecast_stage(run, tuple(stage.name for stage in shared))]] if run.forecast_arms else []
    arms.append([_pushes_stage(run)])
    arms += [[_evaluate_stage(run, "baseline", seed)] for seed in run.recipe.seeds]
    for name in run.recipe.arms:
        before = tuple(stage.name for stage in shared if _feeds_arm(run, stage, name))
        arms += [_arm_piece(run, name, seed, before) for seed in run.recipe.seeds]
    return arms


def _feeds_arm(run: Run, stage: Stage, arm: str) -> bool:
    """Whether a stage before the arms leaves what this arm reads."""
    if stage.kind == "difficulty":
        return run.recipe.arms[arm].needs_difficulty
    if stage.kind in {"probes", "influence"}:
        return run.filters_by_influence(arm)
    return True


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
        elif (reason := run.directory.reason_to_run(stage.name, stage.inputs(run), stage.outputs)) is not None:
            reasons[stage.name] = reason or "not run yet"
    return reasons


def run_stages(run: Run, stages: Sequence[Stage]) -> None:
    """Does the stages in their order, each unless it was done before."""
    for stage in stages:
        run.directory.run_stage(stage.name, stage.inputs(run), stage.outputs, partial(_do_work, run, stage))


def _do_work(run: Run, stage: Stage) -> None:
    from harness.run.work import WORK_OF_KIND  # torch and the trainers: a run that is done loads none of them

    WORK_OF_KIND[stage.kind](run, stage)


# Each stage: its inputs, and what it leaves


def _pairs_stage(run: Run, source: str) -> Stage:
    """The recipe's own table, or pairs that are sampled from the model or written by the miniature's world."""
    pairs = run.files.source(source).pairs
    if source != ON_POLICY:
        return Stage(f"{source} pairs", "pairs", partial(_pairs_inputs, key=source), (pairs,), source)
    return Stage("preferences", "pairs", partial(_pairs_inputs, key="preferences"), (pairs, run.files.pairs_card))


def _pairs_inputs(run: Run, key: str) -> dict[str, object]:
    table = artifacts.hash_if_local(getattr(run.recipe, key))
    return {**run.answer_inputs(), key: table, "pairs": run.recipe.pairs.model_dump()}


def _scores_stage(run: Run, source: str) -> Stage:
    name, before = ("scores", "preferences") if source == ON_POLICY else (f"{source} scores", f"{source} pairs")
    inputs = partial(_scores_inputs, source=source)
    return Stage(name, "scores", inputs, (run.files.source(source).scores,), source, after=(before,))


def _scores_inputs(run: Run, source: str) -> dict[str, object]:
    return {
        "the pairs": artifacts.sha256_of(run.files.source(source).pairs),
        "training.max_length": run.recipe.training.max_length,
        "paper_states": run.recipe.paper_states,
        "precision": "float32",
    }


def _reference_stage(run: Run, scored: tuple[str, ...]) -> Stage:
    """The starting model's side of every comparison: ln p of the pairs, how answers start, pairs near each prompt."""
    kept = run.files.reference
    others = [run.files.source(name).reference for name in run.other_sources]
    quantized = [run.files.quantized_logprobs] if run.recipe.training.quantize else []
    outputs = (kept.logprobs, kept.tokens, kept.start, kept.starts, kept.nearest, *others, *quantized)
    return Stage("reference", "reference", _reference_inputs, outputs, after=scored)


def _reference_inputs(run: Run) -> dict[str, object]:
    return {
        "the scores": [_scores_hash(run, source) for source in (ON_POLICY, *run.other_sources)],
        "the prompts": run.answer_inputs()["the prompts"],
        "training.max_length": run.recipe.training.max_length,
        "training.lora.quantize": run.recipe.training.quantize,
        "precision": "float32",
    }


def _difficulty_stage(run: Run, reference: Stage) -> Stage:
    """The validation loss of each on-policy pair, for the arms that filter by it."""
    after = (*reference.after, reference.name)
    return Stage("difficulty", "difficulty", _difficulty_inputs, (run.files.difficulty,), after=after)


def _difficulty_inputs(run: Run) -> dict[str, object]:
    training = run.recipe.training.model_dump()
    return {"the scores": _scores_hash(run, ON_POLICY), "training": training, "threads": thread_count()}


def _influence_stages(run: Run) -> list[Stage]:
    """Answers of the starting model, then what each on-policy pair does to the rates of such answers."""
    probes = Stage("probes", "probes", _probes_inputs, (run.files.probes,))
    after = ("scores", probes.name)
    return [probes, Stage("influence", "influence", _influence_inputs, (run.files.influence,), after=after)]


def _probes_inputs(run: Run) -> dict[str, object]:
    probes, longest = run.recipe.probes, run.recipe.evaluation.max_new_tokens
    kinds = sorted({asks_unsafe(target) for target in run.influence_targets})
    drawn = {"probes": [probes.samples, probes.seed], "evaluation.max_new_tokens": longest, "what is asked": kinds}
    return run.answer_inputs() | drawn


def _influence_inputs(run: Run) -> dict[str, object]:
    return {
        "the scores": _scores_hash(run, ON_POLICY),
        "the probe answers": artifacts.sha256_of(run.files.probes),
        "the targets": run.influence_targets,
        "probes.subspace": run.recipe.probes.subspace,
        "training.max_length": run.recipe.training.max_length,
        "threads": thread_count(),
    }


def _forecast_stage(run: Run, before: tuple[str, ...]) -> Stage:
    """What training some arms would do, by a look ahead: before any is trained, in a single process."""
    return Stage(
        "forecast", "forecast", _forecast_inputs, (run.files.forecast,), seed=run.recipe.seeds[0], after=before
    )


def _forecast_inputs(run: Run) -> dict[str, object]:
    seed = run.recipe.seeds[0]
    arms = {name: artifacts.json_fingerprint(_train_inputs(run, name, seed)) for name in run.forecast_arms}
    return {"the probe answers": artifacts.sha256_of(run.files.probes), "the arms": arms}


def _pushes_stage(run: Run) -> Stage:
    """Which pairs push which prompt's refusal, for the page's answers."""
    return Stage("prompt influence", "pushes", _pushes_inputs, (run.files.pushes,), after=("scores",))


def _pushes_inputs(run: Run) -> dict[str, object]:
    return {
        "the scores": _scores_hash(run, ON_POLICY),
        "the prompts": run.answer_inputs()["the prompts"],
        "training.max_length": run.recipe.training.max_length,
    }


def _arm_piece(run: Run, arm: str, seed: int, before: tuple[str, ...]) -> Piece:
    files = run.files.arm(arm, seed)
    inputs = partial(_train_inputs, arm=arm, seed=seed)
    outputs = (files.model, files.training, files.displacement)
    train = Stage(f"train {arm} seed {seed}", "train", inputs, outputs, arm, seed, before)
    return [train, replace(_evaluate_stage(run, arm, seed), after=(train.name,))]


def _train_inputs(run: Run, arm: str, seed: int) -> dict[str, object]:
    settings = run.recipe.arms[arm]
    by_difficulty, by_influence = settings.needs_difficulty, run.filters_by_influence(arm)
    refreshed = settings.filter.refresh is not None
    return {
        "the scores": [_scores_hash(run, source) for source in (ON_POLICY, *OTHER_SOURCES[settings.pairs])],
        "the reference": artifacts.sha256_of(run.files.reference.starts),
        "the difficulty": artifacts.hash_if_local(str(run.files.difficulty)) if by_difficulty else None,
        "the influence": artifacts.hash_if_local(str(run.files.influence)) if by_influence else None,
        f"arms.{arm}": settings.model_dump(),
        "training": _training_inputs(run.recipe.training),
        "seed": seed,
        "threads": thread_count(),
    } | (_probes_inputs(run) | _influence_inputs(run) if refreshed else {})


def _training_inputs(settings: TrainingSettings) -> dict[str, object]:
    """The settings, and the content of an Accelerate configuration that they name."""
    configuration = artifacts.hash_if_local(settings.launch.config) if settings.launch else None
    return settings.model_dump() | {"configuration": configuration}


def _evaluate_stage(run: Run, arm: str, seed: int) -> Stage:
    """An arm, or the baseline, through lm-eval."""
    inputs = partial(_evaluate_inputs, arm=arm, seed=seed)
    outputs = (run.files.arm(arm, seed).evaluation,)
    return Stage(f"evaluate {arm} seed {seed}", "evaluate", inputs, outputs, arm, seed)


def _evaluate_inputs(run: Run, arm: str, seed: int) -> dict[str, object]:
    return {
        **run.answer_inputs(),
        **variant_facts(run.recipe),
        "the trained model": evaluated_model(run, arm, seed).content,
        "evaluation": run.recipe.evaluation.model_dump(),
        **({"the tasks": fingerprint_tasks(run.recipe)} if run.recipe.tasks else {}),
        "seed": seed,
        "threads": thread_count(),
    }


def evaluated_model(run: Run, arm: str, seed: int) -> ModelPath:
    """The checkpoint that an arm's evaluation reads: the starting model for the baseline."""
    if arm == "baseline":
        return run.model_path
    return replace(run.model_path, directory=str(run.files.arm(arm, seed).model), name="")


def _scores_hash(run: Run, source: str) -> str:
    return artifacts.sha256_of(run.files.source(source).scores)
