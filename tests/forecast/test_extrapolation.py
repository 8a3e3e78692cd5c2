"""How a shift is carried on: RMSProp's own path, and intervals by hand."""

import pytest
import torch
from scipy.special import expit

from harness.forecast.extrapolation import (
    Calibration,
    Reading,
    Shift,
    expected_change,
    load_calibration,
    path_length,
    shift_of,
)
from harness.forecast.rates import PromptRates

HALF = PromptRates([1000] * 30, [2000] * 30)


@pytest.mark.parametrize("steps", [1, 4, 12])
def test_the_path_is_as_long_as_that_of_torchs_rmsprop(steps):
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.RMSprop([weight], lr=1.0)
    for _ in range(steps):
        weight.grad = torch.tensor([-3.0], dtype=torch.float64)
        optimizer.step()
    assert path_length(steps) == pytest.approx(weight.item(), rel=1e-6)


def test_without_any_error_the_interval_is_the_change():
    found = expected_change(HALF, Shift(-1.0, 0.0), Calibration(0.0, 0.0, {}))
    assert found.low == found.change == found.high == pytest.approx(expit(-1) - 0.5, abs=0.002)
    assert found.before == 0.5
    assert found.direction == "falls"


def test_the_three_errors_add_up_as_squares():
    found = expected_change(HALF, Shift(2.0, 0.2), Calibration(floor=0.3, share=0.3, measured={}))
    error = 1.645 * (0.2**2 + 0.3**2 + 0.6**2) ** 0.5
    assert found.low == pytest.approx(expit(2 - error) - 0.5, abs=0.003)
    assert found.high == pytest.approx(expit(2 + error) - 0.5, abs=0.003)


@pytest.mark.parametrize(
    ("mean", "error", "direction"),
    [(1.0, 0.1, "rises"), (-1.0, 0.1, "falls"), (0.3, 0.4, "either way"), (0.01, 0.05, "hardly moves")],
)
def test_the_direction_is_told_as_far_as_the_interval_tells(mean, error, direction):
    assert expected_change(HALF, Shift(mean, error), Calibration(0.0, 0.0, {})).direction == direction


def test_the_shift_of_readings_is_their_mean_and_its_error_of_both_kinds():
    readings = [Reading(expit(-0.4) - 0.5, 0.02), Reading(expit(-0.6) - 0.5, 0.02)]
    found = shift_of(HALF, readings)
    assert found.mean == pytest.approx(-0.5, abs=0.01)
    # The probes': .02 over the logistic curve's slope, p (1 - p). The look-aheads': .2 / 2.
    slopes = [expit(-shift) * expit(shift) for shift in (0.4, 0.6)]
    probes = sum(0.02 / slope for slope in slopes) / 2
    assert found.error == pytest.approx((probes**2 + 0.1**2) ** 0.5, rel=0.03)
    assert shift_of(HALF, readings[:1]).error == pytest.approx(0.02 / slopes[0], rel=0.03)


def test_a_longer_path_stretches_shift_and_error():
    assert Shift(-0.5, 0.1).scaled(3) == Shift(pytest.approx(-1.5), pytest.approx(0.3))


def test_the_packaged_calibration_is_one_of_organisms_held_back():
    calibration = load_calibration()
    assert 0 < calibration.floor < 1
    assert 0 < calibration.share < 1
