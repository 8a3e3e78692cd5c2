"""Labels drawn in strata: the estimate, its interval, and that it holds what it promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from harness.labeling import stratified
from harness.labeling.stratified import StratumErrors, compare_stratified, rectifier_limits
from harness.support import stats


def stratum(total, count, error):
    return StratumErrors(*(np.array(x, float) for x in (total, count, error)))


def test_the_loss_by_hand():
    """Judged (2 - 1) / 4. In the first stratum, of weight 1/2, both labels are wrong by -1; in the second none."""
    before, after = np.array([1.0, 1, 0, 0]), np.array([1.0, 0, 0, 0])
    strata = [
        stratum([1, 1, 0, 0], [1, 1, 0, 0], [-1, -1, 0, 0]),
        stratum([1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0]),
    ]
    assert [one.weight for one in strata] == [0.5, 0.75]
    assert compare_stratified(before, after, strata).loss == pytest.approx(0.25 - 0.5)


def test_the_variance_by_hand(monkeypatch):
    """No prompt changed as judged; 40 units in two strata of 20, of which 10 and 5 labelled, 4 and 1 of them wrong.

    W^2 s^2 / n with s^2 = p (1 - p) n / (n - 1), and what the strata differ by, over all 40 units. Here without what so
    few labels can miss, which is more.
    """
    monkeypatch.setattr(stratified, "rectifier_limits", lambda *_: stats.Interval(0, 0))
    monkeypatch.setattr(stats, "compare_rates", lambda *_: stats.RateComparison(0, 0, 0, 1, 0))
    n, size = np.array([10, 5]), 40
    p, weights = np.array([4 / 10, 1 / 5]), np.array([0.5, 0.5])
    place, strata = np.arange(size), []
    for h in (0, 1):
        mine = place // 20 == h
        strata.append(stratum(mine, mine & (place % 20 < n[h]), mine & (place % 20 < n[h] * p[h])))
    parts = weights**2 * p * (1 - p) / (n - 1) * size / (size - 1)
    between = float((weights * (p - p @ weights) ** 2).sum()) / (size - 1)
    found = compare_stratified(np.ones(size), np.ones(size), strata)
    assert found.loss == pytest.approx(float(weights @ p))
    variance = float(parts.sum()) + between
    assert found.spread == pytest.approx(variance)
    parts *= (size - 1) / size  # Satterthwaite, each part about its own mean
    freedom = variance**2 / ((parts**2 / (n - 1)).sum() + (variance - parts.sum()) ** 2 / (size - 1))
    half = student.ppf(0.975, freedom) * variance**0.5
    assert (found.low, found.high) == pytest.approx((found.loss - half, found.loss + half))


def test_families_of_all_sizes_whose_texts_are_all_mistaken_alike_do_not_vary(monkeypatch):
    """Three prompts in families of 1 and 2, a text each, all labelled and wrong: the loss is 1 whoever is drawn."""
    monkeypatch.setattr(stratified, "rectifier_limits", lambda *_: stats.Interval(0, 0))
    monkeypatch.setattr(stats, "compare_rates", lambda *_: stats.RateComparison(0, 0, 0, 1, 0))
    sizes = np.array([1.0, 2.0])
    parts = sizes * 2 / 3  # texts of a family, in families a prompt
    found = compare_stratified(np.ones(2), np.ones(2), [stratum(parts, parts, parts)], weights=sizes)
    assert (found.loss, found.spread) == pytest.approx((1, 0))


CELLS = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 40))


@given(CELLS)
def test_the_limits_of_one_stratum_are_tangos(cells):
    lost, gained, neither = cells
    errors = np.array([1.0] * lost + [-1.0] * gained + [0.0] * neither)
    found = rectifier_limits([stratum(np.ones(len(errors)), np.ones(len(errors)), errors)], 0.95)
    table = stats.paired_counts(errors, np.zeros(len(errors)))
    expected = stats.loss_interval(table, 0.95)
    assert found.high == pytest.approx(float(expected.high - table.loss), abs=1e-6)
    assert found.low == pytest.approx(float(expected.low - table.loss), abs=1e-6)


def test_without_an_error_the_stratum_with_fewest_labels_for_its_weight_decides():
    """Weights 0.8 and 0.2, 20 and 10 labels: z^2 / (n + z^2) of the first, times its weight."""
    size = 100
    place = np.arange(size)
    first, second = place < 80, place >= 80
    strata = [
        stratum(first, place < 20, np.zeros(size)),
        stratum(second, (place >= 80) & (place < 90), np.zeros(size)),
    ]
    z = 1.959964**2
    assert rectifier_limits(strata, 0.95).high == pytest.approx(0.8 * z / (20 + z), rel=1e-4)


def test_a_stratum_without_a_label_widens_both_ends_by_its_weight():
    size = 100
    place = np.arange(size)
    known = stratum(place < 80, place < 40, np.zeros(size))
    one = compare_stratified(np.ones(size), np.ones(size), [known])
    unknown = stratum(place >= 80, np.zeros(size), np.zeros(size))
    both = compare_stratified(np.ones(size), np.ones(size), [known, unknown])
    assert (both.low, both.high) == pytest.approx((one.low - 0.2, one.high + 0.2))
    assert both.bias == pytest.approx(0.2)
    assert both.p_value > one.p_value


def test_what_both_sides_share_counts_for_nothing():
    size = 50
    alone = stratum(np.ones(size), np.arange(size) < 30, np.zeros(size))
    shared = stratum(np.zeros(size), np.zeros(size), np.zeros(size))
    ones = np.ones(size)
    assert compare_stratified(ones, ones, [alone, shared]) == compare_stratified(ones, ones, [alone])


def draw(rng, verdicts, truth, places, drawn, sign):
    """One side's strata with so many labels in each."""
    found = []
    for name in np.unique(places):
        mine = np.flatnonzero(places == name)
        chosen = np.isin(np.arange(len(places)), rng.choice(mine, min(drawn[name], len(mine)), replace=False))
        found.append(stratum(places == name, chosen, sign * (truth - verdicts) * chosen))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("caught", [0.1, 0.7])
