"""Two sides corrected by labels that were drawn in strata, each text with a known chance.

The judged loss over all answers plus, for each stratum, the judge's mean error on the labelled texts in it, weighted
by the stratum's share of all answers: the stratified estimator (Cochran, Sampling Techniques, 3rd ed. 1977, ch. 5;
by Horvitz and Thompson, JASA 47, 1952, a text counts for as many as it had chances to be drawn among) of the rectifier
of prediction-powered inference (Angelopoulos et al., Science 382, 2023; drawn in strata: Fisch et al., NeurIPS 2024).

What a side shares with the other, it cancels: a text that both sides gave as often adds nothing to the loss,
whatever the judge makes of it. So a text counts for the *difference* between its parts of the two sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

from harness.support import stats
from harness.support.stats import FloatArray

_STEPS = 55
_POINTS, _ROUNDS = 33, 6
"""A limit is looked for among so many points, and then between two of them, so many times."""


@dataclass(frozen=True, slots=True)
class StratumErrors:
    """What is known of the judge's error on the texts of one stratum, by unit (prompt, or family).

    A text's part is how much of its unit's answers before it is, minus how much of those after. `totals` adds up the
    parts of all texts, without sign, `counts` those of the labelled ones; `errors` adds up, with sign, part times truth
    minus verdict (in good outcomes) of the labelled ones.
    """

    totals: FloatArray
    counts: FloatArray
    errors: FloatArray

    @property
    def weight(self) -> float:
        """How much the loss would change if the judge were wrong on every text."""
        return float(self.totals.sum() / len(self.totals))

    @property
    def mean_error(self) -> float:
        """On the labelled texts; 0 where there is none."""
        return float(self.errors.sum() / self.counts.sum()) if self.counts.any() else 0.0

    @property
    def units(self) -> int:
        """How many units have a label."""
        return int(np.count_nonzero(self.counts))

    def select_units(self, chosen: NDArray[np.bool_]) -> StratumErrors:
        """On some of the units."""
        return replace(self, totals=self.totals[chosen], counts=self.counts[chosen], errors=self.errors[chosen])


def compare_stratified(
    before: FloatArray,
    after: FloatArray,
    strata: Sequence[StratumErrors],
    level: float = 0.95,
    weights: FloatArray | None = None,
) -> stats.RateComparison:
    """The loss, from each unit's judged share of good answers on each side and labels drawn in strata.

    Student's interval on the variance of each unit's influence, in a stratum about its own mean and with n / (n - 1)
    for its n labelled units, degrees of freedom by Satterthwaite (Cochran 5.16). Never narrower than the interval as
    judged and that of the rectifier (`rectifier_limits`) squared and added: errors that so few labels can miss. Of a
    stratum without a label nothing is known: it widens both ends by its whole weight, the comparison's `bias`.
    Needs two units.
    """
    size = len(before)
    share = np.ones(size) if weights is None else weights
    share = share / share.mean()
    seen = float((before - after) @ share / size)
    known = [stratum for stratum in strata if stratum.units]
    loss = seen + sum(stratum.weight * stratum.mean_error for stratum in known)
    drawn = [_label_influence(stratum) for stratum in known]
    between = [stratum.mean_error * (stratum.totals - stratum.weight * share) for stratum in known]
    influence = (before - after - seen) * share + sum(drawn, np.zeros(size)) + sum(between, np.zeros(size))
    spread = float(influence.var(ddof=1) / size)
    parts = [float(part @ part) / size**2 for part in drawn]
    freedom = _satterthwaite(
        [*parts, max(spread - sum(parts), 0.0)], [*(max(stratum.units - 1, 1) for stratum in known), size - 1]
    )
    raw = stats.compare_rates(before, after, level, weights)
    missed = rectifier_limits(known, level)
    reach = np.hypot([raw.loss - raw.low, raw.high - raw.loss], [-missed.low, missed.high])
    return _interval(loss, spread, reach, freedom, level, sum(one.weight for one in strata if not one.units))


def _label_influence(stratum: StratumErrors) -> FloatArray:
    """Each unit's influence on the estimate by its labels, about the stratum's mean."""
    n = stratum.units
    about = stratum.errors - stratum.mean_error * stratum.counts
    expansion = stratum.totals.sum() / stratum.counts.sum()
    return np.asarray(about * expansion * np.sqrt(n / max(n - 1, 1)))


def _satterthwaite(variances: Sequence[float], freedoms: Sequence[int]) -> float:
    """Degrees of freedom of a sum of independent variances; those of all together where none varies."""
    total = sum(variances)
    if total <= 0:
        return float(max(sum(freedoms[:-1]), 1))
    return total**2 / sum(v**2 / f for v, f in zip(variances, freedoms, strict=True))


def _interval(
    loss: float, spread: float, reach: FloatArray, freedom: float, level: float, unknown: float
) -> stats.RateComparison:
    z, t = float(ndtri(0.5 + level / 2)), float(stdtrit(freedom, 0.5 + level / 2))
    below, above = np.sqrt(np.maximum(spread, (reach / z) ** 2)) + 1e-150  # where nothing can be lost any more
    p_value = float(stdtr(freedom, -(loss - unknown) / below))
    widest = float(max(spread, (reach.max() / z) ** 2))
    return stats.RateComparison(
        loss, loss - t * below - unknown, loss + t * above + unknown, p_value, widest, bias=unknown
    )


def rectifier_limits(strata: Sequence[StratumErrors], level: float) -> stats.Interval:
    """How far the weighted sum of the strata's mean errors may lie below and above what the labels say.

    A score interval: Tango's (1998) for several strata. Each stratum's labelled units are a table of units lost,
    gained and neither (`stats.paired_counts`); the variance is that under the likeliest chances with the sum in
    question. Of one stratum it is Tango's interval itself; of strata without an error that of as many labels as there
    are for each share of the weight where these are fewest. Labels of every text of a
    stratum are not credited: the prompts stand for others.
    """
    cells = [_error_cells(stratum) for stratum in strata if stratum.weight > 0]
    if not cells:
        return stats.Interval(0.0, 0.0)
    lost, gained, n, weight = np.array(cells).T
    high = _score_limit(lost, gained, n, weight, level)
    return stats.Interval(-_score_limit(gained, lost, n, weight, level), high)


def _error_cells(stratum: StratumErrors) -> tuple[float, float, float, float]:
    """Labelled units on which the loss is larger than judged, and smaller, their number, and the stratum's weight."""
    chosen = stratum.counts > 0
    counts = stratum.counts[chosen]
    means = stratum.errors[chosen] / counts
    table = stats.paired_counts(means, np.zeros_like(means), counts)
    return float(table.lost), float(table.gained), float(table.n), stratum.weight


