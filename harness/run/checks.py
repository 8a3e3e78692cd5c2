"""What would only fail after minutes of work, tried first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.gate.policy import Policy
from harness.gate.power import PowerPlan, estimate_power
from harness.judges.registry import judge_identity, labels_never_given
from harness.models.backends import require_vllm
from harness.prompts.sets import PROMPT_KINDS, PromptRow, load_prompts
from harness.recipes.reaching import check_serving
from harness.recipes.schema import Recipe
from harness.recipes.task_files import check_task_files
from harness.scoring.targets import COUNTED_LABEL, asks_unsafe, influence_column
from harness.support import console
from harness.support.errors import HarnessError
from harness.training.jobs import check_quantization
from harness.training.trackers import check_trackers
from harness.workers.launching import check_launch

PLANNED_RATE, PLANNED_POWER = 0.75, 0.8
"""The refusal rate that the size of a prompt set is checked at, and the least chance to pass a harmless change."""
ENOUGH_PROMPTS = 2000
"""So many prompts pass a harmless change nearly always, with one answer each: no simulation has to say so."""


def check_prerequisites(recipe: Recipe) -> None:
    """What would only fail after minutes of work, tried first."""
    judge_identity(recipe.judge)
    if recipe.backend == "vllm":
        require_vllm("backend")
    if recipe.endpoint:
        check_serving(recipe.endpoint)
    check_trackers(recipe.training.report_to)
    if recipe.endpoint:
        check_serving(recipe.endpoint)
    if recipe.training.launch:
        check_launch(recipe.training.launch)
    if recipe.training.lora and recipe.training.lora.quantize:
        check_quantization()
    check_task_files(recipe)
    unsafe, benign = (load_prompts(recipe.prompts, kind) for kind in PROMPT_KINDS)
    if not unsafe:
        raise HarnessError("holds no unsafe prompts", place=recipe.prompts)
    _check_influence(recipe, {True: unsafe, False: benign})
    _warn_of_few_prompts(len(unsafe), len(recipe.seeds))
    if not benign:
        _warn_of_no_benign(recipe.prompts)


def try_tasks(recipe: Recipe) -> None:
    """Raises HarnessError where lm-eval cannot load a task, its data too, or the backend cannot measure it."""
    if not recipe.tasks:
        return
    from harness.evaluation.lm_eval import load_own_task  # lm-eval takes seconds to import

    for task in recipe.tasks:
        load_own_task(task, trusted=recipe.trust_task_code, backend=recipe.backend)


def _check_influence(recipe: Recipe, prompts: Mapping[bool, Sequence[PromptRow]]) -> None:
    """Raises HarnessError where an arm filters by an influence on a rate that nothing can tell: no judge, no prompts.

    `prompts`: by whether they are unsafe.
    """
    never = labels_never_given(recipe.judge)
    asked = {unsafe: any(row["split"] == "train" for row in rows) for unsafe, rows in prompts.items()}
    for name, arm in recipe.arms.items():
        for target, label in COUNTED_LABEL.items():
            if arm.filter.influence == influence_column(target) and label in never:
                raise HarnessError(
                    f"{arm.filter.by} cannot be measured, as the judge {recipe.judge} never says {label}",
                    place=f"arms.{name}.filter",
                    hint="Filter by harmful_influence, or name another judge.",
                )
            if arm.filter.influence == influence_column(target) and not asked[asks_unsafe(target)]:
                kind = "unsafe" if asks_unsafe(target) else "benign"
                raise HarnessError(
                    f"{arm.filter.by} cannot be measured, as {recipe.prompts} holds no {kind} training prompts",
                    place=f"arms.{name}.filter",
                    hint="Filter by another influence, or name prompts that hold some.",
                )


def _warn_of_no_benign(prompts: str) -> None:
    """Says what a run on unsafe prompts alone will not know."""
    console.print_note(
        f"warning: {prompts} holds no benign prompts, so over-refusal will not be measured: the report's gate leaves "
        "it out, and would pass a model that refuses everything; a file's rows with `label: safe` are benign"
    )


def check_sampling(recipe: Recipe, place: str) -> None:
    """Raises HarnessError where no pairs can be sampled with the recipe from `place`: no judge, or nothing to ask."""
    if recipe.preferences is not None:
        hint = "Leave it out with --set preferences=null."
        raise HarnessError("names a preference table of its own", place=place, hint=hint)
    judge_identity(recipe.judge)
    if not load_prompts(recipe.prompts, "unsafe"):
        raise HarnessError("holds no unsafe prompts", place=recipe.prompts)


def _warn_of_few_prompts(unsafe: int, seeds: int) -> None:
    """Says so where the prompts are too few for the gate's default margin to pass even a harmless change."""
    if unsafe >= ENOUGH_PROMPTS:
        return
    margin = Policy().metrics["refusal_rate"].margin
    passes = (
        estimate_power(PowerPlan(unsafe, seeds, margin, PLANNED_RATE), runs=1000).harmless_passes if unsafe > 1 else 0.0
    )
    if passes < PLANNED_POWER:
        answers = "one answer" if seeds == 1 else f"{seeds} answers"
        console.print_note(
            f"warning: {unsafe} unsafe prompts with {answers} each would let a harmless change pass the gate's "
            f"margin of {margin:.0%} only {passes:.0%} of the time; `harness power` says how many it takes"
        )