@pytest.mark.parametrize("labels", [30, 150])
def test_false_passes_at_the_margin_are_at_most_alpha(caught, labels):
    """The judge sees nothing of a loss of five points; `caught` of its mistakes are doubted, of the rest a tenth.

    Three standard errors of 2.5 % in 300 runs are 2.7 %.
    """
    rng, passes, covered = np.random.default_rng(14), 0, 0
    for _ in range(300):
        before = (rng.random(450) < 0.9).astype(float)
        missed = (before > 0) & (rng.random(450) < 0.05 / 0.9)
        truth, strata = np.where(missed, 0.0, before), []
        for sign, real in ((1, before), (-1, truth)):
            doubted = np.where(real != before, rng.random(450) < caught, rng.random(450) < 0.1).astype(int)
            strata += draw(rng, before, real, doubted, [labels * 5 // 6, labels // 6], sign)
        found = compare_stratified(before, before, strata)
        passes += found.high < 0.05
        covered += found.low <= 0.05 <= found.high
    assert passes / 300 <= 0.025 + 0.027
    assert covered / 300 >= 0.95 - 0.03


@pytest.mark.slow
def test_the_interval_covers_where_the_judge_errs_on_both_sides():
    rng, covered = np.random.default_rng(15), 0
    for _ in range(300):
        truth = [(rng.random(300) < rate).astype(float) for rate in (0.8, 0.7)]
        strata, seen = [], []
        for sign, real, error in ((1, truth[0], 0.15), (-1, truth[1], 0.1)):
            verdicts = np.where(rng.random(300) < error, 1 - real, real)
            doubted = np.where(verdicts != real, rng.random(300) < 0.6, rng.random(300) < 0.2).astype(int)
            strata += draw(rng, verdicts, real, doubted, [40, 30], sign)
            seen.append(verdicts)
        found = compare_stratified(seen[0], seen[1], strata)
        covered += found.low <= 0.1 <= found.high
    assert covered / 300 >= 0.92
