"""A training's batches with each distinct token computed once: no padding, and a prompt once for all its answers.

TRL's trainer asks the model for a padded batch, each answer behind its own copy of the prompt. The model's forward here
lays the batch out as a trie (`harness.scoring.packing`), passes that on, and gives back what TRL would have got, so the
objectives and the trainer's metrics stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.recipes.schema import Lora
from harness.scoring.packing import (
    AttentionPlan,
    base_implementation,
    build_trie,
    decoder_body,
    follow_plan,
    plan_attention,
    positions_depend_on_batch,
    trie_doubts,
)

_UNTRAINED = -100
"""The label of a token that is not trained on, as torch has it."""
_BITS = 32
"""Of a token id, in a number for a node and the token that it predicts."""


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """A padded batch as a trie of `nodes` distinct tokens, with `m` predictions of tokens that are trained on.

    Attributes:
        tokens: token ids [nodes].
        depths: their places in their sequences [nodes].
        plan: how they attend.
        predicting: the node of each prediction [m].
        labels: the token that is to be predicted [m].
        trained: where in the padded batch a token is trained on, the first column left out [rows, n - 1].
        places: which prediction it is there [rows, n - 1]; 0 elsewhere.
    """

    tokens: Tensor
    depths: Tensor
    plan: AttentionPlan
    predicting: Tensor
    labels: Tensor
    trained: Tensor
    places: Tensor

    def unpack(self, values: Tensor) -> Tensor:
        """Values of the predictions [m], as TRL has them [rows, n - 1]; zero where no token is trained on."""
        return values[self.places].masked_fill(~self.trained, 0)


def pack_batch(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, base: str = "sdpa") -> PackedBatch:
    """Lays out a batch as TRL pads it.

    Args:
        input_ids: token ids [rows, n].
        attention_mask: 1 at each token, 0 at the padding behind them [rows, n].
        labels: the token ids that are trained on, -100 elsewhere [rows, n].
        base: the attention of each bucket, `sdpa` or `eager`.
    """
    ids, trained = input_ids.cpu(), labels.cpu()[:, 1:] != _UNTRAINED
    # A row's last token predicts nothing.
    rows = [tuple(row[: length - 1]) for row, length in zip(ids.tolist(), attention_mask.sum(1).tolist(), strict=True)]
    trie = build_trie(rows)
    nodes = torch.zeros_like(trained, dtype=torch.long)
    for places, row in zip(nodes, rows, strict=True):
        places[: len(row)] = trie.paths[row]
    # A node that two answers follow predicts a token for each, from one state: what the two push alike cancels exactly.
    predictions, chosen = torch.unique((nodes[trained] << _BITS) | ids[:, 1:][trained], return_inverse=True)
    device = input_ids.device
    return PackedBatch(
        trie.tokens.to(device),
        trie.depths.to(device),
        plan_attention(trie.segments, len(trie.tokens), device, base),
        (predictions >> _BITS).to(device),
        (predictions & ((1 << _BITS) - 1)).to(device),
        trained.to(device),
        torch.zeros_like(nodes).masked_scatter_(trained, chosen).to(device),
    )


def packing_doubts(model: PreTrainedModel, lora: Lora | None) -> str | None:
    """Why packed batches would not train this model as padded ones do, or None where they would."""
    if lora is not None and lora.dropout:
        return "dropout is drawn anew for each answer's copy of a prompt"
    if positions_depend_on_batch(decoder_body(model)):
        return "the rotary embedding depends on the batch"
    return trie_doubts(decoder_body(model.train()))  # in the mode that it is trained in


def pack_forward(model: PreTrainedModel) -> None:
    """Has a model with TRL's fused head compute packed batches where it is asked for log-probabilities.

    A training step of it, backward pass included, belongs into `harness.scoring.packing.use_trie_attention`.
    """
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    body, fused = decoder_body(model), inner.forward
    base = base_implementation(body)

    @wraps(type(inner).forward)  # `generate` reads the signature
    def forward_packed(*args: Any, fused_lm_head: bool = False, **inputs: Any) -> Any:
        if not fused_lm_head:
            return fused(*args, **inputs)
        batch = pack_batch(inputs.pop("input_ids"), inputs.pop("attention_mask"), inputs.pop("labels"), base)
        given = {"input_ids": batch.tokens, "position_ids": batch.depths, "shift_labels": batch.labels}
        rows = {name: value[None] for name, value in given.items()}
        # A mask of ones keeps transformers from reading the depths as the bounds of packed sequences.
        rows["attention_mask"] = torch.ones_like(rows["input_ids"])
        with follow_plan(batch.plan), _keep_states(body, batch.predicting):
            found = fused(**inputs, **rows, fused_lm_head=True)
        for name in [name for name, value in found.items() if value.ndim]:
            found[name] = batch.unpack(found[name][0])
        return found

    inner.forward = forward_packed


@contextmanager
def _keep_states(body: PreTrainedModel, nodes: Tensor) -> Iterator[None]:
    """Inside the block a body gives the states [1, m, d] of these nodes [m] only: a head projects all that it gets."""

    def keep(_module: object, _inputs: object, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state[:, nodes]
        return output

    handle = body.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()
