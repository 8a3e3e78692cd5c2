"""The influences of a window of pairs, and their standard errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import polygamma

from harness.preferences.tokens import Tokens
from harness.scoring.influence.credit import HALVES
from harness.scoring.influence.directions import Directions
from harness.scoring.influence.shifting import quotients_of_halves
from harness.scoring.influence.subspace import weights_in_play
from harness.scoring.targets import Target

if TYPE_CHECKING:
    from transformers import PreTrainedModel


FloatArray = NDArray[np.float64]

_ENOUGH_PAIRS = 8
"""With fewer, one standard error stands for all."""


def measure_influences(
    model: PreTrainedModel,
    directions: Directions,
    margins: Callable[[], Mapping[int, float]],
    pairs: Mapping[int, Tokens],
) -> dict[int, dict[Target, tuple[float, float]]]:
    """Each pair's influence on each target and its standard error, by the pair's key.

    Args:
        model: whose weights move; they come back as they were.
        directions: of the targets.
        margins: ln p(y+|x) - ln p(y-|x) of each pair under the weights as they stand.
        pairs: the pairs by key; standard errors are steadied over them, so they should be many.

    A pair without a margin under some weights is left out.
    """
    found: dict[int, dict[Target, tuple[float, float]]] = {key: {} for key in pairs}
    with weights_in_play(model, directions.subspace) as weights:
        for target, halves in directions.by_target.items():
            sides = quotients_of_halves(weights, halves, margins)
            keys = [key for key in pairs if all(map(math.isfinite, sides.get(key, (math.nan,))))]
            figures = np.array([sides[key] for key in keys]).reshape(len(keys), HALVES)
            sizes = np.array([len(pairs[key].chosen) + len(pairs[key].rejected) for key in keys], dtype=float)
            errors = steady_errors(figures, sizes)
            for key, mean, error in zip(keys, figures.mean(1), errors, strict=True):
                found[key][target] = (float(mean), float(error))
    return {key: each for key, each in found.items() if len(each) == len(directions.by_target)}


def steady_errors(figures: FloatArray, sizes: FloatArray) -> FloatArray:
    """Standard errors of the means of two halves' figures [n, 2], drawn towards those of pairs alike -> [n].

    Two halves give each pair a variance with one degree of freedom, which alone says little. As in limma (Smyth 2004)
    it is taken together with a prior: variances in proportion to the pairs' `sizes` [n] (tokens), weighing as many
    degrees of freedom as the spread of the variances leaves to it.
    """
    variances = (figures[:, 0] - figures[:, 1]) ** 2 / 4
    if len(variances) < _ENOUGH_PAIRS or not np.median(variances):
        return np.sqrt(np.full_like(variances, variances.mean())) if len(variances) else variances
    logs = np.log(np.maximum(variances / sizes, np.median(variances / sizes) * 1e-12))
    excess = float(logs.var(ddof=1)) - float(polygamma(1, 0.5))
    prior = _inverse_trigamma(excess) * 2 if excess > 0 else math.inf
    if math.isinf(prior):
        return np.sqrt(np.mean(variances / sizes) * sizes)
    level = math.exp(
        float(logs.mean())
        - float(polygamma(0, 0.5))
        + float(polygamma(0, prior / 2))
        - math.log(prior / 2)
        + math.log(0.5)
    )
    return np.sqrt((prior * level * sizes + variances) / (prior + 1))


def _inverse_trigamma(value: float) -> float:
    """Where the trigamma function, which falls from infinity to 0, has this value (Smyth 2004, appendix)."""
    guess = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, guess))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, guess))
        guess += step
        if -step / guess < 1e-8:
            break
    return guess
