"""Statistics against published arithmetic, scipy and statsmodels."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import bootstrap as scipy_bootstrap
from scipy.stats import hypergeom
from scipy.stats import t as student
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from harness.support import stats

FILE = Path(__file__).parents[2] / "benchmarks" / "nested_coverage.py"
SPEC = importlib.util.spec_from_file_location("nested_coverage", FILE)
simulation = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(simulation)


def limits(interval: stats.Interval | stats.RateComparison, digits: int = 4) -> tuple[float, float]:
    return round(float(interval.low), digits), round(float(interval.high), digits)


def table(lost: float, gained: float, n: float) -> stats.PairedCounts:
    return stats.PairedCounts(np.float64(lost), np.float64(gained), np.float64(n))


def test_newcombe_1998_table_i():
    """81 of 263: Statist. Med. 17, 857-872, methods 3 (Wilson) and 5 (Clopper-Pearson)."""
    assert limits(stats.wilson_interval(81, 263)) == (0.2553, 0.3662)
    assert limits(stats.clopper_pearson(81, 263)) == (0.2527, 0.3676)


@pytest.mark.parametrize("n", [1, 7, 50])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_rates_agree_with_statsmodels(n, level):
    for k in range(n + 1):
        for ours, name in ((stats.wilson_interval, "wilson"), (stats.clopper_pearson, "beta")):
            low, high = proportion_confint(k, n, 1 - level, name)
            found = ours(k, n, level)
            assert (found.low, found.high) == pytest.approx((max(low, 0), min(high, 1)), abs=1e-9)


def test_nothing_counted_says_nothing():
    assert limits(stats.wilson_interval(0, 0)) == limits(stats.clopper_pearson(0, 0)) == (0, 1)


def test_mcnemar_by_hand():
    """7 lost, 1 gained: (C(8,7) + C(8,8)) / 2^8 = 9/256; two-sided 0.0703 (Fagerland et al. 2013)."""
    assert stats.mcnemar_p_value(7, 1) == pytest.approx(9 / 256)
    assert stats.mcnemar_p_value(0, 5) == 1
    assert stats.mcnemar_p_value(0, 0) == 1


def test_mcnemar_agrees_with_statsmodels():
    for lost in range(12):
        for gained in range(12):
            two_sided = min(1, 2 * min(stats.mcnemar_p_value(lost, gained), stats.mcnemar_p_value(gained, lost)))
            expected = reference_mcnemar([[0, lost], [gained, 0]], exact=True).pvalue
            assert two_sided == pytest.approx(expected, abs=1e-12)


def test_tango_agrees_with_published_intervals():
    """Airway reactivity, 21 children (Fagerland, Lydersen & Laake 2014); 25 and 28 of 618 by R's PropCIs."""
    assert limits(stats.loss_interval(table(1, 7, 21)), 3) == (-0.517, -0.026)
    assert limits(stats.loss_interval(table(28, 25, 618), 0.9)) == (-0.0148, 0.0247)


def test_tango_at_the_edges():
    """No discordant prompt: z^2 / (n + z^2) either way (Tango 1998, eq. 11 with both counts zero)."""
    edge = 1.959964**2 / (50 + 1.959964**2)
    assert limits(stats.loss_interval(table(0, 0, 50))) == (round(-edge, 4), round(edge, 4))
    assert stats.loss_interval(table(5, 0, 5)).high == 1
    assert stats.loss_interval(table(0, 5, 5)).low == -1


def test_one_answer_a_prompt_is_mcnemars_table():
    before, after = np.array([1, 1, 1, 0, 0.0]), np.array([1, 0, 0, 1, 0.0])
    found = stats.paired_counts(before, after)
    assert (found.lost, found.gained, found.n) == (2, 1, 5)


