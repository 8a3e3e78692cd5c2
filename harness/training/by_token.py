"""What some objectives read of the starting model token by token: SGDPO's ln p, and the tokens that NTHR spares.

Measured once, before the first step: the starting model is what the pairs were sampled from, the old policy of NTHR.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.models.loading import evaluation_mode
from harness.preferences.tokens import Tokens
from harness.scoring.ches import token_residuals
from harness.scoring.packing import decoder_body, padded_pass
from harness.scoring.unembedding import unembed
from harness.support import console

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def align_answers(values: Tensor, mask: Tensor) -> Tensor:
    """The masked values of each row [rows, n], which stand together, moved to its left; zeros behind them."""
    place = torch.arange(values.shape[1], device=values.device)
    source = (mask.int().argmax(1)[:, None] + place).clamp(max=values.shape[1] - 1)
    return values.gather(1, source) * (place < mask.sum(1)[:, None])


def draw_counts(chosen_tokens: Tensor, rejected_tokens: Tensor, share: float) -> Tensor:
    """How many tokens of each answer SGDPO's pilot term takes [pairs]: a share of the shorter one, one at least."""
    return (torch.minimum(chosen_tokens, rejected_tokens) * share).long().clamp(min=1)


def draw_pilot(changes: Tensor, tokens: Tensor, counts: Tensor) -> Tensor:
    """SGDPO's pilot term: the sum of ln p - ln p_reference over tokens drawn from each answer by torch's generator.

    Args:
        changes: by token, zeros behind the answer [pairs, longest].
        tokens: the answers' lengths [pairs].
        counts: tokens drawn of each, without putting back [pairs].
    """
    drawn = [torch.randperm(length)[:count] for length, count in zip(tokens.tolist(), counts.tolist(), strict=True)]
    return torch.stack([row[places.to(row.device)].sum() for row, places in zip(changes, drawn, strict=True)])


def negative_token_rewards(
    chosen_hidden: Tensor, chosen_residuals: Tensor, rejected_hidden: Tensor, rejected_residuals: Tensor
) -> tuple[Tensor, Tensor]:
    """`s-` of each token of y- [n-], and `s+` of each of y+ [n+], of NTHR (Deng et al. 2025, arXiv 2505.18830, eq. 7).

    `s-[k'] = sum over k of <r+_k, r-_k'> <h+_k, h-_k'>`: to first order in the unembedding, how far ln p(y+) falls when
    that token of y- is pushed down. `s+` is the same of y+'s own tokens.

    Args:
        chosen_hidden: the states that predict y+'s tokens [n+, d].
        chosen_residuals: one-hot of the token less its prediction [n+, vocabulary] (`token_residuals`).
        rejected_hidden: of y- [n-, d].
        rejected_residuals: of y- [n-, vocabulary].
    """
    minus = (chosen_residuals @ rejected_residuals.T) * (chosen_hidden @ rejected_hidden.T)
    plus = (chosen_residuals @ chosen_residuals.T) * (chosen_hidden @ chosen_hidden.T)
    return minus.sum(0), plus.sum(0)


def spared_weights(negative: Tensor, positive: Tensor) -> Tensor:
    """The weight of each token of y- [n-]: 0 where its `s-` is above the mean `s+` (the paper's beta is 1), else 1.

    The paper's eta = 2 |1/2 - p| is 0 for a group of one good and one bad answer.
    """
    return (negative <= positive.mean()).to(negative.dtype)


def rejected_token_weights(model: PreTrainedModel, tokens: Mapping[str, Tokens]) -> dict[str, list[float]]:
    """NTHR's weights of the tokens of y-, by `pair_id`.

    Args:
        model: the starting model, a causal language model; left in the mode it was in.
        tokens: the pairs as they are trained on.
    """
    weights: dict[str, list[float]] = {}
    with evaluation_mode(model), console.progress_bar("Weighing tokens", len(tokens), "pairs") as advance:
        for name, pair in tokens.items():
            sides = [_states_and_residuals(model, pair.prompt, answer) for answer in (pair.chosen, pair.rejected)]
            rewards = negative_token_rewards(*sides[0], *sides[1])
            weights[name] = spared_weights(*rewards).tolist()
            advance(1)
    return weights


def _states_and_residuals(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> tuple[Tensor, Tensor]:
    """The states that predict an answer's tokens [n, d], and their residuals [n, vocabulary], in float32 at least."""
    whole = tuple(prompt + answer)
    hidden, paths = padded_pass(decoder_body(model), [whole])
    states = hidden[paths[whole][len(prompt) - 1 : -1].to(hidden.device)]
    return states.float(), token_residuals(unembed(model, states), torch.tensor(answer, device=states.device))
