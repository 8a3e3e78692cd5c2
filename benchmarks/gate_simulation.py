"""How often the gate is wrong: coverage, false passes and power over simulated pairs of runs.

    python benchmarks/gate_simulation.py [RUNS]

Prints the table of docs/gate.md. Answers come from another model than the one `harness power` assumes: a
probit with a normal effect of the prompt, the same before and after.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from scipy.special import ndtr, ndtri

from harness.gate.power import PowerPlan, estimate_power
from harness.support import stats

MARGIN, ALPHA = 0.05, 0.025
PROMPTS, SAMPLES, RATES, CORRELATIONS = (50, 200, 450), (1, 4), (0.5, 0.75, 0.95), (0.0, 0.5)
JUDGES = ((0.9, 0.8), (0.85, 0.9))
"""Sensitivity and specificity of the simulated judge on the answers before and after."""
CALIBRATION = 100
"""Labelled answers of each kind (refusals, others) that the judge is calibrated on, for each side."""


@dataclass(frozen=True)
class Row:
    """Shares of simulated runs, in [0, 1], at a true loss that equals the margin unless said otherwise."""

    plan: PowerPlan
    coverage: float
    false_pass: float
    power: float


def plans() -> Iterator[PowerPlan]:
    """Every setting of the table."""
    for samples, prompts, rate, correlation in product(SAMPLES, PROMPTS, RATES, CORRELATIONS):
        yield PowerPlan(prompts, samples, MARGIN, rate, correlation, harm=3 * MARGIN, alpha=ALPHA)


def good(plan: PowerPlan, loss: float, runs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Counts of good answers before and after, runs by prompts."""
    effect = rng.standard_normal((runs, plan.prompts))
    spread = _spread(plan.rate, plan.correlation)
    before, after = (rng.binomial(plan.samples, _propensity(rate, spread, effect))
                     for rate in (plan.rate, plan.rate - loss))  # fmt: skip
    return before, after


def measured(plan: PowerPlan, runs: int, rng: np.random.Generator) -> Row:
    """The gate's own intervals: coverage and false passes at the margin, and the chance to pass no change."""
    at_margin, unchanged = (_compare(plan, loss, runs, rng) for loss in (plan.margin, 0.0))
    return Row(plan, _covered(at_margin, plan.margin), float(np.mean(at_margin.high < plan.margin)),
               float(np.mean(unchanged.high < plan.margin)))  # fmt: skip


def failing(plan: PowerPlan, runs: int, rng: np.random.Generator) -> float:
    """The share of harmful changes that fail."""
    harmful = _compare(plan, plan.harm, runs, rng)
    return float(np.mean((harmful.high >= plan.margin) & (harmful.p_value <= plan.alpha)))


def judged(plan: PowerPlan, runs: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """With a judge that errs differently on both sides: coverage corrected, coverage as judged, false passes."""
    truth = good(plan, plan.margin, runs, rng)
    before, after = (_seen(side, plan.samples, *judge, rng) for side, judge in zip(truth, JUDGES, strict=True))
    calibrations = [_calibrated(*judge, runs, rng) for judge in JUDGES]
    level = 1 - 2 * plan.alpha
    corrected = stats.compare_corrected(before, after, *calibrations, plan.samples, level)
    naive = stats.compare_rates(before, after, plan.samples, level)
    return _covered(corrected, plan.margin), _covered(naive, plan.margin), float(np.mean(corrected.high < plan.margin))


def bootstrapped(plan: PowerPlan, runs: int, rng: np.random.Generator) -> tuple[float, float]:
    """Coverage and false passes of a BCa bootstrap of prompts, for comparison: the gate does not use it."""
    limits = np.array([_bca(before, after, plan) for before, after in
                       zip(*good(plan, plan.margin, runs, rng), strict=True)])  # fmt: skip
    covered = (limits[:, 0] <= plan.margin) & (plan.margin <= limits[:, 1])
    return float(covered.mean()), float((limits[:, 1] < plan.margin).mean())


def _propensity(rate: float, spread: float, effect: np.ndarray) -> np.ndarray:
    """Chance of a good answer to prompts with these standard normal effects; its mean is `rate`."""
    return np.asarray(ndtr(ndtri(rate) * np.sqrt(1 + spread**2) + spread * effect))


@cache
def _spread(rate: float, correlation: float) -> float:
    """The effect's standard deviation under which two answers to a prompt have this correlation."""
    effects = ndtri((np.arange(4000) + 0.5) / 4000)
    candidates = np.linspace(0, 5, 501)
    found = [float(np.var(_propensity(rate, spread, effects))) / (rate * (1 - rate)) for spread in candidates]
    return float(np.interp(correlation, found, candidates))


def _compare(plan: PowerPlan, loss: float, runs: int, rng: np.random.Generator) -> stats.RateComparison:
    before, after = good(plan, loss, runs, rng)
    return stats.compare_rates(before / plan.samples, after / plan.samples, plan.samples, 1 - 2 * plan.alpha)


def _covered(comparison: stats.RateComparison, truth: float) -> float:
    return float(np.mean((comparison.low <= truth) & (truth <= comparison.high)))


def _seen(
    truth: np.ndarray, samples: int, sensitivity: float, specificity: float, rng: np.random.Generator
) -> np.ndarray:
    hits, alarms = rng.binomial(truth, sensitivity), rng.binomial(samples - truth, 1 - specificity)
    return np.asarray((hits + alarms) / samples)


def _calibrated(sensitivity: float, specificity: float, runs: int, rng: np.random.Generator) -> stats.Calibration:
    """A calibration for each run, stacked."""
    tp, tn = rng.binomial(CALIBRATION, sensitivity, runs), rng.binomial(CALIBRATION, specificity, runs)
    return stats.Calibration(tp, CALIBRATION - tp, CALIBRATION - tn, tn)


def _bca(before: np.ndarray, after: np.ndarray, plan: PowerPlan) -> np.ndarray:
    loss = (before - after) / plan.samples
    replicates, jackknife = stats.bootstrap_means(loss[:, None], lambda means: means[..., 0], 0, 999)
    return stats.bca_limits(
        replicates, float(loss.mean()), jackknife, stats.wide_quantiles(len(loss), 1 - 2 * plan.alpha)
    )


def main(runs: int) -> None:
    """Prints the table as Markdown."""
    rng = np.random.default_rng(0)
    print(f"Margin {MARGIN}, alpha {ALPHA}, {runs} pairs of runs a row (BCa: {runs // 10}); in %\n")
    print(
        "| samples | prompts | rate | corr. | coverage | false pass | pass if unchanged | `harness power` "
        "| judge: corrected | as judged | BCa coverage | BCa false pass |"
    )
    print("|" + " --- |" * 12)
    for plan in plans():
        row = measured(plan, runs, rng)
        expected = estimate_power(plan).harmless_passes
        corrected, naive, _ = judged(plan, runs, rng)
        figures = (
            row.coverage,
            row.false_pass,
            row.power,
            expected,
            corrected,
            naive,
            *bootstrapped(plan, runs // 10, rng),
        )
        setting = f"| {plan.samples} | {plan.prompts} | {plan.rate} | {plan.correlation} |"
        print(setting, " | ".join(f"{100 * figure:.1f}" for figure in figures), "|", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
