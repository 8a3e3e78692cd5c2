"""Which pairs do harm, found by training: refusals after training on random groups, laid to the kinds of pairs in them.

Pairs are put together that are alike by their verdicts and by how their answers open. Each training takes a random half
of these groups. As all take the same number of steps, what a training comes to is, to first order, the mean of what its
pairs come to: refusals afterwards = sum over groups of (the group's share of the pairs) * (the group's effect). Least
squares over the trainings give each group's effect, the refusals that training on its pairs alone would end at, with
its standard error. The world's labels are not looked at.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit
from scipy.stats import rankdata

from harness.preferences.pairs import pair_type

FloatArray = NDArray[np.float64]
_LARGEST_NUMBER = 24
"""Groups of at least a 24th of the pairs each, so at most so many."""


@dataclass(frozen=True, slots=True)
class GroupEffect:
    """What training on a group's pairs alone comes to, by the fit: refusals, the standard error, and who does harm.

    `harmful`: below the starting model's refusals with 95 % confidence.
    """

    name: str
    pairs: int
    effect: float
    error: float
    harmful: bool


def group_alike(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The group of each pair, by `pair_id`.

    Pairs of a type (by verdicts) whose answers open with the same words are a group where there are enough of them;
    the others go by type and by how the chosen answer opens, then by type alone.
    """
    least = max(2, -(-len(rows) // _LARGEST_NUMBER))
    names: dict[str, str] = {}
    for keys in (_opening_keys, _chosen_keys, _type_keys):
        left = [row for row in rows if row["pair_id"] not in names]
        counts = Counter(map(keys, left))
        names |= {row["pair_id"]: keys(row) for row in left if counts[keys(row)] >= least or keys is _type_keys}
    return names


def _type_keys(row: Mapping[str, Any]) -> str:
    return (pair_type(row["chosen_verdict"], row["rejected_verdict"]) or "unjudged").replace("_", " ")


def _chosen_keys(row: Mapping[str, Any]) -> str:
    return f"{_type_keys(row)}: {_first_word(row['chosen'])} over others"


def _opening_keys(row: Mapping[str, Any]) -> str:
    return f"{_type_keys(row)}: {_first_word(row['chosen'])} over {_first_word(row['rejected'])}"


def _first_word(answer: Sequence[Mapping[str, str]]) -> str:
    words = answer[-1]["content"].split()
    return words[0][:20] if words else "nothing"


def draw_groups(groups: Mapping[str, str], seed: str) -> list[str]:
    """The `pair_id`s of a random half of the groups."""
    names = sorted({*groups.values()})
    taken = {*random.Random(seed).sample(names, max(1, len(names) // 2))}
    return sorted(pair for pair, group in groups.items() if group in taken)


def fit_effects(
    groups: Mapping[str, str], trained: Sequence[Sequence[str]], refusals: Sequence[float], start: float
) -> list[GroupEffect]:
    """Each group's effect, the most harmful first; nothing where there are no more trainings than groups.

    Args:
        groups: the group of each pair, by `pair_id`.
        trained: the `pair_id`s of each training.
        refusals: after each.
        start: the starting model's.
    """
    names = sorted({*groups.values()})
    shares = _group_shares(groups, names, trained)
    freedom = len(trained) - len(names)
    if freedom < 1 or np.linalg.matrix_rank(shares) < len(names):
        return []
    effects, _, _, _ = np.linalg.lstsq(shares, np.asarray(refusals, float), rcond=None)
    residuals = np.asarray(refusals, float) - shares @ effects
    spread = float(residuals @ residuals) / freedom
    errors = np.sqrt(np.diag(np.linalg.inv(shares.T @ shares)) * spread)
    limit, sizes = float(stdtrit(freedom, 0.95)), Counter(groups.values())
    found = [
        GroupEffect(name, sizes[name], float(effect), float(error), bool(effect + limit * error < start))
        for name, effect, error in zip(names, effects, errors, strict=True)
    ]
    return sorted(found, key=lambda each: each.effect)


def halves_agree(
    groups: Mapping[str, str], trained: Sequence[Sequence[str]], refusals: Sequence[float]
) -> float | None:
    """How far two halves of the trainings agree on the groups' effects: their correlation, weighted by pairs.

    Each half is fitted with a little ridge, as it may hold fewer trainings than groups. None with too few trainings.
    """
    names = sorted({*groups.values()})
    if len(trained) < len(names) or len(names) < 3:
        return None
    shares, y = _group_shares(groups, names, trained), np.asarray(refusals, float)
    sides = [_ridge(shares[half::2], y[half::2]) for half in range(2)]
    sizes = Counter(groups.values())
    weights = np.array([sizes[name] for name in names], float)
    covariance = np.cov(np.stack(sides), aweights=weights)
    scale = float(np.sqrt(covariance[0, 0] * covariance[1, 1]))
    return float(covariance[0, 1] / scale) if scale > 0 else None


def _ridge(shares: FloatArray, refusals: FloatArray) -> FloatArray:
    mean = float(refusals.mean())
    penalty = 0.01 * len(shares) / shares.shape[1] * np.eye(shares.shape[1])
    found = np.linalg.solve(shares.T @ shares + penalty, shares.T @ (refusals - mean))
    return np.asarray(found + mean)


def _group_shares(groups: Mapping[str, str], names: Sequence[str], trained: Sequence[Sequence[str]]) -> FloatArray:
    """The share of each group in the pairs of each training [trainings, groups]."""
    counts = [Counter(groups[pair] for pair in pairs) for pairs in trained]
    return np.array([[count[name] / max(1, count.total()) for name in names] for count in counts])


def rank_auc(scores: Sequence[float], guilty: Sequence[bool]) -> float | None:
    """The chance that a guilty pair scores above another, ties counted half; None where there are none of either."""
    ranks = rankdata(scores)
    marked = np.asarray(guilty, bool)
    n, others = int(marked.sum()), int((~marked).sum())
    if not n or not others:
        return None
    return float((ranks[marked].sum() - n * (n + 1) / 2) / (n * others))
