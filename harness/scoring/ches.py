"""The similarity measures of Razin et al. 2025 as pure functions on tensors; higher means more displacement expected.

Notation: `h_k` is the last hidden state (after the final norm, what feeds the unembedding) at the position that
predicts response token k, so k = 1 is the last prompt token; `S` is the sum of `h_k` over a response; d is the
hidden size. Sums and products run in float64 (float32 where the device has none), whatever the model's type:
in half precision they overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from rapidfuzz.distance import Levenshtein
from torch import Tensor

MEASURES = ("ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance")
COEFFICIENTS = ("alpha_plus_mean", "alpha_minus_mean", "alpha_plus_positive", "alpha_minus_positive")


def sum_dtype(device: torch.device) -> torch.dtype:
    """The type sums run in: float64, or float32 on Apple's GPUs, which lack it."""
    return torch.float32 if device.type == "mps" else torch.float64


def hidden_sums(hidden: Tensor, lengths: Tensor) -> Tensor:
    """`S` of every response: the rows of `hidden` [sum of `lengths`, d] in stretches of `lengths` [n] -> [n, d]."""
    return torch.segment_reduce(hidden.to(sum_dtype(hidden.device)), "sum", lengths=lengths)


def ches(chosen_sum: Tensor, rejected_sum: Tensor) -> Tensor:
    """CHES, `<S+, S-> - ||S+||^2` (Definition 2), from sums [..., d] -> [...].

    Taken as `<S+, S- - S+>`: what the two answers share cancels before it is squared.
    """
    return _inner_product(chosen_sum, _to_sum_dtype(rejected_sum) - _to_sum_dtype(chosen_sum))


def ln_ches(chosen_sum: Tensor, rejected_sum: Tensor, chosen_tokens: Tensor, rejected_tokens: Tensor) -> Tensor:
    """Length-normalised CHES, `<S+, S-> / (|y+||y-|) - ||S+||^2 / |y+|^2` (Definition 3).

    Args:
        chosen_sum: `S+` [..., d].
        rejected_sum: `S-` [..., d].
        chosen_tokens: number of tokens of the preferred answer, its end-of-turn token included [...].
        rejected_tokens: the same for the other answer [...].
    """
    return ches(
        _to_sum_dtype(chosen_sum) / chosen_tokens[..., None], _to_sum_dtype(rejected_sum) / rejected_tokens[..., None]
    )


def last_hidden_inner_product(chosen_last: Tensor, rejected_last: Tensor) -> Tensor:
    """`<h+, h->` of the last hidden states of the two responses, [..., d] -> [...] (a baseline of section 5).

    They are, as in the paper's code, those at the last token before the end token, which predict it.
    """
    return _inner_product(chosen_last, rejected_last)


def neg_edit_distance(chosen: Sequence[int], rejected: Sequence[int]) -> float:
    """Minus the Levenshtein distance between two lists of token ids over the longer length, in [-1, 0] (section 5)."""
    return -Levenshtein.normalized_distance(chosen, rejected)


class Coefficients(NamedTuple):
    """How the weights that CHES sets to one are really spread, for one pair: means in [-2, 2], shares in [0, 1]."""

    alpha_plus_mean: float
    alpha_minus_mean: float
    alpha_plus_positive: float
    alpha_minus_positive: float


def token_residuals(logits: Tensor, tokens: Tensor) -> Tensor:
    """`e_{y_k} - pi(. | x, y_<k)` for every response token: logits [n, vocabulary], tokens [n] -> [n, vocabulary]."""
    rest = -torch.softmax(logits.float(), dim=-1)
    return rest.scatter_add_(1, tokens[:, None], torch.ones_like(rest[:, :1]))


def alpha_coefficients(chosen: Tensor, rejected: Tensor) -> Coefficients:
    """The weights on hidden-state inner products in Theorems 3 and 6, summarised, from the answers' `residuals`.

    `alpha+[k, k'] = <r+_k, r+_k'>` weighs `<h+_k, h+_k'>` and `alpha-[k, k'] = <r+_k, r-_k'>` weighs `<h+_k, h-_k'>`;
    CHES takes them all as 1. Shapes: [n+, vocabulary] and [n-, vocabulary].
    """
    plus, minus = chosen @ chosen.T, chosen @ rejected.T
    figures = plus.mean(), minus.mean(), (plus > 0).float().mean(), (minus > 0).float().mean()
    return Coefficients(*(float(figure) for figure in figures))


def _inner_product(left: Tensor, right: Tensor) -> Tensor:
    return (_to_sum_dtype(left) * _to_sum_dtype(right)).sum(-1)


def _to_sum_dtype(tensor: Tensor) -> Tensor:
    return tensor.to(sum_dtype(tensor.device))
