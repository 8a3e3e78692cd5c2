"""Preference losses that TRL's DPOTrainer lacks, as pure functions of a batch's summed log-probabilities.

TRL's own stay TRL's (`harness.training.trl`). `sft_loss` and `ipo_sequence_loss` are here because the paper's code
(github.com/princeton-nlp/unintentional-unalignment) has them over whole answers, and TRL averages over tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

_ABSENT = torch.empty(0)
_LARGEST_LOG = -1e-6
"""Ln of a probability that is taken to be below 1: beyond it ln (1 - p) has no number in float32."""


@dataclass(frozen=True, slots=True)
class LogprobBatch:
    """Ln p(y|x) of each pair's two answers, in nats, summed over their tokens; every tensor has shape (pairs,).

    `chosen`, `rejected`: under the model in training. `reference_*`: under the starting model. `*_tokens`: lengths,
    the end of turn included.
    """

    chosen: Tensor
    rejected: Tensor
    reference_chosen: Tensor
    reference_rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    chosen_pilot: Tensor = _ABSENT
    rejected_pilot: Tensor = _ABSENT
    reward_difference: Tensor = _ABSENT

    @property
    def chosen_change(self) -> Tensor:
        """How far ln p(y+|x) has moved from the starting model's: the implicit reward / beta of the chosen answer."""
        return self.chosen - self.reference_chosen

    @property
    def rejected_change(self) -> Tensor:
        """The same of ln p(y-|x)."""
        return self.rejected - self.reference_rejected

    @property
    def margin(self) -> Tensor:
        """How much more than the starting model the model prefers the chosen answer: DPO's implicit reward / beta."""
        return self.chosen_change - self.rejected_change


def dpo_loss(batch: LogprobBatch, beta: float) -> Tensor:
    """DPO (Rafailov et al. 2023, arXiv 2305.18290, eq. 7), for weighted tokens; TRL's `sigmoid` weighs all alike."""
    return _logistic_loss(beta * batch.margin)


def sft_loss(batch: LogprobBatch) -> Tensor:
    """-ln p(y+|x): the term added to DPO in Razin et al. 2025, section 6, and to CPO (Xu et al. 2024, eq. 5)."""
    return -batch.chosen


def ipo_sequence_loss(batch: LogprobBatch, beta: float) -> Tensor:
    """IPO (Azar et al. 2024, eq. 17) on whole answers, as in Razin et al.'s code; TRL's `ipo` averages over tokens."""
    return (batch.margin - 1 / (2 * beta)) ** 2


def cpo_loss(batch: LogprobBatch, beta: float) -> Tensor:
    """CPO's preference term (Xu et al. 2024, arXiv 2401.08417, eq. 3-5): DPO with a uniform reference model."""
    return _logistic_loss(beta * (batch.chosen - batch.rejected))


def dpop_loss(batch: LogprobBatch, beta: float, penalty: float) -> Tensor:
    """DPO-Positive (Pal et al. 2024, arXiv 2402.13228, eq. 3): pays `penalty` a nat where ln p(y+) has fallen."""
    fallen = (batch.reference_chosen - batch.chosen).clamp(min=0)
    return _logistic_loss(beta * (batch.margin - penalty * fallen))


def simpo_loss(batch: LogprobBatch, beta: float, target_margin: float) -> Tensor:
    """SimPO (Meng et al. 2024, arXiv 2405.14734, eq. 6): mean log-probabilities a token, at least a margin apart."""
    return _logistic_loss(
        beta * (batch.chosen / batch.chosen_tokens - batch.rejected / batch.rejected_tokens) - target_margin
    )


def alphapo_loss(batch: LogprobBatch, beta: float, target_margin: float, alpha: float) -> Tensor:
    """AlphaPO (Gupta et al. 2025, arXiv 2501.03884): SimPO with the reward beta (1 - p^-alpha) / alpha.

    p is the geometric mean of the answer's token probabilities; alpha -> 0 gives SimPO.
    """
    rewards = [
        -(-alpha * logprob / tokens).expm1() / alpha
        for logprob, tokens in ((batch.chosen, batch.chosen_tokens), (batch.rejected, batch.rejected_tokens))
    ]
    return _logistic_loss(beta * (rewards[0] - rewards[1]) - target_margin)