def test_a_unit_counts_as_much_as_its_share_changed():
    """Differences 1, 0, -0.5, 0.5: their sum is 1 and that of their squares 1.5, so 1.25 lost and 0.25 gained."""
    found = stats.paired_counts([1, 0.5, 0, 1], [0, 0.5, 0.5, 0.5])
    assert (found.lost, found.gained, found.n) == pytest.approx((1.25, 0.25, 4))
    steady = stats.paired_counts([0.6] * 10, [0.5] * 10)
    assert (steady.lost, steady.gained, steady.n) == pytest.approx((1, 0, 10))


def test_units_of_several_sizes_are_kishs_effective_number():
    """Weights 3 and 1: n = 16 / 10; loss 3/4, n^2 times the weighted squares = 2.56 * 9/16."""
    found = stats.paired_counts([1, 0.5], [0, 0.5], [3, 1])
    assert (found.loss, found.n, found.lost + found.gained) == pytest.approx((0.75, 1.6, 1.44))
    alike = stats.paired_counts([1, 0.5, 0, 1], [0, 0.5, 0.5, 0.5], [2, 2, 2, 2])
    assert (alike.lost, alike.gained, alike.n) == pytest.approx((1.25, 0.25, 4))


def test_more_answers_do_not_make_up_for_prompts():
    """Nothing lost on 60 prompts leaves z^2 / (60 + z^2) = 6 points, with one answer each and with a thousand."""
    nothing = stats.compare_rates(np.ones(60), np.ones(60))
    rng = np.random.default_rng(0)
    many = stats.compare_rates(*(rng.binomial(1000, 0.5, (2, 60)) / 1000))
    assert nothing.high == pytest.approx(1.959964**2 / (60 + 1.959964**2))
    assert many.high >= nothing.high - 0.005


@pytest.mark.parametrize(("drawn", "marked", "total"), [(10, 5, 20), (38, 88, 452), (30, 452, 452), (7, 0, 9)])
def test_the_hypergeometric_test_agrees_with_scipy(drawn, marked, total):
    reference = hypergeom(total, marked, drawn)
    for found in range(max(0, drawn - total + marked), min(drawn, marked) + 1):
        expected = min(1, 2 * min(reference.cdf(found), reference.sf(found - 1)))
        assert stats.hypergeometric_p_value(found, drawn, marked, total) == pytest.approx(expected, abs=1e-9)


def test_holm_agrees_with_statsmodels():
    p = np.random.default_rng(0).random(20) ** 4
    assert stats.holm_adjust(p) == pytest.approx(multipletests(p, method="holm")[1])


SPATIAL = np.array(
    [48, 36, 20, 29, 42, 42, 20, 42, 22, 41, 45, 14, 6, 0, 33, 28, 34, 4, 32, 24, 47, 41, 24, 26, 30, 41], float
)
"""Efron & Tibshirani 1993, table 14.1; the statistic is the variance with divisor n."""


def variance(means):
    return means[..., 1] - means[..., 0] ** 2


def test_bca_of_efron_and_tibshirani():
    """Chapter 14: variance 171.5, acceleration 0.061, 90 % interval (115.8, 259.6) from 2,000 resamples."""
    columns = np.column_stack([SPATIAL, SPATIAL**2])
    estimate = float(variance(columns.mean(0)))
    replicates, jackknife = stats.bootstrap_means(columns, variance, seed=0, resamples=50_000)
    assert estimate == pytest.approx(171.5, abs=0.05)
    # Private, as the book prints this step too.
    assert stats._bca_acceleration(jackknife) == pytest.approx(0.061, abs=0.001)
    low, high = stats.bca_limits(replicates, estimate, jackknife, ndtri([0.05, 0.95]))
    assert (low, high) == (pytest.approx(115.8, abs=2), pytest.approx(259.6, abs=5))


def test_bca_agrees_with_scipy():
    x = np.random.default_rng(1).exponential(size=40)
    expected = scipy_bootstrap((x,), np.mean, n_resamples=2000, random_state=2)
    _, jackknife = stats.bootstrap_means(x[:, None], lambda means: means[..., 0], seed=0, resamples=10)
    found = stats.bca_limits(expected.bootstrap_distribution, float(x.mean()), jackknife, ndtri([0.025, 0.975]))
    assert tuple(found) == pytest.approx(tuple(expected.confidence_interval))


