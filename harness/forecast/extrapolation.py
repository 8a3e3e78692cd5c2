"""From a few steps of a training to all of them, and how far such a forecast has been off.

The optimizer is RMSProp from zero averages, as everywhere here: its k-th step has the length of the learning rate over
sqrt(1 - 0.99^k) in each weight whose gradient keeps its size. A shift of the logits grows with the length of the path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from harness.forecast.rates import PromptRates
from harness.forecast.results import ExpectedChange
from harness.support import artifacts

_DECAY = 0.99
"""Of RMSProp's mean of squared gradients: torch's default, which TRL leaves."""
LEVEL = 0.9
"""What share of the measured changes the intervals are to cover."""
_QUANTILE = 1.645
"""Of the normal distribution: a two-sided interval of `LEVEL`."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a rate has moved after a look-ahead, in shares, and its standard error over the probes' prompts."""

    change: float
    error: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How far all prompts' logits move, and its standard error by the probes and the batches that were drawn."""

    mean: float
    error: float

    def scaled(self, factor: float) -> Shift:
        """The shift of a path longer by this factor."""
        return Shift(self.mean * factor, self.error * factor)


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far forecasts were off where the training was then run.

    A shift's own error is `floor` and `share` of the shift together. `measured`: of the organisms held back while the
    two were chosen (`benchmarks/forecast_accuracy.py`).
    """

    floor: float
    share: float
    measured: dict[str, Any]


@cache
def load_calibration() -> Calibration:
    """The calibration that is packaged."""
    file = Path(str(resources.files("harness.forecast").joinpath("calibration.json")))
    return Calibration(**artifacts.read_json(file))


def path_length(steps: int) -> float:
    """How far RMSProp takes a weight in so many steps, in learning rates."""
    return math.fsum(1 / math.sqrt(1 - _DECAY**step) for step in range(1, steps + 1))


def shift_of(rates: PromptRates, readings: Sequence[Reading]) -> Shift:
    """The shift that the readings of several look-aheads come to.

    Its error is that of the probes, which all of them share, together with the spread of the look-aheads.
    """
    shifts = np.array([rates.shift_to(each.change) for each in readings])
    widths = [rates.shift_to(each.change + each.error) - rates.shift_to(each.change - each.error) for each in readings]
    spread = float(shifts.std(ddof=1)) / len(shifts) ** 0.5 if len(shifts) > 1 else 0.0
    return Shift(float(shifts.mean()), math.hypot(float(np.mean(widths)) / 2, spread))


def expected_change(rates: PromptRates, shift: Shift, calibration: Calibration) -> ExpectedChange:
    """The change of a rate by a shift of its prompts' logits, with an interval of `LEVEL`."""
    error = math.hypot(shift.error, calibration.floor, calibration.share * shift.mean)
    low, high = (rates.change_at(shift.mean + side * _QUANTILE * error) for side in (-1, 1))
    return ExpectedChange(rates.observed, rates.change_at(shift.mean), low, high)
