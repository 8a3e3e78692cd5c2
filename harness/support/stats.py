"""Rates, changes and paired comparisons with their intervals; pure, seeded, the prompt as the unit.

Everything that compares two sides works on `PairedCounts`: how much was lost, how much gained, out of how many
units (prompts, or families of prompts). With one answer a unit these are the counts of McNemar's table and every
method here is the published one. With several answers (samples, seeds, paraphrases) a unit counts for as much of a
lost or gained prompt as gives the same mean and the same sum of squares: however many answers it has, it is one
unit, and what no unit shows may still be true of one that was not asked. Two other ways were tried and pass harm
too often with few prompts: Kish's design effect, which takes answers for prompts as far as they differ, and a BCa
bootstrap, kept for means of unbounded values. `benchmarks/gate_simulation.py` prints all three, `docs/gate.md`
shows the table.

scipy.stats costs more than a second of start-up, which a gate in a pipeline pays each time; so the distributions
come from scipy.special, and the tests hold the results against scipy.stats and statsmodels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv, gammaln, ndtr, ndtri, stdtr, stdtrit

FloatArray = NDArray[np.float64]
_BOOTSTRAP_RESAMPLES = 4999
_BATCH_CELLS = 2_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; for stacked inputs the limits are arrays."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its interval, the number of units (prompts or pairs) it rests on, and the value of each seed.

    Without a judged answer `value` is NaN; with fewer than two pairs the limits of a mean are infinite.
    """

    value: float
    low: float
    high: float
    n: int
    per_seed: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PairedCounts:
    """Two sides of the same units: units (fractions counted) that lost the good outcome, and that gained it."""

    lost: FloatArray
    gained: FloatArray
    n: FloatArray

    @property
    def loss(self) -> FloatArray:
        """Rate before minus rate after; positive is worse."""
        return np.asarray((self.lost - self.gained) / self.n)


def wilson_interval(successes: float, n: float, level: float = 0.95) -> Interval:
    """Wilson's score interval of a rate (JASA 22, 1927); as statsmodels `proportion_confint(method="wilson")`.

    `successes` and `n` may be fractional (effective counts); without trials the interval is [0, 1].
    """
    if n <= 0:
        return Interval(0.0, 1.0)
    z, p = float(ndtri(0.5 + level / 2)), successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)))
    low = 0.0 if successes <= 0 else max(0.0, centre - half)
    return Interval(low, 1.0 if successes >= n else min(1.0, centre + half))


def clopper_pearson(successes: float, n: float, level: float = 0.95) -> Interval:
    """The exact interval of a rate (Biometrika 26, 1934), from the beta quantiles; never under `level`."""
    tail = (1 - level) / 2
    low = float(betaincinv(successes, n - successes + 1, tail)) if successes > 0 else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    return Interval(low, high)


def mcnemar_p_value(lost: ArrayLike, gained: ArrayLike) -> FloatArray:
    """One-sided p-value of McNemar's exact test that more was lost than gained.

    P(X >= lost) for X ~ Binomial(lost + gained, 1/2), written with the beta function so that effective
    counts fit too. The two-sided value is `min(1, 2 * min(mcnemar(b, c), mcnemar(c, b)))`.
    """
    lost, gained = np.asarray(lost, float), np.asarray(gained, float)
    return np.where(lost > 0, betainc(np.maximum(lost, 1e-300), gained + 1, 0.5), 1.0)


def hypergeometric_p_value(found: int, drawn: int, marked: int, total: int) -> float:
    """Two-sided p-value that `drawn` of `total` things, `marked` of them of a kind, hold `found` of that kind.

    Twice the smaller tail of the hypergeometric distribution, at most 1 (Fisher's exact test, doubled).
    """
    lowest, highest = max(0, drawn - (total - marked)), min(drawn, marked)
    x = np.arange(lowest, highest + 1)
    chance = _binomial_ln(marked, x) + _binomial_ln(total - marked, drawn - x) - _binomial_ln(total, drawn)
    weights = np.exp(chance)
    return float(min(1.0, 2 * min(weights[x <= found].sum(), weights[x >= found].sum())))


