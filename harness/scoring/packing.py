"""Token sequences through a decoder body, each distinct token once.

The sequences of a pack are laid out as a trie: sorted, each contributing only what it does not share with the
one before. All linear layers see one dense row without padding; attention runs per sequence over its own path from
the root, with the mask the model itself asks for, so sliding windows and logit caps hold. Whether that is exact for a
model is tried on a few tokens before the run; where it is not, right-padded batches take over.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import embedding
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from harness.models.loading import refuse_encoder_decoder
from harness.preferences.tokens import common_prefix
from harness.support.console import print_note
from harness.support.errors import HarnessError

Sequences = Iterable[tuple[int, ...]]
Paths = dict[tuple[int, ...], Tensor]
Pass = Callable[[PreTrainedModel, Sequences], tuple[Tensor, Paths]]
"""Runs a decoder body over token sequences: hidden states [nodes, d], and where each sequence's rows are in them."""


PADDED_TOKENS = 2**14
"""Tokens of a padded batch, padding included, unless one sequence has more."""


# The trie of a pack, and the attention that follows its paths


@dataclass(frozen=True, slots=True)
class Segment:
    """What one sequence adds to a trie: of the nodes on its `path` [length], those from `shared` on are its own."""

    path: Tensor
    shared: int


@dataclass(frozen=True, slots=True)
class Trie:
    """Distinct tokens of a set of sequences: ids and depths [nodes], what each sequence added, and its way through."""

    tokens: Tensor
    depths: Tensor
    segments: list[Segment]
    paths: Paths


def build_trie(sequences: Sequences) -> Trie:
    """Lays out sequences so that each distinct prefix is one node, children after their parents."""
    tokens: list[int] = []
    depths: list[int] = []
    segments, paths = [], {}
    before: tuple[int, ...] = ()
    path = torch.empty(0, dtype=torch.long)
    # Once sorted, no earlier sequence shares more of a sequence's beginning than the one before it.
    for sequence in sorted(set(sequences)):
        shared = common_prefix(before, sequence)
        path = torch.cat([path[:shared], torch.arange(len(tokens), len(tokens) + len(sequence) - shared)])
        tokens.extend(sequence[shared:])
        depths.extend(range(shared, len(sequence)))
        segments.append(Segment(path, shared))
        paths[sequence] = path
        before = sequence
    return Trie(torch.tensor(tokens), torch.tensor(depths), segments, paths)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Segments attended together: `queries` [s, n] are their own nodes, `keys` [s, m] their paths, both padded with 0.

    `depths` [s, n] are the queries' places on their paths, `lengths` [s] the lengths of the paths.
    """

    queries: Tensor
    keys: Tensor
    depths: Tensor
    lengths: Tensor

    def key_mask(self, allowed: Callable[..., Tensor]) -> Tensor:
        """Which key each query may see, [s, 1, n, m], by the model's own rule on places in a sequence."""
        place = torch.arange(self.keys.shape[1], device=self.keys.device)
        # Zero is the batch's row, of which there is one, and the head, which no rule looks at.
        zero = torch.zeros((), dtype=torch.long, device=self.keys.device)
        seen = allowed(zero, zero, self.depths[:, :, None], place[None, None, :])
        # The padding of a path is node 0, a real token: causal rules hide it anyway, others might not.
        return (seen & (place < self.lengths[:, None, None]))[:, None]


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """How to attend within one trie: buckets, and where each node is in their outputs end to end (None: in order)."""

    buckets: list[Bucket]
    inverse: Tensor | None
    base: str