def test_the_bootstrap_repeats_itself():
    x = np.arange(20.0)[:, None]
    first, second = (stats.bootstrap_means(x, lambda means: means[..., 0], seed=3)[0] for _ in range(2))
    assert (first == second).all()


def test_rate_over_seeds_by_hand():
    found = stats.rate_over_seeds([[1, 1], [1, 0], [0, 0], [1, math.nan]])
    assert found.value == pytest.approx((1 + 0.5 + 0 + 1) / 4)
    assert found.per_seed == (0.75, pytest.approx(1 / 3))
    assert found.n == 4


def test_one_seed_is_wilson():
    found = stats.rate_over_seeds([1.0] * 81 + [0.0] * 182)
    assert limits(found) == (0.2553, 0.3662)


def test_unjudged_answers_widen_a_rate_both_ways():
    judged = stats.rate_over_seeds([1.0] * 50 + [0.0] * 50)
    found = stats.rate_over_seeds([1.0] * 50 + [0.0] * 50 + [math.nan] * 10)
    assert found.value == judged.value
    assert found.low == stats.wilson_interval(50, 110).low
    assert found.high == stats.wilson_interval(60, 110).high
    nothing = stats.rate_over_seeds([[math.nan, math.nan]])
    assert (nothing.low, nothing.high, nothing.n) == (pytest.approx(0), 1, 0)
    assert math.isnan(nothing.value)


def test_mean_change_by_hand():
    found = stats.mean_change([0, 0, 0], [[1, 3], [2, 4], [3, 5]])
    assert (found.value, found.per_seed, found.n) == (3, (2, 4), 3)
    assert found.low < 3 < found.high
    assert stats.mean_change([0.0], [1.0]).high == math.inf
    with pytest.raises(ValueError, match="not finite"):
        stats.mean_change([0.0], [math.inf])


def test_mean_change_is_near_students_t():
    x = np.random.default_rng(0).normal(1, 2, 300)
    half = student.ppf(0.975, 299) * x.std(ddof=1) / 300**0.5
    assert limits(stats.mean_change(np.zeros(300), x), 1) == (round(x.mean() - half, 1), round(x.mean() + half, 1))


def test_rogan_gladen_by_hand():
    """Sensitivity 0.9, specificity 0.8: a judged 0.55 is (0.55 + 0.8 - 1) / 0.7 = 0.5."""
    judge = stats.Calibration(89, 9, 19, 79)
    assert (judge.sensitivity, judge.specificity) == (0.9, 0.8)
    assert judge.correct_rate(0.55) == pytest.approx(0.5)
    assert judge.complement.correct_rate(0.45) == pytest.approx(0.5)


def test_correction_undoes_the_judge_and_widens():
    rng = np.random.default_rng(0)
    before, after = (rng.random(400) < 0.8).astype(float), (rng.random(400) < 0.45).astype(float)
    judge = stats.Calibration(89, 9, 19, 79)
    raw, found = stats.compare_rates(before, after), stats.compare_corrected(before, after, (judge, judge), shared=True)
    assert found.loss == pytest.approx(raw.loss / 0.7)
    assert found.high - found.low > (raw.high - raw.low) / 0.7
    other = stats.compare_corrected(before, after, (judge, judge))
    assert other.floor > found.floor > 0


def test_the_calibrations_variance_by_hand():
    """Delta method: pi^2 se(1-se)/m + (1-pi)^2 sp(1-sp)/m over J^2, for each side."""
    judge = stats.Calibration(89, 9, 19, 79)
    before, after = np.array([1.0, 1, 1, 0]), np.array([1.0, 1, 0, 0])
    expected = 0.0
    for rate in (0.75, 0.5):
        true = (rate + 0.8 - 1) / 0.7
        expected += (true**2 * 0.9 * 0.1 / 100 + (1 - true) ** 2 * 0.8 * 0.2 / 100) / 0.49
    assert stats.compare_corrected(before, after, (judge, judge)).floor == pytest.approx(expected)


