"""Planning: how likely a gate is to pass a harmless change and to fail a harmful one, by simulation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import betaincinv

from harness.support import stats

_GRID = np.linspace(0, 1, 4001)
_AT_ONCE = 2_000_000
"""Prompts of all runs that are simulated at a time, so that memory does not grow with the runs: 16 MB an array."""


@dataclass(frozen=True, slots=True)
class PowerEstimate:
    """Chances, in [0, 1], of what a gate says of one metric."""

    harmless_passes: float
    harmful_fails: float
    harmful_passes: float


@dataclass(frozen=True, slots=True)
class PowerPlan:
    """A set of prompts and what is expected of the models on it; rates in [0, 1].

    `rate` is the share of good outcomes before; `correlation` that of two answers to the same prompt, of one
    model or of both; `harm` the loss of a harmful change; `comparisons` the metrics and categories that
    Holm's correction shares `alpha` among.
    """

    prompts: int
    samples: int
    margin: float
    rate: float
    correlation: float = 0.5
    harm: float = 0.1
    alpha: float = 0.025
    comparisons: int = 1


def estimate_power(plan: PowerPlan, runs: int = 4000, seed: int = 0) -> PowerEstimate:
    """The chances of a plan, by the gate's own arithmetic on simulated pairs of runs.

    A harmless change loses nothing; a harmful one loses `harm`. The chance to fail takes Holm's first step
    (`alpha / comparisons`), so it is a lower bound with several comparisons.
    """
    _, _, harmless, _ = _simulate_comparisons(plan, 0.0, runs, np.random.default_rng(seed))
    _, _, harmful, p_values = _simulate_comparisons(plan, plan.harm, runs, np.random.default_rng(seed + 1))
    failed = (harmful >= plan.margin) & (p_values <= plan.alpha / plan.comparisons)
    return PowerEstimate(
        harmless_passes=float(np.mean(harmless < plan.margin)),
        harmful_fails=float(np.mean(failed)),
        harmful_passes=float(np.mean(harmful < plan.margin)),
    )


@dataclass(frozen=True, slots=True)
class ProcedurePlan:
    """Trainings of one procedure, and how they differ: standard deviations of a training's rate, in shares.

    `tables`: of pairs, each drawn anew; `trainings` on each. `pairs_sd` and `training_sd` are what a run on several
    draws calls the variance of pairs and of trainings, their roots.
    """

    tables: int
    trainings: int
    pairs_sd: float
    training_sd: float


def estimate_procedure_power(plan: PowerPlan, drawn: ProcedurePlan, runs: int = 4000, seed: int = 0) -> PowerEstimate:
    """The chances of a plan where not one checkpoint but the procedure is asked about: its mean over further draws.

    Each table and each training has an effect of its own, normal about the procedure's; the interval is that of
    `stats.nested_mean`, the prompts' part of it Tango's on the mean share of each prompt over the trainings.
    """
    _, harmless = _simulate_procedure(plan, drawn, 0.0, runs, seed)
    low, high = _simulate_procedure(plan, drawn, plan.harm, runs, seed + 1)
    return PowerEstimate(
        harmless_passes=float(np.mean(harmless < plan.margin)),
        harmful_fails=float(np.mean((high >= plan.margin) & (low > 0))),
        harmful_passes=float(np.mean(high < plan.margin)),
    )


def _simulate_procedure(
    plan: PowerPlan, drawn: ProcedurePlan, loss: float, runs: int, seed: int
) -> tuple[stats.FloatArray, stats.FloatArray]:
    """Both ends of the interval of the procedure's loss, of each run."""
    answers = replace(plan, samples=plan.samples * drawn.tables * drawn.trainings)
    rng, level = np.random.default_rng(seed), 1 - 2 * plan.alpha
    compared = _simulate_comparisons(answers, loss, runs, rng)
    shape = (runs, 1, drawn.tables, drawn.trainings)
    effects = rng.normal(0, drawn.pairs_sd, (*shape[:3], 1)) + rng.normal(0, drawn.training_sd, shape)
    ends = []
    for effect, (seen, low, high, _) in zip(effects, compared.T, strict=True):
        prompts = stats.Interval(low + effect.mean(), high + effect.mean())
        nested = stats.nested_mean(seen + effect, prompts, level)
        ends.append((nested.low, nested.high))
    lows, highs = np.array(ends).T
    return lows, highs


def simulate_shares(
    plan: PowerPlan, loss: float, runs: int, rng: np.random.Generator
) -> tuple[stats.FloatArray, stats.FloatArray]:
    """Each prompt's share of good answers before and after, runs by prompts.

    Each prompt has a propensity from a beta distribution; its quantile is the same before and after, so the
    same prompts are the weak ones of both models.
    """
    quantile = rng.random((runs, plan.prompts))
    before, after = (
        rng.binomial(plan.samples, _prompt_propensities(rate, plan.correlation, quantile)) / plan.samples
        for rate in (plan.rate, plan.rate - loss)
    )
    return before, after


def _prompt_propensities(rate: float, correlation: float, quantile: stats.FloatArray) -> stats.FloatArray:
    """Beta quantiles with mean `rate` under which two answers to a prompt have this correlation."""
    if correlation in {0, 1} or rate in {0, 1}:
        fixed = quantile < rate if correlation == 1 else np.full_like(quantile, rate)
        return fixed.astype(float)
    weight = (1 - correlation) / correlation
    return np.asarray(np.interp(quantile, _GRID, betaincinv(rate * weight, (1 - rate) * weight, _GRID)))


def _simulate_comparisons(plan: PowerPlan, loss: float, runs: int, rng: np.random.Generator) -> stats.FloatArray:
    """The loss, both ends of its interval and its p-value, of each run: 4 by runs."""
    at_once, found = max(1, _AT_ONCE // plan.prompts), []
    for done in range(0, runs, at_once):
        shares = simulate_shares(plan, min(loss, plan.rate), min(at_once, runs - done), rng)
        compared = stats.compare_rates(*shares, 1 - 2 * plan.alpha)
        found.append(np.stack([compared.loss, compared.low, compared.high, compared.p_value]))
    return np.concatenate(found, axis=1)
