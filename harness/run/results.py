"""results.json: the contract's numbers, computed from a finished run directory and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import Answer, Evaluation, mean_outcome
from harness.preferences.choosing import count_pair_types
from harness.preferences.pairs import PAIR_TYPES, pair_type
from harness.prompts.variants import variant_name
from harness.recipes.schema import OUR_TASKS, OwnTask, Recipe
from harness.recipes.task_files import read_task_file
from harness.scoring.targets import TARGETS, influence_column
from harness.support import artifacts, console
from harness.support.artifacts import finite_or_null
from harness.support.errors import HarnessError
from harness.support.layout import ON_POLICY, OTHER_SOURCES, RunFiles
from harness.support.redaction import redact_json
from harness.support.run_results import (
    NOTHING_MEASURED,
    ArmResult,
    ChangeBySplit,
    FlagMetric,
    ForecastChange,
    Interval,
    Metric,
    RateBySplit,
    RateChanges,
    Rates,
    RegressionRecipe,
    RunResults,
    SeedEstimate,
    SeedSpread,
    TaskMetric,
)
from harness.support.stats import Estimate, judged_mean, loss_interval, mean_change, paired_counts, rate_over_seeds

RESULT_METRICS = get_args(Metric)

AnswersByArm = Mapping[str, Sequence[Sequence[Answer]]]
"""By arm: the answers of each seed."""


def compute_results(recipe: Recipe, root: Path) -> RunResults:
    """The content of results.json; nothing in it changes from one run to the next with the same seeds.

    Raises HarnessError where a part of the run is missing or was edited.
    """
    files = RunFiles(root)
    rows = artifacts.read_jsonl(files.source(ON_POLICY).pairs)
    names = ("baseline", *recipe.arms)
    answers = {name: [read_arm_answers(files.arm(name, seed).evaluation) for seed in recipe.seeds] for name in names}
    tasks = measure_tasks(recipe, files) if recipe.tasks else {}
    recorded = redact_json(recipe.model_dump(mode="json", exclude={"published"}))
    results = {
        "schema_version": 1,
        "recipe": RegressionRecipe.model_validate(recorded),
        "dropped_prompts": artifacts.read_json(files.pairs_card)["dropped_prompts"],
        "pair_types": count_pair_types(rows) if all("chosen_verdict" in row for row in rows) else None,
        "ln_ches_by_pair_type": _scores_by_type(files.source(ON_POLICY).scores),
        "arms": {"baseline": _baseline_result(answers)}
        | {name: _arm_result(recipe, root, name, answers) for name in recipe.arms},
    }
    for name, measured in tasks.items():
        results["arms"][name] = results["arms"][name].model_copy(update={"tasks": measured})
    published = {"published": recipe.published.model_dump(mode="json")} if recipe.published else {}
    return RunResults.model_validate(results | published)


def read_arm_answers(home: Path) -> list[Answer]:
    """The answers of one evaluation of an arm, of our tasks."""
    evaluations = read_evaluations(home)
    return [answer for each in evaluations for answer in each.answers if answer.task.startswith(OUR_TASKS)]


def _baseline_result(answers: AnswersByArm) -> ArmResult:
    unchanged = SeedEstimate(value=0.0, low=0.0, high=0.0, n=0, per_seed=[])
    return ArmResult(
        pairs=0,
        steps=0,
        preferred_logprob_change=unchanged,
        metrics=_metric_rates(answers["baseline"]),
        **_variant_rates(answers["baseline"]),
    )


def _arm_result(recipe: Recipe, root: Path, name: str, answers: AnswersByArm) -> ArmResult:
    trained = [artifacts.read_json(RunFiles(root).arm(name, seed).training) for seed in recipe.seeds]
    change = _preferred_logprob_change(artifacts.read_json(RunFiles(root).reference.logprobs), trained)
    optional: dict[str, Any] = {}
    if influence := _mean_influence(RunFiles(root).influence, recipe, trained):
        optional["mean_influence"] = influence
    if forecast := _forecast_changes(RunFiles(root).forecast, recipe, name):
        optional["forecast"] = forecast
    if "raw" in recipe.arms:
        optional["change_from_raw"] = _rate_changes(answers["raw"], answers[name])
    return ArmResult(
        pairs=trained[0]["pairs"],
        steps=trained[0]["steps"],
        preferred_logprob_change=_seed_estimate(change),
        trained_logprob_change=_trained_logprob_change(_reference_logprobs(root), trained),
        metrics=_metric_rates(answers[name]),
        **_variant_rates(answers[name]),
        change_from_baseline=_rate_changes(answers["baseline"], answers[name]),
        **optional,
    )


def _rate_changes(before: Sequence[Sequence[Answer]], after: Sequence[Sequence[Answer]]) -> RateChanges:
    return RateChanges(
        **{
            metric: ChangeBySplit(
                train=_rate_change(before, after, metric, "train"), test=_rate_change(before, after, metric, "test")
            )
            for metric in RESULT_METRICS
        }
    )


def _variant_rates(by_seed: Sequence[Sequence[Answer]]) -> dict[str, Any]:
    """The rates on each variant of the prompts; nothing where the prompts have none."""
    names = {name for answers in by_seed for answer in answers if (name := variant_name(answer.doc))}
    return {"by_variant": {name: _metric_rates(by_seed, name) for name in sorted(names)}} if names else {}


def _metric_rates(by_seed: Sequence[Sequence[Answer]], variant: str | None = None) -> Rates:
    measured = {metric for answers in by_seed for answer in answers for metric in answer.outcomes}
    return Rates(
        **{
            metric: RateBySplit(
                train=_rate(by_seed, metric, "train", variant), test=_rate(by_seed, metric, "test", variant)
            )
            for metric in (*RESULT_METRICS, *(flag for flag in get_args(FlagMetric) if flag in measured))
        }
    )


def _rate(
    by_seed: Sequence[Sequence[Answer]], metric: Metric | FlagMetric, split: str, variant: str | None
) -> SeedEstimate:
    return _seed_estimate(rate_over_seeds(_outcome_matrix(outcomes_by_prompt(by_seed, metric, split, variant))))


def _preferred_logprob_change(before: Mapping[str, Sequence[float]], trained: Sequence[Mapping[str, Any]]) -> Estimate:
    """Change of ln p(y+|x) in nats over all scored pairs, the same for every arm; joined by pair_id."""
    after = [[seed["logprobs"][pair][0] for seed in trained] for pair in before]
    return mean_change([chosen for chosen, _ in before.values()], after)


def _reference_logprobs(root: Path) -> dict[str, Sequence[float]]:
    """The starting model's log-probabilities of the pairs of every source, by pair_id."""
    files = [RunFiles(root).source(source).reference for source in OTHER_SOURCES]
    tables = [artifacts.read_json(file) for file in files if file.is_file()]
    return {pair: logprobs for table in tables for pair, logprobs in table.items()}