def holm_adjust(p_values: ArrayLike) -> FloatArray:
    """Holm's adjusted p-values (Scand. J. Statist. 6, 1979); as statsmodels `multipletests(method="holm")`."""
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def paired_counts(before: ArrayLike, after: ArrayLike, weights: ArrayLike | None = None) -> PairedCounts:
    """Losses and gains between two sides, from each unit's mean outcome on each; units along the last axis.

    Args:
        before: each unit's share of good outcomes, in [0, 1].
        after: the same of the other side, the units in the same order.
        weights: what each unit counts for in the mean, such as a family's number of prompts; equal by default.

    A unit whose share falls by d counts d^2 discordant prompts, lost and gained such that their difference is d:
    the table has the mean and the sum of squares of the differences, or a larger one where the mean alone takes more
    discordant prompts. With shares of 0 and 1 it is McNemar's. `n` is
    Kish's effective number of units (1965), their number where the weights are equal.
    """
    difference = np.asarray(before, float) - np.asarray(after, float)
    weight = np.ones(difference.shape[-1]) if weights is None else np.asarray(weights, float)
    n, weight = weight.sum() ** 2 / (weight**2).sum(), weight * weight.sum() / (weight**2).sum()
    net, total = difference @ weight, difference**2 @ weight**2
    lost, gained = (np.maximum(np.maximum((total + sign * net) / 2, sign * net), 0) for sign in (1, -1))
    return PairedCounts(lost, gained, np.full_like(net, n))


def loss_interval(table: PairedCounts, level: float = 0.95) -> Interval:
    """Tango's score interval of the loss (Statist. Med. 17, 1998, 891-908), two-sided at `level`.

    Unlike Wald's or the bootstrap's it keeps its level with few discordant prompts, and has a width when
    there are none.
    """
    z = float(ndtri(0.5 + level / 2))
    low = _bisect_boundary(lambda loss: _tango_score(table, loss) <= z, -np.ones_like(table.n), table.loss)
    high = -_bisect_boundary(lambda gain: _tango_score(table, -gain) >= -z, -np.ones_like(table.n), -table.loss)
    return Interval(_unwrap_scalar(low), _unwrap_scalar(high))


