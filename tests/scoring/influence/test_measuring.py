"""Standard errors of influences: against errors that are known, and at the edges."""

import numpy as np
import pytest

from harness.scoring.influence.measuring import steady_errors


def drawn_halves(draw, errors):
    """Two halves' figures of means that are off by these standard errors."""
    return draw.normal(0, errors[:, None] * np.sqrt(2), size=(len(errors), 2))


def test_errors_cover_where_variances_follow_the_model():
    """Variances in proportion to sizes, each off by an inverse chi-square of 6 degrees of freedom (Smyth 2004)."""
    draw = np.random.default_rng(0)
    sizes = draw.integers(5, 200, size=4000).astype(float)
    errors = np.sqrt(sizes * 0.02 * 6 / draw.chisquare(6, size=4000))
    figures = drawn_halves(draw, errors)
    steady = steady_errors(figures, sizes)
    ratios = figures.mean(1) / steady
    # Of a moderated t statistic with 1 + 6 degrees of freedom 95 % lie within 2.365.
    assert (abs(ratios) < 2.365).mean() == pytest.approx(0.95, abs=0.01)
    assert (abs(ratios) < 0.711).mean() == pytest.approx(0.5, abs=0.03)
    # The own variances alone, of one degree of freedom, are far from it, and off by more.
    own = abs(figures[:, 0] - figures[:, 1]) / 2
    assert (abs(figures.mean(1)) < 2.365 * own).mean() < 0.78
    logs = [np.log(each / errors) ** 2 for each in (steady, own)]
    assert logs[0].mean() < logs[1].mean() / 4


def test_alike_variances_are_pooled():
    draw = np.random.default_rng(1)
    sizes = np.full(5000, 7.0)
    steady = steady_errors(drawn_halves(draw, np.full(5000, 0.3)), sizes)
    assert steady == pytest.approx(np.full(5000, 0.3), rel=0.15)


def test_units_and_order_change_nothing():
    draw = np.random.default_rng(2)
    figures, sizes = draw.normal(size=(50, 2)), draw.uniform(1, 9, size=50)
    steady, order = steady_errors(figures, sizes), draw.permutation(50)
    assert steady_errors(figures * 1e3, sizes) == pytest.approx(steady * 1e3)
    assert steady_errors(figures[order], sizes[order]) == pytest.approx(steady[order])
    assert steady_errors(figures[:, ::-1], sizes) == pytest.approx(steady)


def test_with_few_pairs_one_error_stands_for_all():
    # Differences of 2 and 4: variances of their means 1 and 4, together 2.5.
    assert steady_errors(np.array([[1.0, 3.0], [5.0, 1.0]]), np.array([1.0, 100.0])) == pytest.approx([2.5**0.5] * 2)
    assert steady_errors(np.array([[1.0, 3.0]]), np.array([4.0])) == pytest.approx([1.0])
    assert steady_errors(np.empty((0, 2)), np.empty(0)).shape == (0,)


def test_halves_that_agree_leave_errors_finite():
    same = np.repeat(np.arange(20.0)[:, None], 2, axis=1)
    assert steady_errors(same, np.ones(20)).tolist() == [0.0] * 20
    same[3, 1] += 1
    assert np.isfinite(steady_errors(same, np.ones(20))).all()
    nearly = np.random.default_rng(3).normal(size=(20, 2))
    nearly[:5, 1] = nearly[:5, 0]  # a quarter without any difference
    found = steady_errors(nearly, np.ones(20))
    assert (found > 0).all()
    assert np.isfinite(found).all()
