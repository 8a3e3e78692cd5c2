"""From hidden states to logits and the log-probabilities of tokens, never with the whole table's logits at once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from transformers import PreTrainedModel


LogitScaling = tuple[float, float, float | None]
"""What a model does to its logits behind the head: multiplies, divides, caps by a tangent (None: does not)."""

_LOGITS_AT_ONCE = 2**26
"""Logits held at once: rows of hidden states are projected to the vocabulary in slices of this many numbers."""


def unembed(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The model's own logits [n, vocabulary] for hidden states [n, d], with its scale or cap, in float32 or wider."""
    return scale_logits(model.get_output_embeddings()(hidden), logit_scaling(model))


def logit_scaling(model: PreTrainedModel) -> LogitScaling:
    """What a model does behind its head, where ours does not pass: Cohere multiplies, Granite divides, Gemma-2 caps."""
    config = model.config.get_text_config()
    scale, divisor = getattr(config, "logit_scale", 1.0), getattr(config, "logits_scaling", 1.0)
    return scale, divisor, getattr(config, "final_logit_softcapping", None)


def scale_logits(logits: Tensor, scaling: LogitScaling) -> Tensor:
    """What a head gives [n, vocabulary], as the model's logits in float32 or wider."""
    scale, divisor, cap = scaling
    logits = logits if logits.dtype == torch.float64 else logits.float()
    logits = logits if scale == 1 else logits * scale  # each would be another copy of what is largest here
    logits = logits if divisor == 1 else logits / divisor
    return logits if cap is None else cap * torch.tanh(logits / cap)


def token_logprobs(model: PreTrainedModel, hidden: Tensor, tokens: Tensor, temperature: float = 1.0) -> Tensor:
    """Ln p (nats) of `tokens` [n] where `hidden` [n, d] predicts them, sampled at a temperature -> [n].

    Logits are computed in slices, and where gradients are taken computed again on the way back instead of kept.
    """
    slice_logprobs = partial(_slice_logprobs, model, temperature)
    slices = split_rows(model, hidden, tokens)
    if torch.is_grad_enabled():
        return torch.cat([checkpoint(slice_logprobs, *part, use_reentrant=False) for part in slices])
    return torch.cat([slice_logprobs(*part) for part in slices])


def split_rows(model: PreTrainedModel, *parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of as many rows [n, ...] in slices alike, so that a slice's logits are few."""
    rows = max(1, _LOGITS_AT_ONCE // model.get_output_embeddings().weight.shape[0])
    return zip(*(torch.split(part, rows) for part in parts), strict=True)


def _slice_logprobs(model: PreTrainedModel, temperature: float, hidden: Tensor, tokens: Tensor) -> Tensor:
    logits = unembed(model, hidden)
    logprobs = (logits if temperature == 1 else logits / temperature).log_softmax(-1)
    return logprobs.gather(-1, tokens.to(logprobs.device)[:, None])[:, 0]