def test_a_shared_calibrations_variance_by_hand():
    """Rates 0.75 and 0.5 share one error of sensitivity and one of specificity: only their difference counts."""
    judge = stats.Calibration(89, 9, 19, 79)
    found = stats.compare_corrected([1, 1, 1, 0], [1, 1, 0, 0], (judge, judge), shared=True)
    assert found.floor == pytest.approx((0.25 / 0.7) ** 2 * (0.9 * 0.1 + 0.8 * 0.2) / 100 / 0.49)


def test_a_shifted_judge_by_hand():
    """Sensitivity 0.9 - 0.1 and specificity 0.8 + 0.1: a judged 0.55 is (0.55 + 0.9 - 1) / 0.7; never over one."""
    shifted = stats.Calibration(89, 9, 19, 79, -0.1, 0.1)
    assert shifted.correct_rate(0.55) == pytest.approx(0.45 / 0.7)
    assert shifted.complement.sensitivity == pytest.approx(0.9)
    assert shifted.variances == pytest.approx((0.9 * 0.1 / 100, 0.8 * 0.2 / 100))
    assert stats.Calibration(89, 9, 19, 79, 0.5, 0).sensitivity == 1


def test_prediction_powered_loss_by_hand():
    before, after = np.array([1.0, 1, 0, 0]), np.array([1.0, 0, 0, 0])
    labels = stats.LabelErrors(np.array([0.0, -1, 0, 0]), np.array([1.0, 1, 0, 0]))
    exact = stats.LabelErrors(np.zeros(4), np.array([1.0, 1, 0, 0]))
    assert stats.compare_labelled(before, after, (labels, exact)).loss == pytest.approx(0.25 - 0.5)


def test_labels_on_everything_give_the_truth():
    rng = np.random.default_rng(0)
    truth, seen = (rng.random((2, 300)) < 0.7).astype(float), (rng.random((2, 300)) < 0.5).astype(float)
    labels = [stats.LabelErrors(truth[i] - seen[i], np.ones(300)) for i in (0, 1)]
    found = stats.compare_labelled(seen[0], seen[1], (labels[0], labels[1]))
    difference = truth[0] - truth[1]
    half = student.ppf(0.975, 299) * difference.std(ddof=1) / 300**0.5
    assert found.loss == pytest.approx(difference.mean())
    assert found.high - found.low >= 2 * half - 1e-9


def test_labels_without_an_error_still_leave_what_so_few_can_miss():
    """100 of 400 prompts labelled on both sides, no error: three times z^2 / (n + z^2) squared and added."""
    labels = stats.LabelErrors(np.zeros(400), (np.arange(400) < 100).astype(float))
    found = stats.compare_labelled(np.ones(400), np.ones(400), (labels, labels))
    z = 1.959964**2
    expected = math.sqrt((z / (400 + z)) ** 2 + 2 * (z / (100 + z)) ** 2) * student.ppf(0.975, 99) / 1.959964
    assert found.high == pytest.approx(expected, rel=1e-5)


def test_prompts_to_settle_by_hand():
    """Room 0.05, reach 1.96 + 0.84 = 2.80: variance must fall to (0.05 / 2.80)^2."""
    found = stats.RateComparison(0.0, -0.1, 0.1, 0.5, spread=0.0026)
    assert found.prompts_to_settle(100, 0.05, 0.025) == math.ceil(0.26 / (0.05 / 2.8016) ** 2)
    assert stats.RateComparison(0.0, -0.1, 0.1, 0.5, 0.0026, floor=0.01).prompts_to_settle(100, 0.05, 0.025) is None
    assert stats.RateComparison(0.0, -0.1, 0.1, 0.5, 0.0026, bias=0.05).prompts_to_settle(100, 0.05, 0.025) is None
    biased = stats.RateComparison(0.0, -0.1, 0.1, 0.5, 0.0026, bias=0.03)
    assert biased.prompts_to_settle(100, 0.05, 0.025) == math.ceil(0.26 / (0.02 / 2.8016) ** 2)