def _trained_logprob_change(before: Mapping[str, Sequence[float]], trained: Sequence[Mapping[str, Any]]) -> SeedSpread:
    """Mean change of ln p(y+|x) in nats over the pairs an arm trained on, and its standard deviation over seeds.

    The quantity that the paper prints (its code measures an arm on the arm's own pairs).
    """
    per_seed = []
    for seed in trained:
        after = seed["logprobs"] | seed["other_logprobs"]
        per_seed.append(fmean(after[pair][0] - before[pair][0] for pair in seed["trained_pair_ids"]))
    return SeedSpread(value=fmean(per_seed), spread=stdev(per_seed) if len(per_seed) > 1 else None, per_seed=per_seed)


def _mean_influence(table: Path, recipe: Recipe, trained: Sequence[Mapping[str, Any]]) -> dict[str, Interval]:
    """By target: the mean influence of the pairs that an arm trained on with any seed, and its 95 % interval over them.

    Empty where none was measured, and of an arm with pairs of which it was not.
    """
    pairs = sorted({pair for seed in trained for pair in seed["trained_pair_ids"]})
    if not recipe.influences:
        return {}
    rows = {row["pair_id"]: row for row in pq.read_table(table).to_pylist()}
    if not rows.keys() >= {*pairs}:
        return {}
    columns = {target: influence_column(target) for target in TARGETS}
    return {
        target: _mean_interval([rows[pair][column] for pair in pairs if rows[pair][column] is not None])
        for target, column in columns.items()
        if column in recipe.influences
    }