def plan_attention(segments: Sequence[Segment], nodes: int, device: torch.device, base: str) -> AttentionPlan:
    """Buckets for the segments; on a CPU of like sizes only, elsewhere of sizes up to the same multiple of 64."""
    # Padding costs a CPU more than another call; a GPU waits for calls, so there the buckets are fewer.
    grain = 1 if device.type == "cpu" else 64
    alike: dict[tuple[int, int], list[Segment]] = defaultdict(list)
    for segment in segments:
        length = len(segment.path)
        alike[-(-(length - segment.shared) // grain), -(-length // grain)].append(segment)
    buckets = [_make_bucket(group) for group in alike.values()]
    inverse, offset = torch.empty(nodes, dtype=torch.long), 0
    for group, bucket in zip(alike.values(), buckets, strict=True):
        for row, segment in enumerate(group):
            own = segment.path[segment.shared :]
            # Padded queries have outputs too, which no node points to.
            inverse[own] = torch.arange(len(own)) + offset + row * bucket.queries.shape[1]
        offset += bucket.queries.numel()
    moved = [Bucket(*(getattr(b, name).to(device) for name in Bucket.__slots__)) for b in buckets]
    in_order = offset == nodes and bool((inverse == torch.arange(nodes)).all())
    return AttentionPlan(moved, None if in_order else inverse.to(device), base)


def _make_bucket(group: Sequence[Segment]) -> Bucket:
    own = [segment.path[segment.shared :] for segment in group]
    depths = [torch.arange(segment.shared, len(segment.path)) for segment in group]
    lengths = torch.tensor([len(segment.path) for segment in group])
    return Bucket(_pad_rows(own), _pad_rows([segment.path for segment in group]), _pad_rows(depths), lengths)


def _pad_rows(rows: list[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


Attention = Callable[..., tuple[Tensor, Tensor | None]]
_NAME = "harness_trie"
_PLAN: ContextVar[AttentionPlan] = ContextVar("harness_plan")


@dataclass(frozen=True, slots=True)
class _Masks:
    """What stands in for an attention mask on its way through the model: the plan and one mask per bucket."""

    plan: AttentionPlan
    masks: list[Tensor | None]


def _trie_masks(*, mask_function: Callable[..., Tensor], dtype: torch.dtype, **_: object) -> _Masks:
    current = _PLAN.get()
    return _Masks(
        current, [_mask_for_base(bucket.key_mask(mask_function), current.base, dtype) for bucket in current.buckets]
    )


def _mask_for_base(mask: Tensor, base: str, dtype: torch.dtype) -> Tensor | None:
    if base == "eager":  # which adds its mask to the logits; transformers fills its own with this number too
        return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)
    rows, columns = mask.shape[-2:]
    causal = rows == columns and bool((mask == torch.ones_like(mask).tril()).all())
    return None if causal else mask  # without a mask, sdpa takes its faster causal kernel


def _trie_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: object, **options: object
) -> tuple[Tensor, None]:
    if not isinstance(attention_mask, _Masks):
        raise TypeError(f"the model makes its own attention mask ({type(attention_mask).__name__})")
    plan = attention_mask.plan
    attend, outputs = _base_attention(module, plan.base), []
    select = _select_together if torch.is_grad_enabled() else _select_apart
    queries, keys = [bucket.queries for bucket in plan.buckets], [bucket.keys for bucket in plan.buckets]
    parts = select(query, queries), select(key, keys), select(value, keys)
    for mask, *states in zip(attention_mask.masks, *parts, strict=True):
        outputs.append(attend(module, *states, mask, **options)[0].flatten(0, 1))
    rows, inverse = torch.cat(outputs), plan.inverse
    if inverse is None:
        return rows[None], None
    return embedding(inverse, rows.flatten(1)).view(1, -1, *rows.shape[1:]), None


def _select_together(states: Tensor, indices: Sequence[Tensor]) -> list[Tensor]:
    """Picks each of `indices` [s, n] from states [1, heads, nodes, size] -> [s, heads, n, size].

    All at once, as a node that several paths share would else get a gradient as large as all states from each; and as
    rows of an embedding, whose backward pass adds up rows faster than an indexing's.
    """
    heads, size = states.shape[1], states.shape[3]
    rows = embedding(torch.cat([index.flatten() for index in indices]), states[0].transpose(0, 1).flatten(1))
    parts = torch.split(rows, [index.numel() for index in indices])
    return [part.view(*index.shape, heads, size).transpose(1, 2) for part, index in zip(parts, indices, strict=True)]


def _select_apart(states: Tensor, indices: Sequence[Tensor]) -> list[Tensor]:
    """`_select_together` where no gradient is taken: no copy of what stands in one stretch."""
    return [_select_rows(states, index) for index in indices]


def _select_rows(states: Tensor, index: Tensor) -> Tensor:
    if len(index) == 1 and index.device.type == "cpu" and index[0, -1] - index[0, 0] == index.shape[1] - 1:
        return states[:, :, int(index[0, 0]) : int(index[0, -1]) + 1]
    return states[0][:, index].transpose(0, 1)


def _base_attention(module: torch.nn.Module, base: str) -> Attention:
    """The model's own attention function, to be called on one bucket at a time."""
    if base == "eager":
        # Each model's file has its own, in no registry: Gemma-2's caps the logits.
        eager: Attention = sys.modules[type(module).__module__].eager_attention_forward
        return eager
    return cast(Attention, ALL_ATTENTION_FUNCTIONS[base])


@contextmanager
def use_trie_attention(body: PreTrainedModel) -> Iterator[None]:
    """Inside the block a decoder body attends along tries: each of its forward passes is in a `follow_plan`.

    A backward pass that computes layers anew (checkpointed gradients) belongs into the block, too.
    """
    AttentionInterface.register(_NAME, _trie_attention)
    AttentionMaskInterface.register(_NAME, _trie_masks)
    before = body.config._attn_implementation
    body.set_attn_implementation(_NAME)
    try:
        yield
    finally:
        body.set_attn_implementation(before)


@contextmanager
def follow_plan(plan: AttentionPlan) -> Iterator[None]:
    """Inside the block a body under `use_trie_attention` attends by this plan."""
    token = _PLAN.set(plan)
    try:
        yield
    finally:
        _PLAN.reset(token)


def base_implementation(body: PreTrainedModel) -> str:
    """The attention of each bucket: the body's own, or sdpa for flash and flex kernels, which take no such mask."""
    return "eager" if body.config._attn_implementation == "eager" else "sdpa"


def trie_pass(body: PreTrainedModel, sequences: Sequences) -> tuple[Tensor, Paths]:
    """A `Pass` that computes every distinct token once; exact where `trie_doubts` finds none."""
    laid, device = build_trie(sequences), body.device
    plan = plan_attention(laid.segments, len(laid.tokens), device, base_implementation(body))
    with use_trie_attention(body), follow_plan(plan):
        ids, depths = laid.tokens.to(device)[None], laid.depths.to(device)[None]
        # A mask of ones keeps transformers from reading the depths as the bounds of packed sequences.
        states = body(input_ids=ids, position_ids=depths, attention_mask=torch.ones_like(ids), use_cache=False)
    return states.last_hidden_state[0], laid.paths


def padded_pass(body: PreTrainedModel, sequences: Sequences) -> tuple[Tensor, Paths]:
    """A `Pass` over right-padded rows: exact for any causal model, since nothing looks at what follows it."""
    rows = [torch.tensor(sequence) for sequence in dict.fromkeys(sequences)]
    ids = _pad_rows(rows).to(body.device)
    present = _pad_rows([torch.ones_like(row) for row in rows]).to(body.device)
    hidden = body(input_ids=ids, attention_mask=present, use_cache=False).last_hidden_state
    width = ids.shape[1]
    paths = {tuple(row.tolist()): torch.arange(len(row)) + place * width for place, row in enumerate(rows)}
    return hidden.flatten(0, 1), paths


def single_pass(body: PreTrainedModel, sequences: Sequences) -> tuple[Tensor, Paths]:
    """A `Pass` of one sequence at a time."""
    passes = [padded_pass(body, [sequence]) for sequence in dict.fromkeys(sequences)]
    paths: Paths = {}
    offset = 0
    for hidden, own in passes:
        paths |= {sequence: path + offset for sequence, path in own.items()}
        offset += len(hidden)
    return torch.cat([hidden for hidden, _ in passes]), paths


def padded_batches(lengths: Sequence[int], at_most: int) -> Iterator[slice]:
    """Stretches of sequences of these lengths, in their order: at most so many, few enough tokens with padding."""
    start = longest = 0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if place > start and (place - start == at_most or (place + 1 - start) * longest > PADDED_TOKENS):
            yield slice(start, place)
            start, longest = place, length
    if start < len(lengths):
        yield slice(start, len(lengths))


# Which pass is exact for a model


def decoder_body(model: PreTrainedModel) -> PreTrainedModel:
    """The part of a causal language model below its unembedding.

    Raises HarnessError for encoder-decoders, and where the part cannot be told from the whole.
    """
    refuse_encoder_decoder(model.config)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    body: PreTrainedModel = inner.get_decoder() if inner.get_output_embeddings() is not None else inner.base_model
    if body is not inner or inner.get_output_embeddings() is None:
        return body
    # Llama 4 and Mllama name another part as their decoder, and so find none.
    parts = [part for part in inner.children() if isinstance(part, PreTrainedModel)]
    if len(parts) != 1:
        hint = "CHES is defined on what feeds the unembedding; this model cannot be scored."
        raise HarnessError(f"{inner.config.model_type} has no decoder apart from its unembedding", hint=hint)
    return parts[0]


def choose_pass(body: PreTrainedModel, *, tell: bool = True) -> Pass:
    """The fastest exact pass for this model; with `tell`, a line on standard error says why it is not the fast one."""
    if positions_depend_on_batch(body):
        told = f"one sequence at a time: the rotary embedding of {body.config.model_type} depends on the batch"
        chosen = single_pass
    elif (reason := trie_doubts(body)) is not None:
        told, chosen = f"in padded batches, each prompt twice: {reason}", padded_pass
    else:
        return trie_pass
    if tell:
        print_note(f"scoring {told}")
    return chosen


def trie_doubts(body: PreTrainedModel) -> str | None:
    """Why `trie_pass` would not be exact for this model, or None where it is, tried on a few tokens."""
    kinds = set(getattr(body.config, "layer_types", None) or ())
    kind = body.config.model_type
    if getattr(body, "_is_stateful", False) or kinds - {"full_attention", "sliding_attention", "chunked_attention"}:
        return f"{kind} has layers other than attention"
    if not getattr(body, "_supports_attention_backend", False):
        return f"{kind} does not let its attention be given a mask of its own"
    try:
        difference = _trial_difference(body)
    except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError) as error:
        return f"{kind} does not take the mask ({type(error).__name__}: {error})"
    limit = 4 * torch.finfo(body.dtype).eps ** 0.75
    return None if difference <= limit else f"hidden states of {kind} differ by {difference:.1e} under the mask"


def positions_depend_on_batch(body: PreTrainedModel) -> bool:
    """Whether what a token is given for its place changes with the sequences that it is computed beside."""
    scaling = getattr(body.config, "rope_parameters", None) or {}
    # Both kinds of scaling choose their frequencies by the longest row of the batch.
    kinds = {scaling.get("rope_type")} | {part.get("rope_type") for part in scaling.values() if isinstance(part, dict)}
    return bool(kinds & {"dynamic", "longrope"})


@torch.inference_mode()
def _trial_difference(body: PreTrainedModel) -> float:
    """The largest relative difference of hidden states between `trie_pass` and one sequence at a time."""
    vocabulary = body.get_input_embeddings().weight.shape[0]
    numbers = [(7 * place * place + 3 * place + 1) % vocabulary for place in range(64)]
    stem, other = tuple(numbers[:12]), tuple(numbers[40:50])
    # Two with a common beginning, and one that is the beginning of another: every way that paths part.
    sequences = [stem + tuple(numbers[12:20]), stem + tuple(numbers[21:40]), other, other + tuple(numbers[50:64])]
    (tree, paths), (plain, places) = trie_pass(body, sequences), single_pass(body, sequences)
    pairs = [(tree[paths[sequence]].double(), plain[places[sequence]].double()) for sequence in sequences]
    return max(float((ours - theirs).norm() / theirs.norm()) for ours, theirs in pairs)
