"""How far p(y+) fell in the course of a training, and the summary over several of Table 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple


class Fall(NamedTuple):
    """A value, and a later one."""

    before: float
    after: float


def largest_fall(values: Sequence[float]) -> Fall:
    """The largest fall from one value to a later one; where none falls, from the first to itself."""
    peak, found = values[0], Fall(values[0], values[0])
    for value in values:
        peak = max(peak, value)
        if peak - value > found.before - found.after:
            found = Fall(peak, value)
    return found


def loss_ever_rose(losses: Sequence[float]) -> bool:
    """Whether the loss of any step is above that of the one before."""
    return any(after > before for before, after in pairwise(losses))


def mean_largest_fall(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The summary of Table 1 as the authors' code prints it: the mean of each run's largest fall of p(y+).

    Args:
        trials: `p_chosen` and `loss` of each run, before the first step and after each.

    A fall is from any step to a later one, so it need not begin at the start. Runs whose loss ever rose are left out:
    `runs` is how many are counted, and without any there is no mean.
    """
    kept = [largest_fall(each["p_chosen"]) for each in trials if not loss_ever_rose(each["loss"])]
    means = {name: fmean(getattr(fall, name) for fall in kept) if kept else None for name in Fall._fields}
    return {"runs": len(kept), **means}
