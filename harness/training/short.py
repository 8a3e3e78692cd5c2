"""Many short trainings of one model that stays in memory: the objective and the optimizer of `harness.training.train`.

A trainer's set-up costs a small model more than its steps. Here the pairs are cut into tokens once, the weights put
back before each training, and each distinct token of a batch computed once. What is computed is the same: a test holds
the weights against TRL's.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from harness.preferences.tokens import Tokens
from harness.recipes.schema import TrainingSettings
from harness.scoring.logprobs import PairLogprobs
from harness.scoring.packing import choose_pass, decoder_body
from harness.scoring.unembedding import token_logprobs
from harness.support.errors import HarnessError
from harness.training.losses import LogprobBatch, ipo_sequence_loss, sft_loss

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from harness.recipes.schema import Arm


class ShortTrainings:
    """Trains one model again and again on pairs of one table, each time from the weights that it came with.

    Args:
        model: a causal language model in float32, on any device.
        tokens: the table's pairs by `pair_id`, as they are trained on.
        reference: the model's ln p of them.
        settings: learning rate, beta and batch; `lora`, `launch` and mixed precision are for `train_on_pairs`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: Mapping[str, Tokens],
        reference: Mapping[str, PairLogprobs],
        settings: TrainingSettings,
    ) -> None:
        self.model, self.tokens, self.reference, self.settings = model, tokens, reference, settings
        self._start = {name: each.detach().clone() for name, each in model.named_parameters()}
        self._pass = choose_pass(decoder_body(model), tell=False)

    def train(self, pairs: Sequence[str], arm: Arm, steps: int, seed: int, label: str) -> None:
        """Trains the model, from its starting weights, on these pairs; they go by in another order each epoch.

        Args:
            pairs: by `pair_id`.
            arm: the objective, `sigmoid` or `ipo_sequence`, and its SFT term.
            steps: optimizer steps.
            seed: of the order.
            label: what the training is called where it diverges, which raises HarnessError.
        """
        self.restore()
        self.model.eval()  # TRL switches dropout off too
        optimizer = torch.optim.RMSprop(self.model.parameters(), lr=arm.learning_rate or self.settings.learning_rate)
        for _, batch in zip(range(steps), _draw_batches(pairs, self.settings.batch_size, seed), strict=False):
            optimizer.zero_grad()
            with torch.enable_grad():
                loss = self._losses(batch, arm).mean()
                loss.backward()  # type: ignore[no-untyped-call]
            if not torch.isfinite(loss):
                raise HarnessError("the training diverged", place=label, hint="Lower training.learning_rate.")
            optimizer.step()

    def restore(self) -> None:
        """Puts the starting weights back."""
        with torch.no_grad():
            for name, each in self.model.named_parameters():
                each.copy_(self._start[name])

    def _losses(self, pairs: Sequence[str], arm: Arm) -> Tensor:
        """The loss of each pair [n]."""
        tokens = [self.tokens[name] for name in pairs]
        sums = self._answer_logprobs(
            [(each.prompt, answer) for each in tokens for answer in (each.chosen, each.rejected)]
        )
        references = [self.reference[name] for name in pairs]
        told = [
            torch.tensor(values, device=sums.device)
            for values in (
                [each.chosen for each in references],
                [each.rejected for each in references],
                [len(each.chosen) for each in tokens],
                [len(each.rejected) for each in tokens],
            )
        ]
        batch = LogprobBatch(sums[0::2], sums[1::2], *told)
        beta = arm.beta or self.settings.beta
        loss = ipo_sequence_loss(batch, beta) if arm.loss == "ipo_sequence" else -logsigmoid(beta * batch.margin)
        return loss + arm.sft_weight * sft_loss(batch)

    def _answer_logprobs(self, answers: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        """Ln p of each answer given its prompt [n]."""
        whole = [tuple(prompt + answer) for prompt, answer in answers]
        hidden, paths = self._pass(decoder_body(self.model), whole)
        before = [paths[ids][len(prompt) - 1 : -1] for ids, (prompt, _) in zip(whole, answers, strict=True)]
        tokens = torch.tensor([token for _, answer in answers for token in answer], device=hidden.device)
        logprobs = token_logprobs(self.model, hidden[torch.cat(before).to(hidden.device)], tokens)
        return torch.stack([part.sum() for part in torch.split(logprobs, [len(answer) for _, answer in answers])])


def _draw_batches(pairs: Sequence[str], size: int, seed: int) -> Iterator[Sequence[str]]:
    """Batches without end: every epoch holds each pair once, in an order of its own; its last batch may be smaller."""
    draw = random.Random(seed)
    while True:
        order = draw.sample([*pairs], len(pairs))
        for start in range(0, len(order), size):
            yield order[start : start + size]
