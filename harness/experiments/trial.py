"""One trial of section 3: one prompt, two one-token answers, and the next-token distribution at every step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.experiments import geometry, meaning
from harness.experiments.schema import AnswerPair
from harness.models.loading import evaluation_mode
from harness.models.token_text import token_text
from harness.preferences.pairs import Pair
from harness.preferences.shapes import chat_messages
from harness.preferences.tokens import tokenize_pair
from harness.scoring.packing import decoder_body
from harness.scoring.unembedding import unembed
from harness.support.errors import HarnessError

CHECKED_STEPS = (1, 2, 5, 10)
"""Steps after which Theorem 2 is held against what was measured: the first ones, while the gradient is the start's."""
GRADIENT = "gradient"
"""Beside those steps: one plain gradient step from the start, in place of the optimizer's."""
GAINING = 10
"""Gaining tokens that are kept."""


@dataclass(frozen=True, slots=True)
class OneTokenPair:
    """A pair on one prompt as token ids; of each answer only the first token is trained on."""

    prompt: list[int]
    chosen: int
    rejected: int


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


def is_one_token(question: str, answer: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether an answer to the question is one token of this tokenizer."""
    tokens = tokenize_pair(Pair({}, **chat_messages(question, answer, answer)), tokenizer)
    return not tokens.merged and _spells(tokens.chosen[:1], answer, tokenizer)


def next_token_logits(model: PreTrainedModel, prompt: Sequence[int]) -> Tensor:
    """The logits of every token after the prompt [vocabulary], in float32 or wider; of no other place."""
    ids = torch.tensor([prompt], device=model.device)
    hidden = decoder_body(model)(input_ids=ids, use_cache=False).last_hidden_state
    return unembed(model, hidden[0, -1:])[0]


def likeliest_next_token(model: PreTrainedModel, prompt: Sequence[int]) -> int:
    """The token that the model finds likeliest after the prompt; the model's mode is put back."""
    with evaluation_mode(model):
        return int(next_token_logits(model, prompt).argmax())


def measure_trial(
    tokens: OneTokenPair,
    pair: AnswerPair,
    course: Iterable[tuple[Tensor, float]],
    gradient_change: Tensor,
    unembedding: Tensor,
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, Any]:
    """What happened in one trial, as JSON; of the course only the few distributions that the figures need are held.

    Args:
        tokens: the pair.
        pair: its texts.
        course: at steps 0, 1, ... ln p of every token after the prompt [vocabulary], and the loss.
        gradient_change: how one plain gradient step changes ln p of every token [vocabulary].
        unembedding: the rows of `W` before training [vocabulary, d].
        tokenizer: to say what the tokens are.
    """
    predicted = geometry.predicted_gains(unembedding, tokens.chosen, tokens.rejected)
    answers = tokens.chosen, tokens.rejected
    p_chosen, p_rejected, losses, lowest = [], [], [], 0
    theorem_2 = {GRADIENT: geometry.rank_correlation(predicted, gradient_change, answers)}
    for step, (logprobs, loss) in enumerate(course):
        p_chosen.append(float(logprobs[tokens.chosen].exp()))
        p_rejected.append(float(logprobs[tokens.rejected].exp()))
        losses.append(loss)
        if step == 0:
            first = fallen = logprobs
        if p_chosen[step] < p_chosen[lowest]:
            lowest, fallen = step, logprobs
        if step in CHECKED_STEPS:
            theorem_2[str(step)] = geometry.rank_correlation(predicted, logprobs - first, answers)
    before, after, last = first.exp(), fallen.exp(), logprobs.exp()
    return {
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "p_chosen": [round(p, 6) for p in p_chosen],
        "p_rejected": [round(p, 6) for p in p_rejected],
        "loss": [round(loss, 6) for loss in losses],
        "lowest_step": lowest,
        "displaced": p_chosen[lowest] < p_chosen[0] and losses[lowest] < losses[0],
        "gaining": _gaining_tokens(before, after, tokens, pair.chosen, tokenizer),
        "gaining_at_the_end": _gaining_tokens(before, last, tokens, pair.chosen, tokenizer),
        "gained": _gain_by_kind(before, after, tokens, pair.chosen, tokenizer),
        "theorem_2": theorem_2,
        "geometry": geometry.unembedding_geometry(unembedding[tokens.chosen], unembedding[tokens.rejected])._asdict(),
    }


def _only_token(ids: Sequence[int], text: str, tokenizer: PreTrainedTokenizerBase) -> int:
    if not _spells(ids[:1], text, tokenizer):
        raise HarnessError(
            f"{text!r} is not one token of this tokenizer", place="pairs", hint="Choose an answer that is."
        )
    return ids[0]


def _spells(ids: Sequence[int], text: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    return bool(tokenizer.decode(ids).strip() == text.strip())


def _gaining_tokens(
    before: Tensor, after: Tensor, tokens: OneTokenPair, chosen: str, tokenizer: PreTrainedTokenizerBase
) -> list[dict[str, Any]]:
    """The tokens that gained most probability, most first."""
    change = after - before
    rows = []
    for place in change.topk(min(GAINING, len(change))).indices.tolist():
        if change[place] > 0 and place != tokens.chosen:
            text = token_text(tokenizer, place)
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
    for place in _tokens_with_words(chosen, tokenizer):
        kind = meaning.gain_kind(chosen, tokenizer.decode([place]))
        if kind in kinds and place != tokens.chosen:
            kinds[kind].append(place)
    change = after - before
    return {kind: round(float(change[places].sum()), 6) for kind, places in kinds.items()}


def _tokens_with_words(chosen: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that may be of a known meaning, in order: to decode each of 262,144 takes twenty seconds.

    However a tokenizer marks word starts and bytes, it spells the letters a to z as themselves.
    """
    words = {*meaning.AFFIRMS, *meaning.DOES_NOT_AFFIRM, meaning.fold_token(chosen)}
    known = re.compile("|".join(re.escape(word) for word in words if word.isascii()), re.IGNORECASE)
    pieces = tokenizer.get_vocab().items()
    return sorted(place for piece, place in pieces if not chosen.isascii() or known.search(piece))
