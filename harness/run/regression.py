"""The regression run: preferences, scores, filtered arms, training, evaluation and results, one stage after another.

A finished stage whose inputs are unchanged is not run again. Arms and seeds are independent, and run beside each other
and beside the stages whose files they do not read, where the machine allows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.judges.registry import try_judge
from harness.models.templates import check_chat_template
from harness.recipes.pinning import pin_recipe
from harness.recipes.schema import Recipe
from harness.run.checks import check_prerequisites, try_tasks
from harness.run.directory import read_pins, refuse_other_layout
from harness.run.results import RESULT_METRICS, compute_results
from harness.run.stages import Piece, Stage, arm_stages, due_stages, run_stages, shared_stages
from harness.run.state import Run, find_starting_model, open_run, plan_arm_processes, write_outcome
from harness.support import artifacts
from harness.support.layout import DRAWS
from harness.support.run_results import RunResults
from harness.training.trackers import RESULTS_RUN, report_results
from harness.workers.machine import planned_threads
from harness.workers.processes import ProcessPlan, preload_imports, run_in_processes
from reports.figures import decide_arms
from reports.page import render_report


def run_regression(recipe: Recipe, out: Path, max_processes: int | None = None) -> RunResults:
    """Runs the recipe into `out` and returns its results (also written there as results.json, with the report).

    Args:
        recipe: what to run.
        out: the run directory; a run that was stopped goes on.
        max_processes: a limit on the processes that train and evaluate arms.
    """
    refuse_other_layout(out, DRAWS, "several draws")
    recipe, pins = pin_recipe(recipe, read_pins(out))
    check_prerequisites(recipe)
    path = find_starting_model(recipe)
    check_chat_template(path)
    plan = plan_arm_processes(recipe, path, max_processes)
    with artifacts.lock_directory(out), planned_threads(plan.threads):
        current = open_run(recipe, path, out, pins)
        waiting, pieces = due_stages(current), arm_stages(current)
        if waiting:
            try_judge(recipe.judge)
            try_tasks(recipe)
        left = [piece for piece in pieces if any(stage.name in waiting for stage in piece)]
        if plan.processes > 1 and len(left) > 1:
            preload_imports()
        _run_pieces(current, left, [stage for piece in pieces if piece not in left for stage in piece], plan)
        results = compute_results(recipe, out)
        write_outcome(current.directory, results, lambda root: render_report([root]))
        if waiting and (tracking := current.track(RESULTS_RUN)):
            report_results(tracking, _tracked_rates(results), decide_arms(out))
    return results


def _run_pieces(run: Run, left: Sequence[Piece], done_before: Sequence[Stage], plan: ProcessPlan) -> None:
    """What the arms share, here, and the pieces that are left, beside it as soon as what they read is there."""
    ready = set[str]()

    def run_shared(stage: Stage) -> None:
        run_stages(run, [stage])
        ready.add(stage.name)

    def count_done() -> None:
        run_stages(run, done_before)
        if left:
            run.directory.tell_done_stages()

    run_in_processes(
        partial(run_stages, run),
        left,
        plan,
        "Training and evaluating",
        run.files.workers_log,
        _piece_name,
        first=[*(partial(run_shared, stage) for stage in shared_stages(run)), count_done],
        is_ready=lambda piece: ready.issuperset(piece[0].after),
    )


def _tracked_rates(results: RunResults) -> dict[str, float]:
    """Every arm's measured rates, as `ARM/METRIC/SPLIT` or `ARM/TASK/METRIC`, and its mean change of ln p(y+)."""
    found: dict[str, float | None] = {}
    for name, arm in results.arms.items():
        found[f"{name}/preferred_logprob_change"] = arm.preferred_logprob_change.value
        for metric in RESULT_METRICS:
            rates = getattr(arm.metrics, metric)
            found |= {f"{name}/{metric}/train": rates.train.value, f"{name}/{metric}/test": rates.test.value}
        for task, metrics in arm.tasks.items():  # MLflow takes no comma, which parts a metric from its filter
            found |= {f"{name}/{task}/{metric.replace(',', ':')}": each.value for metric, each in metrics.items()}
    return {name: value for name, value in found.items() if value is not None}


def _piece_name(piece: Piece) -> str:
    last = piece[-1]
    return f"{last.of} seed {last.seed}" if last.kind == "evaluate" else last.name
