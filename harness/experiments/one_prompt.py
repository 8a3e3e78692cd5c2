"""Training on one prompt and two answers of one token: DPOTrainer's steps, with the next-token distribution at each.

Both answers follow the same prompt, so one pass over it gives both log-probabilities; what normalises them cancels in
their difference, so every row of the unembedding but the two answers' has a gradient of 0, and RMSProp leaves it where
it is. Of the embeddings, then, only the rows of the prompt's tokens and of the answers are held as weights: gradients
and averages for a vocabulary of 262,144 are most of a small model's step. A test holds the course against TRL's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from harness.experiments.schema import Objective
from harness.experiments.trial import OneTokenPair, next_token_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GRADIENT_STEP = 0.1
"""Nats by which a plain gradient step raises the preference: much for float32, little for the model."""


class PromptTrainings:
    """Trains one model again and again, each time on one prompt and from the weights that it came with.

    `tied`: whether its input embeddings are its output embeddings.

    Args:
        model: a causal language model in float32, on any device; between trainings its embeddings are whole.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model.eval()  # TRL switches dropout off too
        self._embedding, self._head = model.get_input_embeddings(), model.get_output_embeddings()
        self.tied = self._head.weight is self._embedding.weight
        tables = {id(self._embedding.weight), id(self._head.weight)}
        self._body = [each for each in model.parameters() if id(each) not in tables]
        self._start = [each.detach().clone() for each in self._body]

    @property
    def unembedding(self) -> Tensor:
        """The rows of `W` [vocabulary, d] in float32 on the CPU; never trained."""
        rows: Tensor = self._head.weight.detach().float().cpu()
        return rows

    def train(self, tokens: OneTokenPair, objective: Objective, steps: int) -> Iterator[tuple[Tensor, float]]:
        """At each step, from 0 to `steps`: ln p of every token after the prompt [vocabulary], on the CPU; and the loss.

        Each is of the weights after so many optimizer steps, which are taken as they are asked for.
        """
        self._restore()
        rows = sorted({*tokens.prompt, tokens.chosen, tokens.rejected})
        with self._train_rows_alone(rows) as tables:
            optimizer = torch.optim.RMSprop([*self._body, *tables], lr=objective.learning_rate)
            start = None
            for step in range(steps + 1):
                logits = next_token_logits(self.model, tokens.prompt)
                preference = logits[tokens.chosen] - logits[tokens.rejected]
                start = preference.detach() if start is None else start
                loss = preference_loss(objective, preference - start)
                yield logits.detach().log_softmax(-1).cpu(), float(loss.detach())
                if step < steps:
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()

    def gradient_change(self, tokens: OneTokenPair) -> Tensor:
        """Change of ln p of every token after the prompt [vocabulary] by one plain gradient step, on the CPU.

        The step raises the preference, ln p(y+) - ln p(y-), by about `GRADIENT_STEP` nats. It is what Theorem 2 is
        about but for the layers below the hidden state; RMSProp's first step only takes the gradient's signs.
        """
        self._restore()
        with self._train_rows_alone(sorted({*tokens.prompt, tokens.chosen, tokens.rejected})) as tables:
            weights = [*self._body, *tables]
            before = next_token_logits(self.model, tokens.prompt)
            preference = before[tokens.chosen] - before[tokens.rejected]
            gradients = torch.autograd.grad(preference, weights, materialize_grads=True)
            with torch.no_grad():
                size = GRADIENT_STEP / sum(float(each.square().sum()) for each in gradients)
                for weight, gradient in zip(weights, gradients, strict=True):
                    weight.add_(gradient, alpha=size)
                after = next_token_logits(self.model, tokens.prompt)
        return (after.log_softmax(-1) - before.detach().log_softmax(-1)).cpu()

    def _restore(self) -> None:
        with torch.no_grad():
            for each, start in zip(self._body, self._start, strict=True):
                each.copy_(start)

    @contextmanager
    def _train_rows_alone(self, rows: list[int]) -> Iterator[list[nn.Parameter]]:
        """In the block these rows of the embeddings are the only ones that are weights; gives them, as new tables."""
        embedding, head, whole = self._embedding, self._head, self._embedding.weight
        ids = torch.tensor(rows, device=whole.device)
        places = torch.zeros(len(whole), dtype=torch.long, device=whole.device)
        places[ids] = torch.arange(len(rows), device=whole.device)
        table = nn.Parameter(whole.detach()[ids])
        output = table if self.tied else nn.Parameter(head.weight.detach()[ids])
        padding = embedding.padding_idx  # torch gives this row no gradient
        hook = embedding.register_forward_pre_hook(lambda _, ids: (places[ids[0]],))
        embedding.weight, embedding.padding_idx = table, rows.index(padding) if padding in rows else None
        self.model.set_output_embeddings(_PartlyTrained(head, ids, output))
        try:
            yield [table] if self.tied else [table, output]
        finally:
            hook.remove()
            embedding.weight, embedding.padding_idx = whole, padding
            self.model.set_output_embeddings(head)


class _PartlyTrained(nn.Module):
    """An output embedding of which some rows are trained: `table` [n, d] stands for the rows `ids` [n] of `whole`."""

    def __init__(self, whole: nn.Module, ids: Tensor, table: nn.Parameter) -> None:
        super().__init__()
        self.whole, self.ids, self.weight = whole, ids, table

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits [..., vocabulary] of hidden states [..., d]."""
        with torch.no_grad():
            logits: Tensor = self.whole(hidden)
        bias = getattr(self.whole, "bias", None)
        return logits.index_copy(-1, self.ids, linear(hidden, self.weight, None if bias is None else bias[self.ids]))


def preference_loss(objective: Objective, margin: Tensor) -> Tensor:
    """DPO (Rafailov et al. 2023, eq. 7) or IPO (Azar et al. 2024, eq. 17) of a margin over the reference's, in nats."""
    if objective.loss == "ipo":
        return (margin - 1 / (2 * objective.beta)) ** 2
    return -logsigmoid(objective.beta * margin)