def dpo_shift_loss(batch: LogprobBatch, beta: float, rejected_weight: float) -> Tensor:
    """DPO-Shift (Yang et al. 2025, arXiv 2502.07599): DPO, and the reward of y- times a constant f(lambda)."""
    return _logistic_loss(beta * (batch.chosen_change - rejected_weight * batch.rejected_change))


def sgdpo_loss(batch: LogprobBatch, beta: float) -> Tensor:
    """SGDPO (Zhu et al. 2025, arXiv 2505.12435): the mean of two DPO losses, in each of which one answer moves.

    The other is stood in for by its pilot term, which is constant; as in the authors' code (github.com/WNQzhu/SGDPO).
    """
    chosen_moves = _logistic_loss(beta * (batch.chosen_change - batch.rejected_pilot.detach()))
    rejected_moves = _logistic_loss(beta * (batch.chosen_pilot.detach() - batch.rejected_change))
    return (chosen_moves + rejected_moves) / 2


def pro_loss(batch: LogprobBatch, beta: float, alpha: float) -> Tensor:
    """PRO (Guo et al. 2025, arXiv 2505.23316): DPO's optimizer, and its regulariser over all answers there are.

    DPO is -(r+ - r-) / 2 + KL(1/2 || sigmoid(r+ - r-)) + ln 2. PRO takes that KL between y+, y- and the hyper-response,
    which stands for every other answer and has what probability the two leave. `alpha` weighs all three; 1 is DPO's.
    """
    chosen, rejected = beta * batch.chosen_change, beta * batch.rejected_change
    left = _log_left(batch.chosen, batch.rejected) - _log_left(batch.reference_chosen, batch.reference_rejected)
    others = beta * left
    gaps = (chosen - rejected, chosen - others, rejected - others)
    return alpha * sum((_coin_divergence(gap) for gap in gaps), torch.zeros_like(others)) - gaps[0] / 2


def reward_distillation_loss(batch: LogprobBatch, beta: float) -> Tensor:
    """Reward-model distillation (Fisch et al. 2024, arXiv 2405.19316): the implicit margin is regressed on rewards."""
    return (batch.reward_difference - beta * batch.margin) ** 2


def pipa_loss(batch: LogprobBatch, beta: float) -> Tensor:
    """PIPA-N by answers (Li et al. 2025, arXiv 2502.05773): each answer's label by its own likelihood.

    Bayes' rule with the prior p(y|x, bad) = p_reference(y|x), and p(good|x) = 1/2 as in pairs; beta is 1 in the paper.
    """
    return _logistic_loss(beta * batch.chosen_change) + _logistic_loss(-beta * batch.rejected_change)


def ccpo_loss(batch: LogprobBatch, beta: float) -> Tensor:
    """The loss cCPO (Richardson et al. 2025, arXiv 2412.17696): odds p+ / ((1 - p+) p-), of y+ to "y-, and not y+".

    p is the geometric mean of the answer's token probabilities, as in ORPO; beta is 1 in the paper.
    """
    chosen, rejected = batch.chosen / batch.chosen_tokens, batch.rejected / batch.rejected_tokens
    return _logistic_loss(beta * (chosen - _log_complement(chosen) - rejected))


def _logistic_loss(margin: Tensor) -> Tensor:
    return -logsigmoid(margin)


def _coin_divergence(logit: Tensor) -> Tensor:
    """KL (nats) of a coin with this logit from a fair one."""
    return -(logsigmoid(logit) + logsigmoid(-logit)) / 2 - math.log(2)


def _log_left(first: Tensor, second: Tensor) -> Tensor:
    """Ln of the probability that two answers leave to all others."""
    return _log_complement(torch.logaddexp(first, second))


def _log_complement(logprob: Tensor) -> Tensor:
    """Ln (1 - p)."""
    return (-logprob.clamp(max=_LARGEST_LOG).expm1()).log()
