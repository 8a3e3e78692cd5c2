"""Two models on one preference table and one set of prompts, from their directories to the result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from harness.displacement.change import Change, change_json, compare_profiles, token_json
from harness.displacement.flips import TracedFlip, trace_flips
from harness.displacement.nearest import NearPair, nearest_pairs, prompt_token_ids
from harness.displacement.openings import AnswerStart
from harness.displacement.refusal_features import RefusalFeatures, read_prompts
from harness.models.loading import load_model
from harness.models.paths import locate_model
from harness.models.sampling import sample_answers
from harness.models.templates import check_chat_template
from harness.models.token_text import token_text
from harness.preferences.tables import load_preferences
from harness.prompts.sets import load_prompts
from harness.prompts.variants import refuse_variants
from harness.scoring.anchoring import Anchor
from harness.scoring.logprobs import Profile, anchored_profile, profile_model, usable_tokens
from harness.scoring.scorer import Scorer, refuse_scoreless
from harness.support.console import print_note
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.preferences.tokens import Tokens


FLIP_TEMPERATURE, FLIP_MAX_NEW_TOKENS, FLIP_SEED = 0.7, 64, 0
"""How the answers are drawn in which flips are looked for."""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """The change on the pairs and of the starts, and the flipped answers where they were asked for.

    `left_out`: how many pairs a model cannot take, by reason.
    """

    change: Change
    flips: Sequence[TracedFlip]
    left_out: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """A run's displacement.json, with every pair, the tokens of every position, and the flips."""
        return change_json(self.change) | {
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
            "left_out": dict(self.left_out),
        }


@dataclass(frozen=True, slots=True)
class _ModelSide:
    """What one model gives, so that the next can be loaded in its place."""

    tokens: dict[str, Tokens]
    left_out: Counter[str]
    tokenizer: PreTrainedTokenizerBase
    profile: Profile
    anchor: Anchor | None
    starts: list[AnswerStart]
    features: RefusalFeatures
    answers: list[str]
    nearest: dict[str, list[NearPair]]


def compare_models(
    before: str, after: str, preferences: str, prompts: str, *, with_flips: bool = False, max_length: int | None = None
) -> ModelComparison:
    """Measures two models, one after the other.

    Args:
        before: directory or hub id of the model before training.
        after: of the model after it.
        preferences: the preference table.
        prompts: a prompt set, of which the unsafe ones are used, and the benign ones for the refusal direction.
        with_flips: also sample an answer a prompt from both.
        max_length: cut off longer pairs as DPOTrainer does.

    Pairs that the models cannot take are left out, as `harness score` leaves them without a score, with a note.
    Raises HarnessError where something cannot be read or the models do not turn the pairs into the same tokens.
    """
    refuse_variants(prompts)
    for path in (before, after):  # what is wrong with the second is told before the first is measured
        check_chat_template(locate_model(path))
    pairs = load_preferences(preferences)
    rows = load_prompts(prompts, "unsafe")
    if not rows:
        raise HarnessError("holds no unsafe prompts", place=prompts)
    benign = [row["prompt"] for row in load_prompts(prompts, "benign")]
    first = _measure_side(before, pairs, rows, benign, with_flips, max_length)
    second = _measure_side(after, pairs, rows, benign, with_flips, max_length, first)
    if first.left_out != second.left_out:
        raise HarnessError(
            "cannot take the same pairs as the model before",
            place=after,
            hint="Cut the pairs to what both can take with --max-length.",
        )
    if first.tokens != second.tokens:
        raise HarnessError(
            "turns the pairs into other tokens than the model before",
            place=after,
            hint="Compare models with the same tokenizer and chat template.",
        )
    change = compare_profiles(
        first.profile,
        second.profile,
        first.starts,
        second.starts,
        partial(token_text, first.tokenizer),
        (first.features, second.features),
    )
    if first.left_out:
        reasons = "; ".join(f"{count} not: {reason}" for reason, count in first.left_out.most_common(10))
        print_note(f"{len(first.tokens)} of {len(pairs)} pairs measured; {reasons}")
    flips = trace_flips(rows, first.answers, second.answers, first.nearest) if with_flips else []
    return ModelComparison(change, flips, first.left_out)


def _measure_side(
    path: str,
    pairs: Dataset,
    rows: Sequence[dict[str, str]],
    benign: Sequence[str],
    with_answers: bool,
    max_length: int | None,
    start: _ModelSide | None = None,
) -> _ModelSide:
    """One model's side, as the start or compared with it."""
    model, tokenizer = load_model(path, spread=True, float32=True)
    tokens, left_out = usable_tokens(pairs, model, tokenizer, max_length)
    asked = [row["prompt"] for row in rows]
    answers = (
        sample_answers(
            model, tokenizer, asked, temperature=FLIP_TEMPERATURE, max_new_tokens=FLIP_MAX_NEW_TOKENS, seed=FLIP_SEED
        )
        if with_answers
        else []
    )
    profile, anchor = (
        (profile_model(model, tokens, anchor=start.anchor), None) if start else anchored_profile(model, tokens)
    )
    starts, features = read_prompts(model, tokenizer, asked, benign)
    nearest = _nearest_scored(model, tokenizer, tokens, rows) if with_answers and start is None else {}
    return _ModelSide(tokens, left_out, tokenizer, profile, anchor, starts, features, answers, nearest)


def _nearest_scored(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    tokens: Mapping[str, Tokens],
    rows: Sequence[Mapping[str, str]],
) -> dict[str, list[NearPair]]:
    """The pairs near each prompt, of those that have a score."""
    scores = dict(zip(tokens, Scorer(model)(list(tokens.values())), strict=True))
    scored = {name: score["ln_ches"] for name, score in scores.items() if score["reason"] is None}
    refuse_scoreless(len(tokens), len(scored), Counter(score["reason"] for score in scores.values()), "the table")
    asked = {row["prompt_id"]: prompt_token_ids(tokenizer, row["prompt"]) for row in rows}
    return nearest_pairs(model, asked, {name: tokens[name].prompt for name in scored}, scored)