@dataclass(frozen=True, slots=True)
class RateComparison:
    """The loss from one side to the other, its two-sided interval and the p-value of there being none.

    `p_value` is one-sided, against a loss of zero or less. `spread` is the variance of the loss that more
    prompts would shrink, `floor` the one they would not (a judge's calibration); `bias` is how far off the loss
    may be besides, however many there are (a judge that may differ between the sides).
    """

    loss: float
    low: float
    high: float
    p_value: float
    spread: float
    floor: float = 0.0
    bias: float = 0.0

    def prompts_to_settle(self, prompts: int, margin: float, alpha: float, power: float = 0.8) -> int | None:
        """Prompts with which the loss seen here would be told from the margin, or from none.

        Whichever takes fewer, with chance `power` at one-sided level `alpha`, by the normal approximation;
        None where no number would do, because the loss is too near the margin or the judge is not known well enough.
        """
        reach = float(ndtri(1 - alpha) + ndtri(power))
        gaps = [gap for gap in (margin - self.loss - self.bias, self.loss - self.bias) if gap > 0]
        left = [(gap / reach) ** 2 - self.floor for gap in gaps]
        needed = [prompts * self.spread / room for room in left if room > 0]
        return int(np.ceil(min(needed))) if needed else None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A judge against people on one outcome: counts of hits, misses, false alarms and rightly told others.

    The shifts are how far sensitivity and specificity are assumed to lie from what the counts say.
    """

    tp: int
    fn: int
    fp: int
    tn: int
    sensitivity_shift: float = 0.0
    specificity_shift: float = 0.0

    @property
    def sensitivity(self) -> float:
        """Share of true outcomes that the judge saw; one success and one failure added (Lang & Reiczigel 2014)."""
        return _unwrap_scalar(np.clip((self.tp + 1) / (self.tp + self.fn + 2) + self.sensitivity_shift, 0, 1))

    @property
    def specificity(self) -> float:
        """Share of the others that the judge told as such; one success and one failure added."""
        return _unwrap_scalar(np.clip((self.tn + 1) / (self.tn + self.fp + 2) + self.specificity_shift, 0, 1))

    @property
    def youden(self) -> float:
        """Sensitivity + specificity - 1: how much of a difference the judge lets through."""
        return self.sensitivity + self.specificity - 1

    @property
    def complement(self) -> Calibration:
        """The same judge on the opposite outcome."""
        return Calibration(self.tn, self.fp, self.fn, self.tp, self.specificity_shift, self.sensitivity_shift)

    @property
    def variances(self) -> tuple[float, float]:
        """Sampling variances of sensitivity and specificity; a shift is taken as certain."""
        measured = replace(self, sensitivity_shift=0.0, specificity_shift=0.0)
        se, sp = measured.sensitivity, measured.specificity
        return se * (1 - se) / (self.tp + self.fn + 2), sp * (1 - sp) / (self.tn + self.fp + 2)

    def correct_rate(self, rate: ArrayLike) -> FloatArray:
        """The true rate behind a judged one (Rogan & Gladen, Am. J. Epidemiol. 107, 1978); may leave [0, 1]."""
        return np.asarray((np.asarray(rate, float) + self.specificity - 1) / self.youden)


@dataclass(frozen=True, slots=True)
class LabelErrors:
    """People's labels on some answers of one side, by unit: the sum of truth minus verdict, and how many.

    Both are in units: an answer counts for its part of the unit's answers, so that `counts` is at most 1 where
    the units weigh the same.
    """

    errors: FloatArray
    counts: FloatArray

    @property
    def mean_error(self) -> float:
        """How far the judge's rate is below the truth, on the labelled answers."""
        return float(self.errors.sum() / self.counts.sum())

    @property
    def share(self) -> float:
        """How much of the side is labelled, in [0, 1]."""
        return float(self.counts.sum() / len(self.counts))


def compare_rates(
    before: ArrayLike, after: ArrayLike, level: float = 0.95, weights: ArrayLike | None = None
) -> RateComparison:
    """Two sides as judged, from each unit's share of good outcomes; arguments as `paired_counts`."""
    table = paired_counts(before, after, weights)
    limits = loss_interval(table, level)
    spread = ((limits.high - limits.low) / (2 * ndtri(0.5 + level / 2))) ** 2
    return RateComparison(
        _unwrap_scalar(table.loss),
        limits.low,
        limits.high,
        _unwrap_scalar(mcnemar_p_value(table.lost, table.gained)),
        _unwrap_scalar(spread),
    )


def compare_corrected(
    before: ArrayLike,
    after: ArrayLike,
    judges: tuple[Calibration, Calibration],
    level: float = 0.95,
    weights: ArrayLike | None = None,
    shared: bool = False,
) -> RateComparison:
    """Two sides corrected for a judge's error (Rogan & Gladen 1978), the error's own uncertainty included.

    Variances by the delta method, never narrower than the uncorrected interval scaled alike. With `shared` the two
    calibrations are one measurement, whose error cancels where the rates are alike; else they are independent.
    Needs `youden` > 0 and two units.
    """
    b, a = np.asarray(before, float), np.asarray(after, float)
    share, (first, second) = _unit_weights(weights, b.shape[-1]), judges
    rates = first.correct_rate(b @ share), second.correct_rate(a @ share)
    scaled = b / np.expand_dims(first.youden, -1) - a / np.expand_dims(second.youden, -1)
    raw, scale = compare_rates(b, a, level, weights), np.sqrt(first.youden * second.youden)
    floor = _calibration_variance(rates, judges, shared)
    spread = _mean_variance(scaled, share)
    reach = (np.asarray(raw.loss - raw.low) / scale, np.asarray(raw.high - raw.loss) / scale)
    return _compare_by_t(rates[0] - rates[1], spread, reach, floor, b.shape[-1] - 1, level)


