"""results.json of a run on several draws: every draw's answers together, with intervals that hold the draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from harness.recipes.schema import Arm, Recipe
from harness.run.results import outcomes_by_prompt, read_arm_answers
from harness.support import artifacts, stats
from harness.support.artifacts import finite_or_null
from harness.support.layout import RunFiles
from harness.support.redaction import redact_json
from harness.support.run_results import (
    NOTHING_MEASURED,
    DrawnArm,
    DrawnLevel,
    DrawnMetric,
    DrawnPairs,
    DrawnRates,
    DrawResults,
    DrawsBySplit,
    DrawsEstimate,
    DrawsRecipe,
    Interval,
    RunResults,
    Split,
    VarianceParts,
    parse_run_results,
)

LEVELS: tuple[DrawnLevel, ...] = get_args(DrawnLevel)
FloatArray = NDArray[np.float64]
_RATE, _CHANGE, _UNBOUNDED = (0.0, 1.0), (-1.0, 1.0), (-np.inf, np.inf)


@dataclass(frozen=True, slots=True)
class _DrawnRun:
    """One draw's finished run."""

    name: str
    recipe: Recipe
    files: RunFiles
    results: RunResults


@dataclass(frozen=True, slots=True)
class _Design:
    """How many starting models, tables of each, and trainings on each table."""

    models: int
    tables: int
    trainings: int


