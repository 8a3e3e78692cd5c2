"""Which training pairs lie nearest to a prompt: by the starting model's hidden state at the prompt's last token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.models.loading import evaluation_mode
from harness.models.sampling import render_prompt
from harness.scoring.packing import decoder_body, padded_batches, padded_pass

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


TOP_PAIRS, _PROMPTS_AT_ONCE = 3, 64


@dataclass(frozen=True, slots=True)
class NearPair:
    """A training pair near a prompt: cosine of the two last prompt tokens' hidden states, and the pair's score."""

    pair_id: str
    similarity: float
    ln_ches: float


def nearest_pairs(
    model: PreTrainedModel,
    prompts: Mapping[str, list[int]],
    pair_prompts: Mapping[str, list[int]],
    ln_ches: Mapping[str, float],
) -> dict[str, list[NearPair]]:
    """The `TOP_PAIRS` nearest training pairs of each prompt, nearest first.

    Args:
        model: the model before training.
        prompts: token ids of the prompts by their ids (`prompt_token_ids`).
        pair_prompts: token ids of the pairs' prompts by `pair_id` (`harness.scoring.logprobs.tokenize_pairs`).
        ln_ches: the pairs' scores by `pair_id`.

    Pairs of equal similarity (those of one prompt) come with the higher score first: it displaces more.
    """
    names = sorted(pair_prompts, key=lambda name: (-ln_ches[name], name))
    with evaluation_mode(model):
        theirs = _last_token_states(model, [pair_prompts[name] for name in names])
        ours = _last_token_states(model, list(prompts.values()))
    found: dict[str, list[NearPair]] = {}
    for prompt, state in zip(prompts, ours, strict=True):
        similar = (theirs @ state).round(decimals=5)
        order = similar.argsort(descending=True, stable=True)[:TOP_PAIRS].tolist()
        found[prompt] = [NearPair(names[place], float(similar[place]), ln_ches[names[place]]) for place in order]
    return found


def prompt_token_ids(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """A prompt as one user turn, ready for the answer, as token ids."""
    ids: list[int] = tokenizer(render_prompt(tokenizer, prompt), add_special_tokens=False)["input_ids"]
    return ids


def nearest_json(nearest: Mapping[str, Sequence[NearPair]]) -> dict[str, Any]:
    """The content of a run's nearest_pairs.json."""
    return {
        "schema_version": 1,
        "nearest": {prompt: [asdict(pair) for pair in pairs] for prompt, pairs in nearest.items()},
    }


def _last_token_states(model: PreTrainedModel, sequences: Sequence[list[int]]) -> Tensor:
    """Unit vectors [n, d] along the hidden state at each sequence's last token, float32 on the CPU."""
    distinct = sorted({tuple(sequence) for sequence in sequences}, key=len)
    states: dict[tuple[int, ...], Tensor] = {}
    for places in padded_batches([*map(len, distinct)], _PROMPTS_AT_ONCE):
        batch = distinct[places]
        hidden, paths = padded_pass(decoder_body(model), batch)
        lasts = hidden[torch.stack([paths[sequence][-1] for sequence in batch]).to(hidden.device)]
        states |= dict(zip(batch, normalize(lasts.float(), dim=-1).cpu(), strict=True))
    return torch.stack([states[tuple(sequence)] for sequence in sequences])
