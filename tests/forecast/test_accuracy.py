"""The packaged calibration and the page are what the committed measurement gives; its figures by hand."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from harness.forecast.extrapolation import LEVEL, Calibration, Shift, load_calibration
from harness.forecast.rates import PromptRates

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("forecast_accuracy", ROOT / "benchmarks" / "forecast_accuracy.py")
accuracy = importlib.util.module_from_spec(SPEC)
sys.modules["forecast_accuracy"] = accuracy
SPEC.loader.exec_module(accuracy)

ROWS = json.loads((ROOT / "benchmarks/results/forecast_accuracy.json").read_text())["rows"]
HALF = PromptRates([1000] * 30, [2000] * 30)


def test_the_packaged_calibration_is_that_of_the_committed_measurement():
    assert load_calibration() == Calibration(**accuracy.calibrate(ROWS))


def test_nothing_is_chosen_on_the_organisms_that_are_held_back():
    without = [row for row in ROWS if row["organism"] < accuracy.HELD_OUT]
    chosen = accuracy.calibrate(without)
    assert (chosen["floor"], chosen["share"]) == (load_calibration().floor, load_calibration().share)
    assert load_calibration().measured["arms"] == sum(len(row["arms"]) for row in ROWS if row not in without)


def test_the_page_shows_the_committed_measurement():
    page = (ROOT / "docs" / "forecast.md").read_text()
    start, end = (page.index(mark) for mark in accuracy.MARKS)
    shown = page[start + len(accuracy.MARKS[0]) : end].strip()
    assert shown == accuracy.accuracy_table(ROWS, load_calibration()), "run the benchmark with --calibrate"


def compared(organism, influence, shift, measured):
    return accuracy.Compared(organism, influence, Shift(shift, 0.0), HALF, measured)


def test_the_figures_by_hand():
    # At a half, shifts of -1, 1 and 3 are changes of -.231, +.231 and +.453; with these errors nothing else is covered.
    arms = [
        compared(0, 1.0, -1.0, -0.2),
        compared(0, 2.0, 1.0, 0.3),
        compared(1, 0.0, 3.0, 0.45),
        compared(1, 5.0, 0.5, -0.1),
        compared(1, 6.0, -0.01, 0.02),
    ]
    found = accuracy.judge_forecasts(arms, Calibration(0.0, 0.05, {}))
    assert (found["organisms"], found["arms"]) == (2, 5)
    # By forecast: -1, -.01, .5, 1, 3; measured in that order: -.2, .02, -.1, .3, .45: nine of ten pairs agree.
    assert found["tau"] == pytest.approx((9 - 1) / 10)
    assert found["tau_within"] == [1.0, pytest.approx(1 / 3, abs=1e-3)]
    assert (found["moved"], found["sign_right"]) == (4, 3)
    assert found["mean_error"] == pytest.approx((0.031 + 0.069 + 0.003 + 0.222 + 0.022) / 5, abs=0.002)
    assert found["covered"] == 1


def test_the_chosen_intervals_are_the_narrowest_that_cover_enough():
    arms = [compared(0, 0.0, 1.0, HALF.change_at(1.0 + off / 10)) for off in range(-5, 5)]
    floor, share = accuracy.choose_calibration(arms, LEVEL)
    chosen = accuracy.judge_forecasts(arms, Calibration(floor, share, {}))
    assert chosen["covered"] >= 9
    narrower = accuracy.judge_forecasts(arms, Calibration(floor * 0.6, share * 0.6, {}))
    assert narrower["covered"] < 9
