"""How often the gate is wrong: coverage, false passes and power over simulated pairs of runs.

    python benchmarks/gate_simulation.py [RUNS]

Prints the tables of docs/gate.md. Answers come from another model than the one `harness power` assumes: a
probit with a normal effect of the prompt, the same before and after. The second table holds what makes intervals
too narrow: few prompts with many answers, harm in few prompts, families, a judge that errs otherwise afterwards,
labels too few to meet its mistakes. The third has answers that the judge flags.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
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
    corrected = stats.compare_corrected(before, after, (calibrations[0], calibrations[1]), level)
    naive = stats.compare_rates(before, after, level)
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
    return stats.compare_rates(before / plan.samples, after / plan.samples, 1 - 2 * plan.alpha)


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


# What makes intervals too narrow


def by_design_effect(before: np.ndarray, after: np.ndarray, answers: float) -> stats.Interval:
    """Tango's interval on as many prompts as would vary like these, for comparison: the gate does not use it."""
    lost, gained = (before * (1 - after)).mean(-1), ((1 - before) * after).mean(-1)
    single, spread = lost + gained - (lost - gained) ** 2, (before - after).var(-1, ddof=1)
    effect = np.clip(np.where(single > 1e-12, spread / np.maximum(single, 1e-12), 1.0), 1 / answers, 1.0)
    n = before.shape[-1] / effect
    return stats.loss_interval(stats.PairedCounts(lost * n, gained * n, n))


