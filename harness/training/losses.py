"""Preference losses that TRL's DPOTrainer lacks, as pure functions of a batch's summed log-probabilities.

TRL's own stay TRL's (`harness.training.trl`). `sft_loss` and `ipo_sequence_loss` are here because the paper's code
(github.com/princeton-nlp/unintentional-unalignment) has them over whole answers, and TRL averages over tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import logsigmoid


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

    @property
    def margin(self) -> Tensor:
        """How much more than the starting model the model prefers the chosen answer: DPO's implicit reward / beta."""
        return (self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected)


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


def _logistic_loss(margin: Tensor) -> Tensor:
    return -logsigmoid(margin)
