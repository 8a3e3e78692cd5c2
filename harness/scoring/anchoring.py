"""The starting model's next-token distributions along the answers, kept as hidden states and its unembedding.

A divergence from the start needs both models' whole distributions at one place. Hidden states are d numbers a place
where a distribution has as many as the vocabulary; with the start's own unembedding they give it back, so that the
start is not run again beside every model that is compared with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn.functional import linear

from harness.scoring.unembedding import LogitScaling, logit_scaling, scale_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel


Side = Literal["chosen", "rejected"]

ANCHORED_PAIRS = 512
"""Pairs, evenly spaced, whose answers' first places are kept: at 4096 numbers a state some 130 MB in 16 bits."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """One model's distributions at the first places of answers.

    Attributes:
        states: by side, hidden states [places, d] in the model's own type, pair by pair; each predicts a token.
        begins: by side and `pair_id`, the rows of `states` that are of this answer.
        weight: the unembedding [vocabulary, d].
        bias: its bias [vocabulary], if it has one.
        scaling: what the model does to its logits behind that.
    """

    states: Mapping[Side, Tensor]
    begins: Mapping[Side, Mapping[str, range]]
    weight: Tensor
    bias: Tensor | None
    scaling: LogitScaling

    def rows_of(self, side: Side, name: str, length: int) -> list[int]:
        """The row of `states` for each of an answer's places, -1 where none is kept."""
        kept = self.begins[side].get(name, range(0))
        return [*kept[:length], *[-1] * (length - len(kept))]

    def to_device(self, device: torch.device) -> Anchor:
        """The same with its unembedding on a device; the states stay where they are."""
        return replace(self, weight=self.weight.to(device), bias=None if self.bias is None else self.bias.to(device))

    def logprobs(self, side: Side, rows: Tensor) -> Tensor:
        """Ln p over the vocabulary at these rows [n] of a side, on the CPU -> [n, vocabulary]."""
        states = self.states[side][rows].to(self.weight.device)
        return scale_logits(linear(states, self.weight, self.bias), self.scaling).log_softmax(-1)


def keep_anchor(model: PreTrainedModel, kept: Mapping[Side, Mapping[str, Tensor]]) -> Anchor:
    """An anchor of a model's hidden states [places, d] by side and `pair_id`; all on the CPU, as copies."""
    begins: dict[Side, dict[str, range]] = {}
    for side, by_name in kept.items():
        begins[side], start = {}, 0
        for name, rows in by_name.items():
            begins[side][name] = range(start, start + len(rows))
            start += len(rows)
    states = {side: torch.cat([*by_name.values()]) for side, by_name in kept.items()}
    return Anchor(states, begins, *_head_weights(model, states["chosen"]), logit_scaling(model))


def head_device(model: PreTrainedModel) -> torch.device:
    """Where a model's unembedding is; the CPU for one that is brought to a device only while it works."""
    device: torch.device = next(model.get_output_embeddings().parameters()).device
    return torch.device("cpu") if device.type == "meta" else device


@torch.no_grad()
def _head_weights(model: PreTrainedModel, states: Tensor) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of a model's unembedding of states of this width and type."""
    head, device = model.get_output_embeddings(), head_device(model)
    if type(head) is torch.nn.Linear and head.weight.device == device:
        return _copied(head.weight), None if head.bias is None else _copied(head.bias)
    # An adapter's parts, quantized or offloaded numbers: what the layer makes of each unit vector is its weight.
    units = torch.eye(states.shape[1], dtype=states.dtype, device=device)
    bias = head(torch.zeros_like(units[:1]))
    return _copied((head(units) - bias).T), _copied(bias[0])


def _copied(weights: Tensor) -> Tensor:
    return weights.detach().to("cpu", copy=True).contiguous()