def _score_limit(lost: FloatArray, gained: FloatArray, n: FloatArray, weight: FloatArray, level: float) -> float:
    """How far the weighted sum of (lost - gained) / n may lie above its estimate."""
    z, estimate = float(ndtri(0.5 + level / 2)), float(weight @ ((lost - gained) / n))
    low, high = -40.0, 40.0  # ln of the multiplier: from the estimate itself to the largest sum there is
    above, outside = np.zeros(_POINTS), 0
    for _ in range(_ROUNDS):
        points = np.linspace(low, high, _POINTS)
        p, q = _likeliest_chances(lost / n, gained / n, weight / n * np.exp(points)[:, None])
        above = (p - q) @ weight - estimate
        variance = np.maximum(p + q - (p - q) ** 2, 0) @ (weight**2 / n)
        outside = int(np.argmax(np.append(above**2 > z**2 * variance, True)))
        low, high = points[max(outside - 1, 0)], points[min(outside, _POINTS - 1)]
    return max(float(above[min(outside, _POINTS - 1)]), 0.0)


def _likeliest_chances(lost: FloatArray, gained: FloatArray, push: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The multinomial chances of a loss and a gain, given their shares, under a multiplier for the sum.

    With p = lost / (v - push), q = gained / (v + push) and 1 - p - q = neither / v, v such that they add up; where
    nothing was lost, p is what the other two leave at v = push.
    """
    neither = np.maximum(1 - lost - gained, 0)
    low, high = push, push + 1.0
    for _ in range(_STEPS):
        v = (low + high) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.where(lost > 0, lost / (v - push), 0) + gained / (v + push) + neither / v
        low, high = np.where(total > 1, v, low), np.where(total > 1, high, v)
    q = gained / (high + push)
    return np.clip(1 - q - neither / high, 0, 1), q