def compare_labelled(
    before: ArrayLike,
    after: ArrayLike,
    labels: tuple[LabelErrors, LabelErrors],
    level: float = 0.95,
    weights: ArrayLike | None = None,
) -> RateComparison:
    """Two sides by prediction-powered inference (Angelopoulos et al., Science 382, 2023), by units.

    The judged loss over all answers, plus the judge's mean error on the labelled ones, which must be a random
    sample of the answers. Variance from each unit's influence on the estimate, and never narrower than the judged
    interval and those of both mean errors squared and added: where no label shows an error, errors may still be
    as frequent as so few labels can miss.
    """
    b, a = np.asarray(before, float), np.asarray(after, float)
    share = _unit_weights(weights, len(b))
    seen = (b - a) @ share
    loss = np.asarray(seen + labels[0].mean_error - labels[1].mean_error)
    influence = (b - a - seen) * share * len(b) + _label_influence(labels[0]) - _label_influence(labels[1])
    spread = influence.var(-1, ddof=1) / len(b)
    raw = compare_rates(b, a, level, weights)
    first, second = (_unseen_errors(side, level) for side in labels)
    low = np.sqrt((raw.loss - raw.low) ** 2 + first[0] ** 2 + second[1] ** 2)
    high = np.sqrt((raw.high - raw.loss) ** 2 + first[1] ** 2 + second[0] ** 2)
    labelled = int(min(np.count_nonzero(side.counts) for side in labels))
    return _compare_by_t(loss, spread, (low, high), 0.0, labelled - 1, level)


