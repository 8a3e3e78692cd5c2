"""Two models on one preference table and one set of prompts, from their directories to the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import preferences as tables
from harness import prompts as prompt_sets
from harness.displacement.change import Change, displacement, to_json, token_json
from harness.displacement.flips import Flip, flips
from harness.displacement.logprobs import Profile, profile, tokens_of
from harness.displacement.nearest import Near, nearest_pairs, token_ids
from harness.displacement.openings import Start, starts
from harness.errors import HarnessError
from harness.models import load_model
from harness.onpolicy import sample
from harness.scoring import Scorer, refuse_scoreless

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.preferences import Tokens

TEMPERATURE, MAX_NEW_TOKENS, SEED = 0.7, 64, 0
"""How the answers are drawn in which flips are looked for."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The change on the pairs and of the starts, and the flipped answers where they were asked for."""

    change: Change
    flips: Sequence[Flip]

    def to_json(self) -> dict[str, Any]:
        """A run's displacement.json, with every pair, the tokens of every position, and the flips."""
        return to_json(self.change) | {
            "by_pair": {
                name: {
                    "chosen_change": pair.chosen,
                    "rejected_change": pair.rejected,
                    "margin_change": pair.margin,
                    "displaced": pair.displaced,
                }
                for name, pair in self.change.pairs.items()
            },
            "gaining_by_position": [[token_json(token) for token in each.gaining] for each in self.change.positions],
            "flips": [flip.to_json() for flip in self.flips],
        }


@dataclass(frozen=True, slots=True)
class _Side:
    """What one model gives, so that the next can be loaded in its place."""

    tokens: dict[str, Tokens]
    tokenizer: PreTrainedTokenizerBase
    profile: Profile
    starts: list[Start]
    answers: list[str]
    nearest: dict[str, list[Near]]


def compare(
    before: str, after: str, preferences: str, prompts: str, *, with_flips: bool = False, max_length: int | None = None
) -> Comparison:
    """Measures two models, one after the other.

    Args:
        before: directory or hub id of the model before training.
        after: of the model after it.
        preferences: the preference table.
        prompts: a prompt set, of which the unsafe ones are used.
        with_flips: also sample an answer a prompt from both.
        max_length: cut off longer pairs as DPOTrainer does.

    Raises HarnessError where something cannot be read or the models do not turn the pairs into the same tokens.
    """
    pairs = tables.load(preferences)
    rows = prompt_sets.load(prompts, "unsafe")
    if not rows:
        raise HarnessError("holds no unsafe prompts", place=prompts)
    first = _side(before, pairs, rows, with_flips, max_length, nearest=with_flips)
    second = _side(after, pairs, rows, with_flips, max_length, nearest=False)
    if first.tokens != second.tokens:
        raise HarnessError(
            "turns the pairs into other tokens than the model before",
            place=after,
            mend="Compare models with the same tokenizer and chat template.",
        )
    change = displacement(first.profile, second.profile, first.starts, second.starts, first.tokenizer.decode)
    return Comparison(change, flips(rows, first.answers, second.answers, first.nearest) if with_flips else [])


def _side(
    path: str,
    pairs: Dataset,
    rows: Sequence[dict[str, str]],
    with_answers: bool,
    max_length: int | None,
    *,
    nearest: bool,
) -> _Side:
    model, tokenizer = load_model(path, spread=True)
    tokens = tokens_of(pairs, tokenizer, max_length)
    asked = [row["prompt"] for row in rows]
    answers = (
        sample(model, tokenizer, asked, temperature=TEMPERATURE, max_new_tokens=MAX_NEW_TOKENS, seed=SEED)
        if with_answers
        else []
    )
    return _Side(
        tokens,
        tokenizer,
        profile(model, tokens),
        starts(model, tokenizer, asked),
        answers,
        _near(model, tokenizer, tokens, rows) if nearest else {},
    )


def _near(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Mapping[str, Tokens],
    rows: Sequence[Mapping[str, str]],
) -> dict[str, list[Near]]:
    """The pairs near each prompt, of those that have a score."""
    scores = dict(zip(tokens, Scorer(model)(list(tokens.values())), strict=True))
    scored = {name: score["ln_ches"] for name, score in scores.items() if score["reason"] is None}
    refuse_scoreless(len(tokens), len(scored), Counter(score["reason"] for score in scores.values()), "the table")
    asked = {row["prompt_id"]: token_ids(tokenizer, row["prompt"]) for row in rows}
    return nearest_pairs(model, asked, {name: tokens[name].prompt for name in scored}, scored)