def compute_draw_results(recipe: Recipe, draws: Sequence[tuple[str, Recipe, Path]]) -> DrawResults:
    """The content of results.json over all draws, from their finished runs and nothing else.

    Args:
        recipe: of all of them.
        draws: the name, the recipe and the directory of each, the tables of the first model first.

    Raises HarnessError where a part of a run is missing or was edited.
    """
    runs = [_read_run(*draw) for draw in draws]
    tables = len(recipe.pair_seeds or (0,))
    design = _Design(len(runs) // tables, tables, len(recipe.seeds))
    outcomes = {name: _arm_outcomes(runs, name, recipe.seeds) for name in ("baseline", *recipe.arms)}
    recorded = redact_json(recipe.model_dump(mode="json", exclude={"published"}))
    results = {
        "schema_version": 1,
        "experiment": "draws",
        "recipe": DrawsRecipe.model_validate(recorded),
        "draws": [_describe_draw(run) for run in runs],
        "arms": {name: _drawn_arm(recipe, runs, name, outcomes, design) for name in outcomes},
    }
    published = {"published": recipe.published.model_dump(mode="json")} if recipe.published else {}
    return DrawResults.model_validate(results | published)


def _read_run(name: str, recipe: Recipe, root: Path) -> _DrawnRun:
    files = RunFiles(root)
    return _DrawnRun(name, recipe, files, parse_run_results(artifacts.read_json(files.results), str(files.results)))


def _describe_draw(run: _DrawnRun) -> DrawnPairs:
    return DrawnPairs(
        name=run.name,
        model=run.recipe.model,
        organism_seed=run.recipe.organism_seed,
        pair_seed=run.recipe.pairs.seed,
        pair_types=run.results.pair_types,
        ln_ches_by_pair_type=run.results.ln_ches_by_pair_type,
    )


def _drawn_arm(
    recipe: Recipe, runs: Sequence[_DrawnRun], name: str, outcomes: Mapping[str, _Outcomes], design: _Design
) -> DrawnArm:
    arms = [run.results.arms[name] for run in runs]
    found: dict[str, Any] = {
        "pairs": [arm.pairs for arm in arms],
        "steps": [arm.steps for arm in arms],
        "metrics": _rates(outcomes[name], design),
    }
    if name == "baseline":
        return DrawnArm(**found)
    control = control_of(recipe.arms, name)
    raw = "raw" if "raw" in recipe.arms and name != "raw" else None
    for key, side in {"baseline": "baseline", "raw": raw, "control": control}.items():
        if side is not None:
            found[f"change_from_{key}"] = _changes(outcomes[side], outcomes[name], design)
    if control is not None:
        found["control"] = control
    changes = [change.per_seed for arm in arms if (change := arm.trained_logprob_change)]
    found["trained_logprob_change"] = _over_draws(changes, design, _UNBOUNDED)
    found["started_refusing"] = _over_draws([_starts(run, name, recipe.seeds) for run in runs], design, _RATE)
    if forecasts := [arm.forecast["refusal"] for arm in arms if arm.forecast and "refusal" in arm.forecast]:
        found["forecasts"] = forecasts
    return DrawnArm(**found)


def control_of(arms: Mapping[str, Arm], name: str) -> str | None:
    """The arm that keeps as large a share of the pairs at random and is otherwise the same, if there is one."""
    arm = arms[name]
    if arm.filter.share is None or arm.filter.random is not None:
        return None
    alike = arm.model_copy(update={"filter": type(arm.filter)(random=arm.filter.share)})
    return next((other for other, each in arms.items() if each == alike), None)


def _starts(run: _DrawnRun, name: str, seeds: Sequence[int]) -> list[float]:
    """How often answers start as refusals after each training, read from the model without drawing any."""
    changes = (artifacts.read_json(run.files.arm(name, seed).displacement) for seed in seeds)
    return [change["starts"]["refusal"]["after"] for change in changes]


# Rates and changes

_Outcomes = Mapping[tuple[DrawnMetric, Split], Mapping[str, Sequence[float]]]
"""By metric and split: each prompt's outcomes, a number for every training of every draw, NaN where not judged."""


def _arm_outcomes(runs: Sequence[_DrawnRun], name: str, seeds: Sequence[int]) -> _Outcomes:
    answers = [read_arm_answers(run.files.arm(name, seed).evaluation) for run in runs for seed in seeds]
    return {
        (metric, split): outcomes_by_prompt(answers, metric, split)
        for metric in get_args(DrawnMetric)
        for split in get_args(Split)
    }


def _rates(outcomes: _Outcomes, design: _Design) -> DrawnRates:
    def rate(metric: DrawnMetric, split: Split) -> DrawsEstimate:
        table = np.array([*outcomes[metric, split].values()])
        if not len(table):
            return _NOTHING_DRAWN
        over_prompts = stats.rate_over_seeds(table)
        limits = stats.Interval(over_prompts.low, over_prompts.high)
        return _estimate(_per_training(table), design, limits, over_prompts.n, _RATE, keep=True)

    return _by_metric(rate)


def _changes(before: _Outcomes, after: _Outcomes, design: _Design) -> DrawnRates:
    """After minus before, paired by prompt and by training."""

    def change(metric: DrawnMetric, split: Split) -> DrawsEstimate:
        known = before[metric, split], after[metric, split]
        was, now = (np.array([side[prompt] for prompt in known[0]]) for side in known)
        means = [np.array([stats.judged_mean(row) for row in side]) for side in (was, now)]
        both = ~np.isnan(sum(means))
        if not both.any():
            return _NOTHING_DRAWN
        loss = stats.loss_interval(stats.paired_counts(means[0][both], means[1][both]))
        limits = stats.Interval(0.0 - float(loss.high), 0.0 - float(loss.low))
        return _estimate(_per_training(now) - _per_training(was), design, limits, int(both.sum()), _CHANGE)

    return _by_metric(change)


def _by_metric(measure: Callable[[DrawnMetric, Split], DrawsEstimate]) -> DrawnRates:
    return DrawnRates(
        **{
            metric: DrawsBySplit(train=measure(metric, "train"), test=measure(metric, "test"))
            for metric in get_args(DrawnMetric)
        }
    )


def _per_training(table: FloatArray) -> FloatArray:
    """Each training's mean over the prompts that were judged."""
    return np.array([stats.judged_mean(column) for column in table.T])


def _over_draws(values: Sequence[Sequence[float]], design: _Design, bounds: tuple[float, float]) -> DrawsEstimate:
    """A mean that rests on no sample of prompts of its own."""
    mean = float(np.mean(values))
    return _estimate(np.ravel(values), design, stats.Interval(mean, mean), len(values), bounds, keep=True)


_NOTHING_DRAWN = DrawsEstimate(
    **NOTHING_MEASURED.to_json(),
    over=None,
    same_models=None,
    prompts=NOTHING_MEASURED,
    variance=VarianceParts(models=None, pairs=None, trainings=None),
)


def _estimate(
    values: FloatArray,
    design: _Design,
    over_prompts: stats.Interval,
    n: int,
    bounds: tuple[float, float],
    *,
    keep: bool = False,
) -> DrawsEstimate:
    """The mean of each training's value with its intervals, none of whose limits lies outside the bounds.

    `keep`: also each training's value.
    """
    nested = values.reshape(design.models, design.tables, design.trainings)
    found = stats.nested_mean(nested, over_prompts)

    def interval(limits: stats.Interval | stats.NestedMean) -> Interval:
        # A limit without end says that nothing was drawn twice, so it stays unknown rather than become a bound.
        ends = (np.clip(end, *bounds) if np.isfinite(end) else end for end in (limits.low, limits.high))
        low, high = (finite_or_null(float(end)) for end in ends)
        return Interval(value=finite_or_null(found.value), low=low, high=high, n=n)

    estimate = DrawsEstimate(
        **interval(found).to_json(),
        over=None if found.level is None else LEVELS[found.level],
        same_models=interval(found.same_models) if found.same_models else None,
        prompts=interval(over_prompts),
        variance=VarianceParts(**dict(zip(LEVELS, found.variances, strict=True))),
    )
    if not keep:
        return estimate
    by_draw = values.reshape(-1, design.trainings).tolist()
    return estimate.model_copy(update={"per_draw": [[finite_or_null(each) for each in draw] for draw in by_draw]})