# Nested draws

PROMPTS = stats.Interval(0.45, 0.55)


def test_a_nested_mean_by_hand():
    """Tables' means .4, .5, .6: s^2 = .01, se = .1 / sqrt(3), t(2) = 4.3027; joined to .05 below and above."""
    draws = [[[0.35, 0.45], [0.45, 0.55], [0.55, 0.65]]]
    found = stats.nested_mean(draws, PROMPTS)
    reach = math.hypot(4.302653 * 0.1 / 3**0.5, 0.05)
    assert (found.value, found.level, found.same_models) == (pytest.approx(0.5), 1, None)
    assert (found.low, found.high) == (pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))
    # Trainings: s^2 = .005 within each table; tables: .01 less half of that.
    assert found.variances == (None, pytest.approx(0.0075), pytest.approx(0.005))


def test_two_models_and_the_interval_for_these_two_by_hand():
    """Models' means .3 and .7: t(1) = 12.706; for these two, tables .2, .4 | .6, .8: mean s^2 = .02 over 4, t(2)."""
    draws = [[[0.2], [0.4]], [[0.6], [0.8]]]
    found = stats.nested_mean(draws, stats.Interval(0.5, 0.5))
    assert (found.low, found.high) == (pytest.approx(0.5 - 12.7062 * 0.2), pytest.approx(0.5 + 12.7062 * 0.2))
    reach = 4.302653 * (0.02 / 4) ** 0.5
    assert (found.same_models.low, found.same_models.high) == (pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))
    assert found.variances == (pytest.approx(0.08 - 0.01), pytest.approx(0.02), None)


def test_draws_that_say_nothing_of_others():
    once = stats.nested_mean([[[0.5]]], PROMPTS)
    assert (once.low, once.high, once.level, once.variances) == (-math.inf, math.inf, None, (None, None, None))
    missing = stats.nested_mean([[[0.5, math.nan]]], PROMPTS)
    assert math.isnan(missing.low)
    assert math.isnan(missing.value)


def test_variance_components_are_those_of_a_mixed_model():
    """Where none is at its bound, the moments of a balanced design are REML's estimates."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    rng = np.random.default_rng(1)
    draws = 0.6 + rng.normal(0, 0.2, (4, 1, 1)) + rng.normal(0, 0.1, (4, 5, 1)) + rng.normal(0, 0.05, (4, 5, 3))
    rows = [(model, table, value) for (model, table, _), value in np.ndenumerate(draws)]
    frame = pd.DataFrame(rows, columns=["model", "table", "value"])
    parts = {"table": "0 + C(table)"}
    fitted = MixedLM.from_formula("value ~ 1", frame, groups="model", re_formula="1", vc_formula=parts).fit(reml=True)
    of_model, of_table, of_training = stats.nested_mean(draws, PROMPTS).variances
    assert of_model == pytest.approx(float(fitted.cov_re.iloc[0, 0]), rel=2e-3)
    assert of_table == pytest.approx(float(fitted.vcomp[0]), rel=2e-3)
    assert of_training == pytest.approx(float(fitted.scale), rel=2e-3)


@pytest.mark.parametrize(
    ("shape", "spreads"),
    [
        ((3, 5, 2), (0.05, 0.08, 0.03)),
        ((3, 5, 2), (0.0, 0.08, 0.03)),
        ((3, 5, 2), (0.08, 0.0, 0.03)),
        ((3, 5, 2), (0.0, 0.0, 0.0)),
        ((1, 5, 2), (0.0, 0.08, 0.03)),
        ((3, 1, 2), (0.05, 0.05, 0.03)),
    ],
)
def test_nested_intervals_cover_the_mean(shape, spreads):
    """Of known variances, with answers to 60 prompts that differ: 95 % intervals hold the mean in 93 % or more."""
    assert simulation.nested_coverage(shape, spreads, prompts=60, runs=600)[0] >= 0.93
