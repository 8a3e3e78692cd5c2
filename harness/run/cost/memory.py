"""The memory of each kind of a run's work, by formula from the model's shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


LOGITS = 2**26
"""Logits that `harness.scoring.logprobs` holds at once, in float32."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a decoder's architecture its memory depends on.

    Attributes:
        parameters: their number, tied ones once.
        layers: their number.
        hidden: width of the residual stream.
        queries: heads times head size.
        keys: key-value heads times head size.
        feed_forward: width of the feed-forward block.
        vocabulary: number of tokens.
        weight_bytes: bytes of a parameter as published.
    """

    parameters: int
    layers: int
    hidden: int
    queries: int
    keys: int
    feed_forward: int
    vocabulary: int
    weight_bytes: int


def decoder_shape(config: PretrainedConfig, parameters: int, weight_bytes: int) -> Shape:
    """The shape that a configuration of transformers describes; a mixture of experts counts as one dense block."""
    text: Any = config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    key_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    feed_forward = getattr(text, "intermediate_size", None) or 4 * text.hidden_size  # GPT-2's default
    sizes = text.num_hidden_layers, text.hidden_size, text.num_attention_heads * head, key_heads * head
    return Shape(parameters, *sizes, feed_forward, text.vocab_size, weight_bytes)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process (on GPUs: of one GPU) at its peak. The libraries themselves are not in it."""

    weights: int
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    cache: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.cache


def scoring_memory(shape: Shape, tokens: int) -> Memory:
    """Forward passes over `tokens` tokens at once: weights, one layer's activations, a slice of logits.

    Without gradients a layer's tensors live until the next: its input, the normalised input, queries, keys, values,
    attention's output and the feed-forward block's three. ln p takes logits, their log-softmax and its exponential in
    float32, at most `LOGITS` at a time.
    """
    logits = 3 * 4 * min(LOGITS, tokens * shape.vocabulary)
    return Memory(_weights_size(shape), activations=max(_activation_bytes(shape) * tokens, logits))


def sampling_memory(shape: Shape, batch: int, prompt: int, answer: int) -> Memory:
    """A batch of answers: weights, the key-value cache, the prompts' forward pass, the last position's logits.

    The cache is 2 (key and value) x layers x width of the keys x bytes a token (Kwon et al. 2023, arXiv 2309.06180,
    section 3), for prompt and answer, of each row.
    """
    cache = 2 * shape.layers * shape.keys * shape.weight_bytes * batch * (prompt + answer)
    return Memory(
        _weights_size(shape),
        activations=_activation_bytes(shape) * batch * prompt + 3 * 4 * batch * shape.vocabulary,
        cache=cache,
    )


def training_memory(
    shape: Shape,
    tokens: int,
    *,
    on_gpu: bool,
    bf16: bool | None = None,
    adapted: int | None = None,
    quantized: bool = False,
    shards: int = 1,
) -> Memory:
    """One micro-batch of `tokens` tokens, forward and backward, and the optimizer's step.

    Args:
        shape: the model's.
        tokens: of a micro-batch.
        on_gpu: with checkpointed gradients.
        bf16: whether layers compute in bfloat16 under autocast; None: on a GPU they do.
        adapted: parameters of the adapters, where only they are trained.
        quantized: whether the weights are in 4 bits then (QLoRA: half a byte each, and the constants, .127 bits;
            arXiv 2305.14314, section 3).
        shards: processes that share weights, gradients and optimizer states.

    Weights and gradients are float32, and RMSProp keeps one average of squares (torch.optim.RMSprop without momentum):
    3 x 4 bytes a parameter, counted as in Rajbhandari et al. 2020 (ZeRO, arXiv 1910.02054, section 3.1). Autocast adds
    a bfloat16 copy of the weights, and on a GPU the optimizer's step a temporary float32 of each parameter.

    Activations as in Korthikanti et al. 2022 (arXiv 2205.05198, section 4), recounted for today's decoders: the
    backward pass of a layer needs, for each token, six rows of the residual's width (around two norms and two
    additions), the queries, keys, values and attention's output (no table of scores: attention is computed in blocks),
    and four rows of the feed-forward block's width. On a GPU gradients are checkpointed: only each layer's input stays,
    and one layer's are computed anew. TRL takes the log-probabilities in tiles, so logits hardly count.
    """
    autocast = on_gpu if bf16 is None else bf16
    inside = 2 if autocast else 4
    layer = 4 * 6 * shape.hidden + inside * (2 * shape.queries + 2 * shape.keys + 4 * shape.feed_forward)
    whole = 4 * shape.hidden * shape.layers + layer if on_gpu else layer * shape.layers
    trained = shape.parameters if adapted is None else adapted
    copies = 2 if autocast and not quantized else 0
    weights = (0.5 + 0.127 / 8 if quantized else 4 + copies) * shape.parameters + 4 * (adapted or 0)
    return Memory(
        round(weights / shards),
        gradients=4 * trained // shards,
        optimizer=4 * trained // shards,
        activations=max(whole * tokens, 4 * trained // shards if on_gpu else 0),
    )


def influence_memory(shape: Shape, tokens: int, targets: int, moved: float = 1.0) -> Memory:
    """The gradients of both halves of each target, and moved weights beside what they were, all in float32.

    Args:
        shape: the model's.
        tokens: of a backward pass.
        targets: their number.
        moved: the share of the weights that take part.
    """
    layer = 4 * (6 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 4 * shape.feed_forward)
    taking_part = round(moved * shape.parameters)
    return Memory(
        4 * (shape.parameters + taking_part),
        gradients=4 * 2 * targets * taking_part,
        activations=layer * shape.layers * tokens,
    )


def _weights_size(shape: Shape) -> int:
    return shape.parameters * shape.weight_bytes


def _activation_bytes(shape: Shape) -> int:
    """Bytes that a token's activations take in one layer without gradients."""
    widths = 2 * shape.hidden + 2 * shape.queries + 2 * shape.keys + 3 * shape.feed_forward
    return shape.weight_bytes * widths