def bootstrap_means(
    columns: ArrayLike, statistic: Callable[[FloatArray], FloatArray], seed: int, resamples: int = _BOOTSTRAP_RESAMPLES
) -> tuple[FloatArray, FloatArray]:
    """Replicates and jackknife values of a function of column means, rows (prompts) drawn with replacement.

    Args:
        columns: prompts by columns.
        statistic: from means (..., columns) to values (...); must accept any leading shape.
        seed: of the draws; the same seed and shape give the same draws.
        resamples: number of replicates.

    Returns:
        The replicates, and the statistic with each row left out.
    """
    x = np.asarray(columns, float)
    n, rng = len(x), np.random.default_rng(seed)
    batch = max(1, _BATCH_CELLS // n)
    sizes = [min(batch, resamples - start) for start in range(0, resamples, batch)]
    replicates = [statistic(_resample_counts(rng, n, size) @ x / n) for size in sizes]
    return np.concatenate(replicates), np.asarray(statistic((x.sum(0) - x) / (n - 1)))


def bca_limits(replicates: ArrayLike, estimate: float, jackknife: ArrayLike, quantiles: ArrayLike) -> FloatArray:
    """Bias-corrected and accelerated bootstrap limits (Efron, JASA 82, 1987; Efron & Tibshirani 1993, ch. 14).

    Args:
        replicates: the statistic on bootstrap samples.
        estimate: the statistic on the sample.
        jackknife: the statistic with each unit left out.
        quantiles: standard normal quantiles of the limits wanted, `ndtri([0.025, 0.975])` for 95 %.
    """
    x = np.sort(np.asarray(replicates, float))
    bias, acceleration = _bias_correction(x, estimate), _bca_acceleration(jackknife)
    shifted = bias + np.asarray(quantiles, float)
    return np.asarray(np.quantile(x, ndtr(bias + shifted / (1 - acceleration * shifted))))


def wide_quantiles(n: int, level: float) -> FloatArray:
    """Normal quantiles widened for small n: a bootstrap is too narrow by sqrt((n-1)/n) and knows no t.

    Hesterberg, The American Statistician 69 (2015), 371-386, "expanded percentile interval".
    """
    t = float(stdtrit(n - 1, 0.5 + level / 2)) * (n / (n - 1)) ** 0.5
    return np.array([-t, t])


def rate_over_seeds(outcomes: ArrayLike, level: float = 0.95) -> Estimate:
    """A rate over prompts and seeds with its interval.

    Args:
        outcomes: prompts by seeds, outcomes in [0, 1]; NaN where the answer was not judged.
        level: of the interval.

    Returns:
        `value` is the mean over prompts of each prompt's judged answers, `n` the prompts with one. The
        interval speaks of further prompts put to these same models: Wilson's on the effective number of
        prompts, its low end with every unjudged answer counted 0, its high end with every one counted 1.
        How models of other seeds would differ shows in `per_seed`, not in the interval.
    """
    x = np.asarray(outcomes, float)
    x = x[:, None] if x.ndim == 1 else x
    means = [judged_mean(row) for row in x]
    judged = np.array([m for m in means if not np.isnan(m)])
    low = _effective_wilson(np.nan_to_num(x, nan=0.0), level).low
    high = _effective_wilson(np.nan_to_num(x, nan=1.0), level).high
    return Estimate(judged_mean(judged), low, high, len(judged), tuple(judged_mean(seed) for seed in x.T))


def mean_change(before: ArrayLike, after: ArrayLike, level: float = 0.95, seed: int = 0) -> Estimate:
    """The mean of `after - before` over pairs and seeds with a BCa interval over pairs.

    Args:
        before: a value for each pair (nats, say), or pairs by seeds.
        after: the same afterwards, pairs by seeds.
        level: of the interval.
        seed: of the bootstrap.

    Raises ValueError where a value is not finite.
    """
    x = np.asarray(after, float)
    x = x[:, None] if x.ndim == 1 else x
    start = np.asarray(before, float)
    change = x - (start[:, None] if start.ndim == 1 else start)
    if not np.isfinite(change).all():
        raise ValueError("a value before or after is not finite")
    limits = _mean_limits(change.mean(1), level, seed)
    return Estimate(float(change.mean()), limits.low, limits.high, len(change), tuple(map(float, change.mean(0))))


@dataclass(frozen=True, slots=True)
class NestedMean:
    """A mean over nested draws: starting models, tables of pairs of each, trainings on each table.

    `low`, `high`: for further draws of the highest level that was drawn more than once (`level`: 0 models, 1 tables,
    2 trainings; None where nothing was drawn twice). `same_models`: for further tables of these same models, None where
    only one level was drawn. `variances`: of one training's value, by level, the answers' chance in the last; None for
    a level drawn once.
    """

    value: float
    low: float
    high: float
    level: int | None
    same_models: Interval | None
    variances: tuple[float | None, float | None, float | None]


def nested_mean(draws: ArrayLike, over_prompts: Interval, level: float = 0.95) -> NestedMean:
    """The mean of a balanced nested design with an interval that includes the draws and the prompts.

    The means of the highest level's draws are independent and alike whatever the variances below, so Student's interval
    on them is exact under normality (a balanced mixed model's; Searle, Casella & McCulloch 1992, ch. 4). Prompts cross
    the draws: their interval is joined to it by square-and-add (MOVER; Zou & Donner, Statist. Med. 27, 2008), at each
    end. Draws share the prompts' chance in part, so the joined interval errs on the wide side.

    Args:
        draws: models by tables by trainings, a rate or a change; NaN where nothing was measured.
        over_prompts: the interval of the same mean for these models over further prompts, at the same `level`.
        level: of the intervals.

    Returns limits that are infinite where no level was drawn twice, and all NaN where a draw measured nothing.
    """
    x = np.asarray(draws, float)
    value = float(x.mean())
    repeated = [axis for axis in range(3) if x.shape[axis] > 1]
    if np.isnan(x).any() or not repeated:
        limit = np.nan if np.isnan(x).any() else np.inf
        return NestedMean(value, -limit, limit, repeated[0] if repeated else None, None, _nested_variances(x))
    top = repeated[0]
    joined = _join_prompts(
        value, _student_reach(x.mean(axis=tuple(range(top + 1, 3))).reshape(1, -1), level), over_prompts
    )
    same = None
    if top == 0 and len(repeated) > 1:
        below = x.mean(axis=2) if x.shape[1] > 1 else x[:, 0, :]
        same = _join_prompts(value, _student_reach(below, level), over_prompts)
    return NestedMean(value, joined.low, joined.high, top, same, _nested_variances(x))


def _student_reach(groups: FloatArray, level: float) -> float:
    """Half of Student's interval on the mean of groups (rows) of equally many independent draws each, rows fixed."""
    rows, columns = groups.shape
    spread = groups.var(axis=1, ddof=1).mean() / (rows * columns)
    return float(stdtrit(rows * (columns - 1), 0.5 + level / 2) * np.sqrt(spread))


def _join_prompts(value: float, reach: float, over_prompts: Interval) -> Interval:
    low, high = (float(np.hypot(reach, limit - value)) for limit in (over_prompts.low, over_prompts.high))
    return Interval(value - low, value + high)


def _nested_variances(x: FloatArray) -> tuple[float | None, float | None, float | None]:
    """Variance components by the method of moments, none below 0 (Searle, Casella & McCulloch 1992, section 3.6)."""
    models, tables, trainings = x.shape
    found: list[float | None] = [None, None, None]
    below = 0.0
    for axis, means, count in ((2, x, trainings), (1, x.mean(2), tables), (0, x.mean((1, 2)), models)):
        if count < 2:
            continue
        between = float(means.var(axis=axis, ddof=1).mean())
        component = max(0.0, between - below)
        found[axis] = component
        # What the next level's means still hold of the levels up to this one.
        below = (component + below) / count if axis else 0.0
    return found[0], found[1], found[2]


def _binomial_ln(n: ArrayLike, k: ArrayLike) -> FloatArray:
    n, k = np.asarray(n, float), np.asarray(k, float)
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))