def _forecast_changes(file: Path, recipe: Recipe, name: str) -> dict[str, ForecastChange]:
    """By target, what was forecast of an arm; empty where nothing was."""
    asked = recipe.influences and recipe.training.launch is None
    content = artifacts.read_json(file) if asked else {"arms": {}}
    return {
        target: ForecastChange(value=each["change"], low=each["low"], high=each["high"], level=content["level"])
        for target, each in content["arms"].get(name, {"changes": {}})["changes"].items()
    }


def _scores_by_type(scores: Path) -> dict[str, Interval] | None:
    """Mean length-normalised CHES score of the pairs of each type, with its 95 % interval over pairs."""
    rows = pq.read_table(scores).to_pylist()
    if not all("chosen_verdict" in row for row in rows):
        return None
    by_type: dict[str, list[float]] = {name: [] for name in PAIR_TYPES}
    for row in rows:
        kind = pair_type(row["chosen_verdict"], row["rejected_verdict"])
        if kind is not None and row["ln_ches"] is not None:
            by_type[kind].append(row["ln_ches"])
    return {name: _mean_interval(values) for name, values in by_type.items()}


def _mean_interval(values: Sequence[float]) -> Interval:
    if not values:
        return NOTHING_MEASURED
    mean = mean_change([0.0] * len(values), values)
    return Interval(value=mean.value, low=finite_or_null(mean.low), high=finite_or_null(mean.high), n=mean.n)


def outcomes_by_prompt(
    by_seed: Sequence[Sequence[Answer]], metric: str, split: str, variant: str | None = None
) -> dict[str, list[float]]:
    """A metric's outcome of each prompt of a split under each seed, NaN where not judged; by prompt_id.

    Of the prompts as they are, or of a variant of them (`harness.prompts.variants.variant_name`).
    """
    kind = "benign" if metric.startswith("benign") else "unsafe"
    table: dict[str, list[float]] = {}
    for place, answers in enumerate(by_seed):
        for answer in answers:
            asked = answer.task.endswith(kind) and answer.doc["split"] == split
            if asked and variant_name(answer.doc) == variant:
                row = table.setdefault(answer.prompt_id, [math.nan] * len(by_seed))
                row[place] = mean_outcome([answer], metric)
    return table


def _outcome_matrix(table: Mapping[str, Sequence[float]]) -> NDArray[np.float64]:
    return np.array([*table.values()], dtype=float).reshape(len(table), len(next(iter(table.values()), ())))


def _rate_change(
    before: Sequence[Sequence[Answer]], after: Sequence[Sequence[Answer]], metric: Metric, split: str
) -> Interval:
    """Rate after minus rate before, paired by prompt, with its 95 % interval."""
    tables = [outcomes_by_prompt(side, metric, split) for side in (before, after)]
    was, now = ([judged_mean(np.array(table[name])) for name in tables[0]] for table in tables)
    return _paired_change(was, now)


