"""One trial of section 3: one prompt, two one-token answers, and the next-token distribution at every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.experiments import geometry, meaning
from harness.experiments.schema import AnswerPair
from harness.models.loading import evaluation_mode
from harness.preferences.pairs import Pair
from harness.preferences.shapes import chat_messages
from harness.preferences.tokens import tokenize_pair
from harness.support.errors import HarnessError

CHECKED_STEPS = (1, 2, 5, 10)
"""Steps after which Theorem 2 is held against what was measured: the first ones, while the gradient is the start's."""
GAINING = 10
"""Gaining tokens that are kept."""


@dataclass(frozen=True, slots=True)
class OneTokenPair:
    """A pair on one prompt as token ids; of each answer only the first token is trained on."""

    prompt: list[int]
    chosen: int
    rejected: int

    @property
    def max_length(self) -> int:
        """Where TRL is to cut the sequences off, so that the answers keep one token and no end of turn."""
        return len(self.prompt) + 1


def one_pair_table(question: str, pair: AnswerPair) -> Dataset:
    """The pair on one question as a preference table of one row."""
    return Dataset.from_list([{"pair_id": "only", **chat_messages(question, pair.chosen, pair.rejected)}])


def one_token_pair(question: str, pair: AnswerPair, tokenizer: PreTrainedTokenizerBase) -> OneTokenPair:
    """The pair as token ids. Raises HarnessError where an answer is not one token, or both are the same."""
    tokens = tokenize_pair(Pair({}, **chat_messages(question, pair.chosen, pair.rejected)), tokenizer)
    chosen, rejected = (
        _only_token(tokens.chosen, pair.chosen, tokenizer),
        _only_token(tokens.rejected, pair.rejected, tokenizer),
    )
    if tokens.merged or chosen == rejected:
        raise HarnessError(
            f"{pair.chosen!r} and {pair.rejected!r} are no two tokens here", hint="Choose other answers."
        )
    return OneTokenPair(tokens.prompt, chosen, rejected)


def next_token_logprobs(model: PreTrainedModel, prompt: Sequence[int]) -> Tensor:
    """Ln p of every token after the prompt [vocabulary], in float32 on the CPU; the model's mode is put back."""
    with evaluation_mode(model):
        logits: Tensor = model(input_ids=torch.tensor([prompt], device=model.device), use_cache=False).logits[0, -1]
    return logits.float().log_softmax(-1).cpu()


def measure_trial(
    tokens: OneTokenPair,
    pair: AnswerPair,
    logprobs: Sequence[Tensor],
    losses: Sequence[float],
    unembedding: Tensor,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """What happened in one trial, as JSON.

    Args:
        tokens: the pair.
        pair: its texts.
        logprobs: ln p of every token after the prompt at steps 0, 1, ... [vocabulary] each.
        losses: the loss that each step was taken on.
        unembedding: the rows of `W` before training [vocabulary, d].
        tokenizer: to say what the tokens are.
    """
    chosen = [float(each[tokens.chosen].exp()) for each in logprobs]
    lowest = min(range(len(chosen)), key=chosen.__getitem__)
    predicted = geometry.predicted_gains(unembedding, tokens.chosen, tokens.rejected)
    pairs = tokens.chosen, tokens.rejected
    return {
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "p_chosen": [round(p, 6) for p in chosen],
        "p_rejected": [round(float(each[tokens.rejected].exp()), 6) for each in logprobs],
        "loss": [round(loss, 6) for loss in losses],
        "lowest_step": lowest,
        "displaced": chosen[lowest] < chosen[0] and losses[min(lowest, len(losses) - 1)] < losses[0],
        "gaining": _gaining_tokens(logprobs[0].exp(), logprobs[lowest].exp(), tokens, pair.chosen, tokenizer),
        "gained": _gain_by_kind(logprobs[0].exp(), logprobs[lowest].exp(), tokens, pair.chosen, tokenizer),
        "theorem_2": {
            str(step): geometry.rank_correlation(predicted, logprobs[step] - logprobs[0], pairs)
            for step in CHECKED_STEPS
            if step < len(logprobs)
        },
        "geometry": geometry.unembedding_geometry(unembedding[tokens.chosen], unembedding[tokens.rejected])._asdict(),
    }


def _only_token(ids: Sequence[int], text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.decode(ids[:1]).strip() != text.strip():
        raise HarnessError(
            f"{text!r} is not one token of this tokenizer", place="pairs", hint="Choose an answer that is."
        )
    return ids[0]


def _gaining_tokens(
    before: Tensor, after: Tensor, tokens: OneTokenPair, chosen: str, tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """The tokens that gained most probability, most first."""
    change = after - before
    rows = []
    for place in change.topk(min(GAINING, len(change))).indices.tolist():
        if change[place] > 0 and place != tokens.chosen:
            text = tokenizer.decode([place])
            figures = {"before": before[place], "after": after[place], "change": change[place]}
            rows.append(
                {"token": text, "id": place, "gain": meaning.gain_kind(chosen, text)}
                | {name: round(float(value), 6) for name, value in figures.items()}
            )
    return rows


def _gain_by_kind(
    before: Tensor, after: Tensor, tokens: OneTokenPair, chosen: str, tokenizer: PreTrainedTokenizerBase
) -> dict[str, float]:
    """Change of probability of all tokens of a kind together, y+ itself left out."""
    kinds: dict[meaning.GainKind, list[int]] = {"benign": [], "catastrophic": []}
    for place in range(len(before)):
        kind = meaning.gain_kind(chosen, tokenizer.decode([place]))
        if kind in kinds and place != tokens.chosen:
            kinds[kind].append(place)
    change = after - before
    return {kind: round(float(change[places].sum()), 6) for kind, places in kinds.items()}
