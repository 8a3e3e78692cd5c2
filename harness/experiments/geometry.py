"""The geometry of one-token answers (Razin et al. 2025, section 4.1 and Theorem 2) as pure functions on tensors.

Notation: `W` is the unembedding, a row a token; `y+` and `y-` are the preferred and the other answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import spearmanr
from torch import Tensor


class Geometry(NamedTuple):
    """How `W_y+ - W_y-` lies to `W_y+`. The paper found `orthogonal` above `projection` in every model (Table 13)."""

    inner_product: float
    """`<W_y+, W_y->`: the larger, the more training lowers p(y+)."""
    projection: float
    """Length of the part of `W_y+ - W_y-` along `W_y+`, negative where it points the other way."""
    orthogonal: float
    """Length of the part orthogonal to it."""


def unembedding_geometry(chosen: Tensor, rejected: Tensor) -> Geometry:
    """The geometry of two unembedding rows [d]."""
    chosen, difference = chosen.double(), chosen.double() - rejected.double()
    along = difference @ chosen / chosen.norm()
    across = difference - along * chosen / chosen.norm()
    return Geometry(float(chosen @ rejected.double()), float(along), float(across.norm()))


def predicted_gains(unembedding: Tensor, chosen: int, rejected: int) -> Tensor:
    """`<W_z, W_y+ - W_y->` for every token z: `W` [vocabulary, d] -> [vocabulary].

    By Theorem 2, under gradient flow on the unembedding and the hidden state, d/dt ln p(z|x) is this up to a positive
    factor and a term that is the same for all z other than y+ and y-.
    """
    rows = unembedding.float()
    return rows @ (rows[chosen] - rows[rejected])


def rank_correlation(predicted: Tensor, change: Tensor, leave_out: tuple[int, ...]) -> float | None:
    """Spearman's correlation of predicted and measured gains [vocabulary], None where either is constant.

    `leave_out`: y+ and y-, whose own rows move too, so that Theorem 2 gives them another term.
    """
    x, y = (np.delete(values.numpy(), leave_out) for values in (predicted, change))
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(spearmanr(x, y).statistic)