def _paired_change(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Mean after minus mean before, paired, with its 95 % interval, where both were judged."""
    sides = np.array(before), np.array(after)
    both = ~np.isnan(sides[0] + sides[1])
    if not both.any():
        return NOTHING_MEASURED
    table = paired_counts(sides[0][both], sides[1][both])
    loss = loss_interval(table)
    value, low, high = (0.0 - float(x) for x in (table.loss, loss.high, loss.low))  # 0.0 - 0.0 is no negative zero
    return Interval(value=value, low=low, high=high, n=int(both.sum()))


def _seed_estimate(found: Estimate) -> SeedEstimate:
    """An estimate as results.json has it; what is not a number is null."""
    return SeedEstimate(
        value=finite_or_null(found.value),
        low=finite_or_null(found.low),
        high=finite_or_null(found.high),
        n=found.n,
        per_seed=[finite_or_null(each) for each in found.per_seed],
    )


# Tasks of the user's own

TaskResults = dict[str, dict[str, TaskMetric]]
_Documents = Mapping[str, Sequence[float]]
"""By document: its value of a metric under each seed."""


def measure_tasks(recipe: Recipe, files: RunFiles) -> dict[str, TaskResults]:
    """By arm, what was measured of each task.

    What is no rate between 0 and 1 is left out, and that is said. Raises HarnessError where a part of the run is
    missing or was edited.
    """
    read = {
        arm: [read_evaluations(files.arm(arm, seed).evaluation) for seed in recipe.seeds]
        for arm in ("baseline", *recipe.arms)
    }
    found: dict[str, TaskResults] = {arm: {} for arm in read}
    chosen = {_scope_of(task, trusted=recipe.trust_task_code): task.metric for task in recipe.tasks}
    for evaluation in read["baseline"][0]:
        for task in evaluation.settings:
            if not task.startswith(OUR_TASKS):
                for arm, measured in _measure_task(evaluation, task, read, chosen).items():
                    found[arm][task] = measured
    return found


def _scope_of(task: OwnTask, *, trusted: bool) -> str:
    """What lm-eval calls a task of the recipe."""
    return read_task_file(task, trusted=trusted).name if task.is_file else task.name


def _measure_task(
    first: Evaluation,
    task: str,
    read: Mapping[str, Sequence[Sequence[Evaluation]]],
    chosen: Mapping[str, str | None],
) -> dict[str, dict[str, TaskMetric]]:
    """Its metrics by arm."""
    scopes = first.scopes[task]
    wanted = next((chosen[scope] for scope in scopes if scope in chosen), None)
    found: dict[str, dict[str, TaskMetric]] = {arm: {} for arm in read}
    for name in first.metrics[task]:
        tables = {arm: _values_by_document(by_seed, task, name) for arm, by_seed in read.items()}
        if not all(_is_rate(table) for table in tables.values()):
            console.print_note(f"{name} of {task} is no rate between 0 and 1: lm-eval's own results file has it")
            continue
        better = first.directions.get(f"{task}/{name}")
        is_first = name == next(each for each in first.metrics[task] if _metric(each) == _metric(name))
        is_guarded = better is not None and (name == wanted or (is_first and wanted in {None, _metric(name)}))
        guarded = f"{scopes[-1]}/{name}" if is_guarded else None
        for arm, table in tables.items():
            before = None if arm == "baseline" else tables["baseline"]
            found[arm][name] = _task_metric(table, before, better, guarded)
    if wanted and not any(each.guarded for each in found["baseline"].values()):
        known = ", ".join(found["baseline"]) or "none"
        raise HarnessError(f"no metric {wanted!r} of {task} can be guarded", place="tasks", hint=f"There are: {known}.")
    return found


def _metric(name: str) -> str:
    """A metric's name without the filter."""
    return name.partition(",")[0]


def _values_by_document(by_seed: Sequence[Sequence[Evaluation]], task: str, name: str) -> dict[str, list[float]]:
    """NaN where a document has none under a seed; the mean where a task holds a document twice."""
    found: dict[str, list[list[float]]] = {}
    for place, evaluations in enumerate(by_seed):
        for evaluation in evaluations:
            for answer in evaluation.answers:
                if answer.task == task:
                    row = found.setdefault(answer.document, [[] for _ in by_seed])
                    row[place].append(answer.outcomes[name])
    return {document: [fmean(some) if some else math.nan for some in row] for document, row in found.items()}


def _is_rate(table: _Documents) -> bool:
    return bool(table) and all(0 <= value <= 1 for row in table.values() for value in row)


def _task_metric(table: _Documents, before: _Documents | None, better: bool | None, guarded: str | None) -> TaskMetric:
    rate = _seed_estimate(rate_over_seeds(_outcome_matrix(table)))
    found = TaskMetric(**rate.to_json(), higher_is_better=better, guarded=guarded)
    if before is None:
        return found
    shared = [document for document in before if document in table]
    means = ([judged_mean(np.array(side[document])) for document in shared] for side in (before, table))
    return found.model_copy(update={"change": _paired_change(*means)})