def concentrated(plan: PowerPlan, runs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shares of good answers where the loss is that of few prompts, which lose every answer."""
    shape = (runs, plan.prompts)
    lost = rng.random(shape) < plan.margin / plan.rate
    before, after = (rng.binomial(plan.samples, plan.rate, shape) / plan.samples for _ in range(2))
    return before, np.where(lost, 0.0, after)


def family_sizes(prompts: int, families: int, rng: np.random.Generator, equal: bool) -> np.ndarray:
    """Prompts in each family: all alike, or of very different sizes (geometric)."""
    if equal:
        return np.full(families, prompts // families)
    return 1 + rng.multinomial(prompts - families, rng.dirichlet(np.ones(families)))


def paraphrased(
    sizes: np.ndarray, rate: float, likeness: float, loss: float, runs: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One answer to each prompt before and after; a prompt does as its family with chance `likeness`, else alone."""
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    together = rng.random((runs, len(numbers))) < likeness
    family, alone = (rng.random((runs, count)) for count in (len(sizes), len(numbers)))
    before, after = (np.where(together, family[:, numbers] < chance, alone < chance).astype(float)
                     for chance in (rate, rate - loss))  # fmt: skip
    return before, after


def family_false_passes(sizes: np.ndarray, likeness: float, runs: int, rng: np.random.Generator) -> tuple[float, float]:
    """False passes with every prompt counted as its own, and with families as units."""
    before, after = paraphrased(sizes, 0.9, likeness, MARGIN, runs, rng)
    starts = np.cumsum(sizes) - sizes
    grouped = (np.add.reduceat(side, starts, axis=1) / sizes for side in (before, after))
    return (_passes(stats.compare_rates(before, after)), _passes(stats.compare_rates(*grouped, weights=sizes)))


def judge_false_passes(
    prompts: int, rate: float, difference: float, runs: int, rng: np.random.Generator
) -> tuple[float, float]:
    """One calibration (500 answers of each kind) of the judge before, which sees less of the harm afterwards.

    False passes with the judge taken to be alike on both sides, and with the difference stated.
    """
    plan = PowerPlan(prompts, 1, MARGIN, rate, 0.5)
    truth = good(plan, plan.margin, runs, rng)
    judges = ((0.93, 0.93), (0.93 + difference, 0.93 - difference))
    before, after = (_seen(side, 1, *judge, rng) for side, judge in zip(truth, judges, strict=True))
    tp, tn = rng.binomial(500, 0.93, (2, runs))
    counts = (tp, 500 - tp, 500 - tn, tn)
    judge = stats.Calibration(*counts)
    pairs = [
        (judge, judge),
        (stats.Calibration(*counts, -difference, difference), judge),
        (judge, stats.Calibration(*counts, difference, -difference)),
    ]
    highs = [stats.compare_corrected(before, after, pair, shared=True).high for pair in pairs]
    return float(np.mean(highs[0] < MARGIN)), float(np.mean(np.max(highs, axis=0) < MARGIN))


def label_false_passes(labelled: int, runs: int, rng: np.random.Generator) -> tuple[float, float]:
    """A judge that sees none of a loss at the margin, on 450 prompts with 90 % of good answers before.

    False passes with the influence's variance alone, and with what so few labels can miss, in a fourth of the runs.
    """
    narrow, whole, runs = 0, 0, runs // 4
    for _ in range(runs):
        seen = (rng.random(450) < 0.9).astype(float)
        missed = (seen > 0) * (rng.random(450) < MARGIN / 0.9).astype(float)
        chosen = np.isin(np.arange(450), rng.choice(450, labelled, replace=False)).astype(float)
        labels = stats.LabelErrors(np.zeros(450), chosen), stats.LabelErrors(-missed * chosen, chosen)
        found = stats.compare_labelled(seen, seen, labels)
        influence = (missed - missed[chosen > 0].mean()) * chosen * 450 / labelled
        half = max(influence.std(ddof=1) / 450**0.5, float(stats.compare_rates(seen, seen).spread) ** 0.5)
        narrow += found.loss + ndtri(0.975) * half < MARGIN
        whole += found.high < MARGIN
    return narrow / runs, whole / runs


def _passes(comparison: stats.RateComparison | stats.Interval) -> float:
    return float(np.mean(np.asarray(comparison.high) < MARGIN))


def answers_false_passes(
    plan: PowerPlan, draw: Callable[..., tuple[np.ndarray, np.ndarray]], runs: int, rng: np.random.Generator
) -> tuple[float, float]:
    """False passes with Kish's design effect, and with prompts as units, of what `draw` draws (shares)."""
    sides = draw(plan, runs, rng)
    return _passes(by_design_effect(*sides, plan.samples)), _passes(stats.compare_rates(*sides))


def spread_out(plan: PowerPlan, runs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Shares of good answers where every prompt may lose a little."""
    before, after = good(plan, plan.margin, runs, rng)
    return before / plan.samples, after / plan.samples


def hard_cases() -> Iterator[tuple[str, Callable[[int, np.random.Generator], tuple[float, float]]]]:
    """Each case by name, and what simulates its false passes: under the plainer method, and under the gate's."""
    for prompts, rate, correlation in ((60, 0.75, 0.5), (60, 0.75, 0.9), (60, 0.95, 0.5), (200, 0.95, 0.5)):
        name = f"{prompts} prompts, 16 answers each, rate {rate}, correlation {correlation}; design effect"
        yield name, partial(answers_false_passes, PowerPlan(prompts, 16, MARGIN, rate, correlation), spread_out)
    for prompts, answers in ((60, 16), (200, 16), (200, 4)):
        name = f"{prompts} prompts, {answers} answers each, one in twenty loses all; design effect"
        yield name, partial(answers_false_passes, PowerPlan(prompts, answers, MARGIN, 0.95), concentrated)
    for prompts, families, likeness, equal in ((450, 45, 1.0, True), (1500, 150, 1.0, True), (1500, 150, 0.7, True),
                                               (450, 90, 0.7, False), (1500, 150, 0.7, False)):  # fmt: skip
        sizes = family_sizes(prompts, families, np.random.default_rng(0), equal)
        kind = "of one size" if equal else "of all sizes"
        name = f"{prompts} prompts in {families} families {kind}, likeness {likeness}; prompts as units"
        yield name, partial(family_false_passes, sizes, likeness)
    for prompts, rate in ((450, 0.75), (2000, 0.75), (2000, 0.95)):
        name = f"{prompts} prompts, rate {rate}, one calibration, judge 5 points off after; taken to be alike"
        yield name, partial(judge_false_passes, prompts, rate, 0.05)
    for labelled in (30, 60, 150, 300):
        name = f"450 prompts, {labelled} labelled, the judge sees none of the loss; normal interval"
        yield name, partial(label_false_passes, labelled)


# What flagged answers change


@dataclass(frozen=True)
class FlaggedRow:
    """Shares of runs, as judged alone and by the gate: passes at the margin; passes and failures where unchanged."""

    false_pass: tuple[float, float]
    power: tuple[float, float]
    false_fail: tuple[float, float]


Harm = tuple[np.ndarray, np.ndarray]
"""Which answers are harmful, runs by prompts: as judged, and without those flagged as being about something else."""


def flag_harmful(harmful: np.ndarray, share: float, rng: np.random.Generator) -> Harm:
    """Flags that are wrong: a share of the harmful answers."""
    return harmful, harmful & (rng.random(harmful.shape) >= share)


def add_off_topic(harmful: np.ndarray, share: float, rng: np.random.Generator) -> Harm:
    """Flags that are right: a share of the other answers is about something else, and judged harmful."""
    return harmful | (rng.random(harmful.shape) < share), harmful


def read_both_ways(
    flag: Callable[[np.ndarray, float, np.random.Generator], Harm],
    shares: tuple[float, float],
    runs: int,
    rng: np.random.Generator,
) -> FlaggedRow:
    """450 prompts, a fourth of the answers harmful before; `shares` flagged before and after."""
    plan = PowerPlan(450, 1, MARGIN, 0.75, 0.5)
    found = []
    for loss in (MARGIN, 0.0):
        first, second = good(plan, loss, runs, rng)
        before, after = flag(first == 0, shares[0], rng), flag(second == 0, shares[1], rng)
        found.append([stats.compare_rates(~harm, ~later) for harm, later in zip(before, after, strict=True)])
    (margin, unchanged), (judged, other) = found, found[1]
    passes = [[reading.high < MARGIN for reading in readings] for readings in (margin, unchanged)]
    fails = _fails(judged, judged.p_value <= ALPHA), _fails(other, _second_is_significant(judged, other))
    return FlaggedRow(
        *((float(np.mean(first)), float(np.mean(first & second))) for first, second in passes),
        (float(np.mean(fails[0])), float(np.mean(fails[0] | fails[1]))),
    )


def _fails(reading: stats.RateComparison, significant: np.ndarray) -> np.ndarray:
    return np.asarray(significant & (reading.high >= MARGIN))


def _second_is_significant(first: stats.RateComparison, second: stats.RateComparison) -> np.ndarray:
    """By Holm's procedure over both."""
    half = ALPHA / 2
    return np.asarray((second.p_value <= half) | ((first.p_value <= half) & (second.p_value <= ALPHA)))


def flagged_cases() -> Iterator[tuple[str, Callable[[int, np.random.Generator], FlaggedRow]]]:
    """Each case by name, and what simulates it."""
    for share in (0.02, 0.1, 0.3):
        name = f"{share:.0%} of the harmful answers, wrongly"
        yield name, partial(read_both_ways, flag_harmful, (share, share))
    yield "30% of the harmful answers after, wrongly", partial(read_both_ways, flag_harmful, (0.0, 0.3))
    for share in (0.02, 0.1, 0.3):
        name = f"{share:.0%} of the others, judged harmful, rightly"
        yield name, partial(read_both_ways, add_off_topic, (share, share))
    yield "10% of the others before, judged harmful, rightly", partial(read_both_ways, add_off_topic, (0.1, 0.0))


def main(runs: int) -> None:
    """Prints the tables as Markdown."""
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

    print("\n| case; the plainer method | false pass, plainer | false pass, gate |\n| --- | --- | --- |")
    for name, simulate in hard_cases():
        plainer, gate = simulate(runs, rng)
        print(f"| {name} | {100 * plainer:.1f} | {100 * gate:.1f} |", flush=True)

    print("\n| flagged as being about something else | false pass | pass if unchanged | fail if unchanged |")
    print("|" + " --- |" * 4)
    for name, simulate_flags in flagged_cases():
        row = simulate_flags(runs, np.random.default_rng(1))
        pairs = (row.false_pass, row.power, row.false_fail)
        print(f"| {name} |", " | ".join(f"{100 * alone:.1f}, {100 * both:.1f}" for alone, both in pairs), "|")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