def _unit_weights(weights: ArrayLike | None, units: int) -> FloatArray:
    """Weights that add up to one."""
    given = np.ones(units) if weights is None else np.asarray(weights, float)
    return np.asarray(given / given.sum())


def _mean_variance(x: FloatArray, share: FloatArray) -> FloatArray:
    """The sampling variance of a weighted mean over units, along the last axis; with equal weights s^2 / n."""
    n = 1 / (share**2).sum()
    centred = x - np.expand_dims(x @ share, -1)
    return np.asarray((centred**2 @ share**2) * n / (n - 1))


def _calibration_variance(
    rates: tuple[FloatArray, FloatArray], judges: tuple[Calibration, Calibration], shared: bool
) -> FloatArray:
    """Variance of the difference of two corrected rates that comes from the judges' calibrations."""
    hits, others = (
        [factor / judge.youden for factor, judge in zip(factors, judges, strict=True)]
        for factors in (rates, [1 - rate for rate in rates])
    )
    before, after = (judge.variances for judge in judges)
    if shared:
        return np.asarray((hits[0] - hits[1]) ** 2 * before[0] + (others[0] - others[1]) ** 2 * before[1])
    parts = (hits[0] ** 2 * before[0], others[0] ** 2 * before[1], hits[1] ** 2 * after[0], others[1] ** 2 * after[1])
    return np.asarray(sum(parts))


def _label_influence(labels: LabelErrors) -> FloatArray:
    return np.asarray((labels.errors - labels.mean_error * labels.counts) / labels.share)


def _unseen_errors(labels: LabelErrors, level: float) -> tuple[float, float]:
    """How far the judge's mean error may lie under and over that of the labelled units, by Tango's interval."""
    chosen = labels.counts > 0
    means, weights = labels.errors[chosen] / labels.counts[chosen], labels.counts[chosen]
    table = paired_counts(means, np.zeros_like(means), weights)
    limits = loss_interval(table, level)
    return float(table.loss - limits.low), float(limits.high - table.loss)


def _compare_by_t(
    loss: FloatArray,
    spread: FloatArray,
    reach: tuple[FloatArray, FloatArray],
    floor: FloatArray | float,
    freedom: int,
    level: float,
) -> RateComparison:
    """Student's interval on the variance `spread`, at least `reach` below and above the loss; `floor` adds to both."""
    z, t = float(ndtri(0.5 + level / 2)), float(stdtrit(freedom, 0.5 + level / 2))
    tiny = 1e-300  # where nothing can be lost any more
    below, above = (np.sqrt(np.maximum(spread, (side / z) ** 2) + floor + tiny) for side in map(np.asarray, reach))
    p_value = stdtr(freedom, -loss / below)
    widest = np.maximum(spread, (np.maximum(*reach) / z) ** 2)
    return RateComparison(
        *(_unwrap_scalar(np.asarray(x)) for x in (loss, loss - t * below, loss + t * above, p_value, widest, floor))
    )


