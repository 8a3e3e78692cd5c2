"""What a run will cost, by arithmetic alone: tokens of a stage, memory of a kind of work, seconds at a measured speed.

A token is `read` in a forward pass, `trained` on in a forward and a backward pass, or `written` by sampling.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


LOGITS = 2**26
"""Logits that `harness.scoring.logprobs` holds at once, in float32."""


# Tokens


@dataclass(frozen=True, slots=True)
class Workload:
    """What a stage does with the model. `openings`: prompts of which it is read how answers start."""

    pairs: int = 0
    prompts: int = 0
    answers: int = 0
    steps: int = 0
    openings: int = 0
    read: int = 0
    trained: int = 0
    written: int = 0

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.read + self.trained + self.written


@dataclass(frozen=True, slots=True)
class TokenTable:
    """A table of pairs in tokens: their number, and the sums of their prompts' tokens and of both answers'."""

    pairs: int
    prompt_tokens: int
    answer_tokens: int

    @property
    def sequences(self) -> int:
        """Tokens where each answer is read behind its own copy of the prompt, as in training."""
        return 2 * self.prompt_tokens + self.answer_tokens

    def tokens_for(self, pairs: int) -> int:
        """Tokens of so many of its pairs' sequences, at the mean of all, rounded up."""
        return -(-pairs * self.sequences // self.pairs) if self.pairs else 0


def unsampled_table(prompts: Sequence[int], answer: int, max_length: int | None) -> TokenTable:
    """The table that sampling two answers to each prompt may give: at most one pair a prompt.

    Args:
        prompts: tokens of each prompt.
        answer: tokens of an answer.
        max_length: of prompt and answer together, cut as the training cuts.
    """
    limit = max_length if max_length is not None else max(prompts, default=0) + answer
    cut = [min(prompt, limit) for prompt in prompts]
    return TokenTable(len(cut), sum(cut), sum(2 * min(answer, limit - prompt) for prompt in cut))


def sampling_work(prompts: Sequence[int], samples: int, answer: int) -> Workload:
    """So many answers of so many tokens to prompts of these lengths."""
    answers = samples * len(prompts)
    return Workload(prompts=len(prompts), answers=answers, read=samples * sum(prompts), written=answers * answer)


def scoring_work(table: TokenTable) -> Workload:
    """Scores: each prompt is read once for both of its answers; pairs that begin alike take less."""
    return Workload(pairs=table.pairs, read=table.prompt_tokens + table.answer_tokens)


def reference_work(table: TokenTable, others: Iterable[TokenTable], prompts: Sequence[int], openings: int) -> Workload:
    """Ln p of all pairs; the pairs' prompts and those of the evaluation once more, to find the nearest."""
    tables = (table, *others)
    read = sum(each.sequences for each in tables) + table.prompt_tokens + sum(prompts)
    return Workload(pairs=sum(each.pairs for each in tables), prompts=len(prompts), openings=openings, read=read)


def difficulty_work(table: TokenTable, runs: int, epochs: int, batch: int) -> Workload:
    """Trainings on both halves of the pairs, `runs` times, and each time ln p of the other half."""
    halves = table.pairs // 2, table.pairs - table.pairs // 2
    steps = runs * epochs * sum(-(-half // batch) for half in halves)
    return Workload(table.pairs, steps=steps, trained=runs * epochs * table.sequences, read=runs * table.sequences)


def influence_work(table: TokenTable, probes: TokenTable, targets: int, preferred: bool) -> Workload:
    """Scores, three passes over the table for both halves of each target, and the targets' gradients.

    Args:
        table: the pairs.
        probes: probe answers, each behind its prompt.
        targets: their number.
        preferred: whether one of them is ln p of the pairs' own preferred answers.
    """
    read = table.prompt_tokens + table.answer_tokens
    asked = (targets - preferred) * (probes.prompt_tokens + probes.answer_tokens)
    return Workload(pairs=table.pairs, read=(1 + 3 * targets) * read, trained=asked + preferred * read)


def training_work(
    pool: TokenTable, kept: int, steps: int, batch: int, measured: TokenTable, others: int, openings: int
) -> Workload:
    """DPO on `kept` pairs of a pool, then ln p of the `measured` pairs and of those `others` of the pool it saw."""
    trained = pool.tokens_for(pairs_seen(kept, steps, batch))
    return Workload(
        kept, steps=steps, openings=openings, trained=trained, read=measured.sequences + pool.tokens_for(others)
    )


def pairs_seen(pairs: int, steps: int, batch: int) -> int:
    """Pairs that so many steps train on, those that come again counted again; an epoch's last batch may be smaller."""
    an_epoch = -(-pairs // batch)
    return steps // an_epoch * pairs + steps % an_epoch * batch if an_epoch else 0


def pairs_kept(pairs: int, share: float | None) -> int:
    """Pairs that a filter by a share leaves, rounded up as `harness.scoring.filtering` does; all without one."""
    return pairs if share is None else ceil(Fraction(str(share)) * pairs)


# Memory


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
    """One micro-batch of `tokens` tokens, padding included, forward and backward, and the optimizer's step.

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


# Time


@dataclass(frozen=True, slots=True)
class Writing:
    """How sampling went: seconds that a batch takes for a token each, tokens of the mean and of the longest answer."""

    step: float
    mean: int
    longest: int


@dataclass(frozen=True, slots=True)
class Speed:
    """What a short trial of each kind of work measured, in seconds; None where it could not be.

    Attributes:
        load: of loading the model.
        read: a token in a forward pass.
        opening: a prompt, to read how answers start.
        sampling: the pairs' answers.
        evaluation: the evaluation's answers.
        trained: a token in a forward and backward pass, its share of the optimizer's step included.
        training_setup: a training before its first step, loading included.
        evaluation_setup: an evaluation with nothing to answer, loading included.
        imports: loading TRL and lm-eval.
    """

    load: float
    read: float
    opening: float
    sampling: Writing | None = None
    evaluation: Writing | None = None
    trained: float | None = None
    training_setup: float | None = None
    evaluation_setup: float | None = None
    imports: float = 0.0


def expected_lengths(lengths: Sequence[int], limit: int, most: int) -> tuple[int, int]:
    """Expected tokens of the mean and of the longest answer, from answers cut at `limit` tokens.

    Where some were cut, the mean is that of a constant chance to end after each token (tokens written over answers
    ended, the maximum-likelihood estimate under censoring), and the longest has `most` tokens, the most it may have.
    """
    ended = sum(length < limit for length in lengths)
    whole = ended == len(lengths) or limit >= most
    mean = most if not ended and not whole else ceil(sum(lengths) / (len(lengths) if whole else ended))
    return min(mean, most), max(lengths) if whole else most


def reading_seconds(work: Workload, speed: Speed) -> float:
    """A stage that only reads."""
    return speed.load + work.read * speed.read + work.openings * speed.opening


def training_seconds(work: Workload, speed: Speed, trainings: int = 1) -> float | None:
    """One training or several, and what they read afterwards."""
    if speed.trained is None or speed.training_setup is None:
        return None
    reading = work.read * speed.read + work.openings * speed.opening
    return trainings * speed.training_setup + work.trained * speed.trained + reading


def writing_seconds(
    work: Workload, speed: Speed, writing: Writing | None, batch: int, setup: float | None
) -> float | None:
    """Answers in batches; a batch goes on until its longest answer has ended."""
    if writing is None or setup is None:
        return None
    return setup + work.read * speed.read + -(-work.answers // batch) * writing.longest * writing.step


def makespan(seconds: Iterable[float], processes: int) -> float:
    """When the last of some pieces ends that so many processes take one by one, in their order."""
    free = [0.0] * processes
    for piece in seconds:
        heapq.heapreplace(free, free[0] + piece)
    return max(free)


def wall_clock(shared: float, pieces: Sequence[float], imports: float, processes: int) -> float:
    """The stages before the arms, then the arms beside each other, whose imports run beside the former."""
    before = max(shared, imports) if processes > 1 else shared + imports
    return before + makespan(pieces, processes)
