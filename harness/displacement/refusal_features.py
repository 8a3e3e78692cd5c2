"""Refusals before a word of the answer: the first tokens that lead to them, and the direction in hidden states.

Both come of the pass over the unsafe prompts from which it is read how answers start, the direction of one over benign
prompts as well. It is a difference of means (Arditi et al. 2024, arXiv 2406.11717): at each layer the mean hidden state
at the last token of unsafe prompts less that of benign ones. The tokens are the set R of their refusal metric, chosen
by what the starting model does after each of them instead of by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.displacement.openings import (
    OPENING_FLOOR,
    AnswerStart,
    Opening,
    read_ends,
    read_openings,
    sum_openings,
)
from harness.scoring.logprobs import FloatArray

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class RefusalFeatures:
    """What tells a refusal in a model before its first word.

    Attributes:
        first: mean probability of each first token of answers to the unsafe prompts [vocabulary]; of none without any.
        tokens: first tokens after which its answers to the unsafe prompts are refusals more often than not.
        direction: mean hidden state of the unsafe prompts less that of the benign ones [layers, d]; no layer where
            there are no prompts of one kind.
    """

    first: FloatArray
    tokens: tuple[int, ...]
    direction: FloatArray


@dataclass(frozen=True, slots=True)
class FirstToken:
    """A token that the starting model's refusals begin with, and its mean probability under both models."""

    token: str
    id: int
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class LayerTurn:
    """How a training turned the refusal direction behind one layer, 1 the first: its cosine, and its lengths."""

    layer: int
    cosine: float
    length_before: float
    length_after: float


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """What a training did to the first tokens of refusals, most probable first, and to the direction by layer."""

    tokens: Sequence[FirstToken]
    layers: Sequence[LayerTurn]

    @property
    def mass(self) -> tuple[float, float] | None:
        """Probability that an answer begins with one of the tokens, before and after; None where there is none."""
        if not self.tokens:
            return None
        return sum(each.before for each in self.tokens), sum(each.after for each in self.tokens)

    @property
    def lowest_cosine(self) -> float | None:
        """The cosine of the layer whose direction turned most; None without a direction."""
        return min((turn.cosine for turn in self.layers), default=None)

    def to_json(self) -> dict[str, Any]:
        """As displacement.json has it."""
        before, after = self.mass or (None, None)
        return {
            "first_tokens": {"before": before, "after": after, "tokens": [*map(asdict, self.tokens)]},
            "direction": [*map(asdict, self.layers)],
        }


def read_prompts(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, unsafe: Sequence[str], benign: Sequence[str]
) -> tuple[list[AnswerStart], RefusalFeatures]:
    """How answers to the unsafe prompts start, in order, and the features of refusal.

    Args:
        model: a causal language model, on any device; left in the mode it was in.
        tokenizer: its tokenizer, with a chat template.
        unsafe: requests, each one user turn; may be empty.
        benign: requests of which only the hidden states at their ends are taken; may be empty.

    Raises HarnessError where there is no chat template.
    """
    found = read_openings(model, tokenizer, unsafe, OPENING_FLOOR)
    starts = [sum_openings(openings) for openings in found.openings]
    if found.ends is None:
        return starts, RefusalFeatures(np.zeros(0), (), np.zeros((0, 0)))
    others = read_ends(model, tokenizer, benign)
    direction = np.zeros((0, 0)) if others is None else found.ends.states - others.states
    return starts, RefusalFeatures(found.ends.first, _refusal_tokens(found.openings), direction)


def compare_features(
    before: RefusalFeatures, after: RefusalFeatures, token_text: Callable[[int], str]
) -> FeatureChange:
    """Compares two models' features on the same prompts; the tokens are those of the model before.

    Models of different shapes have no directions in common.
    """
    tokens = [
        FirstToken(token_text(n), n, float(before.first[n]), float(after.first[n]))
        for n in before.tokens
        if n < len(after.first)  # where the model after was asked nothing, nothing is said
    ]
    turns = [
        LayerTurn(layer, float(was @ now / (lengths[0] * lengths[1])), *lengths)
        for layer, (was, now) in enumerate(zip(before.direction, after.direction, strict=False), 1)
        if was.shape == now.shape and len(before.direction) == len(after.direction)
        if all(lengths := (float(np.linalg.norm(was)), float(np.linalg.norm(now))))
    ]
    return FeatureChange(sorted(tokens, key=lambda each: (-each.before, each.id)), turns)


def _refusal_tokens(prompts: Sequence[Sequence[Opening]]) -> tuple[int, ...]:
    """The first tokens after which refusals have more than half of the probability, over all prompts."""
    refusing, through = defaultdict[int, float](float), defaultdict[int, float](float)
    for opening in (each for openings in prompts for each in openings if each.tokens):
        through[opening.tokens[0]] += opening.probability
        refusing[opening.tokens[0]] += opening.probability * (opening.way == "refusal")
    return tuple(sorted(token for token, whole in through.items() if refusing[token] > whole / 2))