def _mean_limits(x: FloatArray, level: float, seed: int) -> Interval:
    if len(x) < 2:
        return Interval(-np.inf, np.inf)
    replicates, jackknife = bootstrap_means(x[:, None], lambda means: means[..., 0], seed)
    low, high = bca_limits(replicates, float(x.mean()), jackknife, wide_quantiles(len(x), level))
    return Interval(float(low), float(high))


def _effective_wilson(outcomes: FloatArray, level: float) -> Interval:
    if not len(outcomes):
        return Interval(0.0, 1.0)
    means = outcomes.mean(1)
    rate = float(means.mean())
    spread = means.var(ddof=1) if len(means) > 1 else rate * (1 - rate)
    n = len(means) / float(_design_effect(spread, rate * (1 - rate), outcomes.shape[1]))
    return wilson_interval(rate * n, n, level)


def _design_effect(spread: ArrayLike, single: ArrayLike, answers: float) -> FloatArray:
    """Between 1/answers (answers of a prompt are independent) and 1 (they repeat each other); 1 if unknown."""
    single = np.asarray(single, float)
    ratio = np.where(single > 1e-12, np.asarray(spread, float) / np.maximum(single, 1e-12), 1.0)
    return np.clip(ratio, 1 / answers, 1.0)


def _tango_score(table: PairedCounts, loss: FloatArray) -> FloatArray:
    """Tango's score statistic, with the chance of a gain at its maximum likelihood given the loss."""
    lost, gained, n = table.lost, table.gained, table.n
    linear = (2 * n - lost + gained) * loss - lost - gained
    root = np.sqrt(np.maximum(linear**2 + 8 * n * gained * loss * (1 - loss), 0))
    gain = (root - linear) / (4 * n)
    variance = np.maximum(n * (2 * gain + loss * (1 - loss)), 0)
    distance = lost - gained - n * loss
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.abs(distance) < 1e-12, 0.0, distance / np.sqrt(variance))


def _bisect_boundary(
    inside: Callable[[FloatArray], NDArray[np.bool_]], outer: FloatArray, inner: FloatArray
) -> FloatArray:
    """The boundary of `inside` between a point outside (or on the boundary) and one inside, by bisection."""
    for _ in range(50):
        middle = (outer + inner) / 2
        holds = inside(middle)
        outer, inner = np.where(holds, outer, middle), np.where(holds, middle, inner)
    return outer


def _resample_counts(rng: np.random.Generator, n: int, size: int) -> FloatArray:
    picks = rng.integers(0, n, (size, n)) + n * np.arange(size)[:, None]
    return np.bincount(picks.ravel(), minlength=n * size).reshape(size, n).astype(float)


def _bias_correction(replicates: FloatArray, estimate: float) -> float:
    """Normal quantile of the share of replicates under the estimate, ties counted half (discrete data)."""
    slack = 1e-9 * max(1.0, abs(estimate))
    under = (replicates < estimate - slack).mean() + (np.abs(replicates - estimate) <= slack).mean() / 2
    edge = 1 / (len(replicates) + 1)
    return float(ndtri(np.clip(under, edge, 1 - edge)))


def _bca_acceleration(jackknife: ArrayLike) -> float:
    values = np.asarray(jackknife, float)
    gaps = values.mean() - values
    scale = float((gaps**2).sum()) ** 1.5
    return float((gaps**3).sum()) / (6 * scale) if scale > 0 else 0.0


def judged_mean(x: FloatArray) -> float:
    """The mean of the outcomes that are not NaN (not judged); NaN where there is none."""
    judged = x[~np.isnan(x)]
    return float(judged.mean()) if len(judged) else float("nan")


def _unwrap_scalar(x: FloatArray) -> float:
    return float(x) if np.ndim(x) == 0 else x  # type: ignore[return-value]
