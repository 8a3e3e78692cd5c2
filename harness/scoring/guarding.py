"""The largest choice of pairs of which several sums stay at or above zero."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_UNDECIDED = 256
"""So many pairs around the cut of the relaxed problem are decided exactly; more where with these there is no answer."""


def choose_most(gains: FloatArray) -> BoolArray:
    """Which of n items to take: as many as possible such that no row of `gains` [rows, n] sums to less than 0 -> [n].

    With one row these are its highest. With several it is an integer program. Its linear relaxation, which takes but
    one item a row in part, decides all items far from its cut; those around it are decided exactly. So up to 256 items
    there is no larger choice; beyond, hardly one, as the relaxed problem bounds it.
    """
    if len(gains) == 1:
        return _take_highest(gains[0])
    sizes = np.abs(gains).max(axis=1, keepdims=True, initial=0)
    scaled = gains / np.where(sizes > 0, sizes, 1)
    # By interior points: the simplex method takes minutes over a hundred thousand items.
    zeros, ones = np.zeros(len(gains)), np.ones(gains.shape[1])
    relaxed = linprog(-ones, A_ub=-scaled, b_ub=zeros, bounds=(0, 1), method="highs-ipm")
    # What an item adds to the relaxed problem: one, and what its gains are worth at the prices of the rows.
    worth = 1 - relaxed.ineqlin.marginals @ scaled
    nearest = np.argsort(np.abs(worth), kind="stable")
    undecided, taken = _UNDECIDED, None
    while taken is None:
        taken = _decide_nearest(scaled, relaxed.x > 0.5, nearest[:undecided])
        undecided *= 8
    return _without_shortfall(gains, taken)


def _take_highest(gains: FloatArray) -> BoolArray:
    order = np.argsort(-gains, kind="stable")
    taken = np.zeros(len(gains), dtype=bool)
    taken[order[: int(np.count_nonzero(np.cumsum(gains[order]) >= 0))]] = True
    return _without_shortfall(gains[None], taken)


def _decide_nearest(gains: FloatArray, relaxed: BoolArray, places: NDArray[np.intp]) -> BoolArray | None:
    """The best choice that is the relaxed one but at these places; None where there is none."""
    fixed = relaxed.copy()
    fixed[places] = False
    found = milp(
        -np.ones(len(places)),
        constraints=LinearConstraint(gains[:, places], -gains[:, fixed].sum(axis=1), np.inf),
        integrality=np.ones(len(places)),
        bounds=Bounds(0, 1),
    )
    if found.x is None:
        return None
    fixed[places] = found.x > 0.5
    return fixed


def _without_shortfall(gains: FloatArray, taken: BoolArray) -> BoolArray:
    """The choice, less the items that rounding let in."""
    taken = taken.copy()
    for row in gains:
        while math.fsum(row[taken]) < 0:
            taken[np.flatnonzero(taken)[np.argmin(row[taken])]] = False
    return taken
