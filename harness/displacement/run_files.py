"""What a run keeps of the displacement: the starting model's side once, and the change of every trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness.displacement.change import change_json, compare_profiles
from harness.displacement.nearest import nearest_json, nearest_pairs, prompt_token_ids
from harness.displacement.openings import AnswerStart
from harness.displacement.refusal_features import read_prompts
from harness.displacement.start_side import StartSide
from harness.models.token_text import token_text
from harness.scoring.logprobs import Profile, anchored_profile, tokenize_pairs
from harness.support import artifacts
from harness.support.layout import ReferenceFiles
from harness.support.spacing import evenly_spaced

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


START_PROMPTS = 64
"""Prompts, evenly spaced over the unsafe ones, on which it is measured how answers start; and as many benign ones, for
the refusal direction."""


def write_reference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scored: Dataset,
    prompts: Sequence[Mapping[str, str]],
    benign: Sequence[str],
    out: ReferenceFiles,
    max_length: int | None,
) -> None:
    """Writes the starting model's side of every comparison.

    Args:
        model: the model before training.
        tokenizer: its tokenizer.
        scored: the pairs that have a score, with `pair_id` and `ln_ches`.
        prompts: the unsafe prompts that the arms are evaluated on, rows of `prompt_id` and `prompt`.
        benign: the benign ones' texts.
        out: where.
        max_length: cut off longer pairs as the training does.
    """
    tokens = tokenize_pairs(scored, tokenizer, max_length)
    before, anchor = anchored_profile(model, tokens)
    asked, others = (evenly_spaced(each, START_PROMPTS) for each in ([row["prompt"] for row in prompts], benign))
    near = nearest_pairs(
        model,
        {row["prompt_id"]: prompt_token_ids(tokenizer, row["prompt"]) for row in prompts},
        {name: pair.prompt for name, pair in tokens.items()},
        dict(zip(scored["pair_id"], scored["ln_ches"], strict=True)),
    )
    sums = {name: [each.chosen, each.rejected] for name, each in before.pair_sums().items()}
    artifacts.write_json(out.logprobs, sums)
    before.save(out.tokens)
    starts, features = read_prompts(model, tokenizer, asked, others)
    StartSide(anchor, features, others).save(out.start)
    artifacts.write_json(out.starts, {prompt: astuple(start) for prompt, start in zip(asked, starts, strict=True)})
    artifacts.write_json(out.nearest, nearest_json(near))


def write_change(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    after: Profile,
    start: StartSide,
    reference: ReferenceFiles,
    out: Path,
) -> None:
    """Writes one trained model's displacement.json, from its profile and the starting model's side."""
    before = artifacts.read_json(reference.starts)
    starts, features = read_prompts(model, tokenizer, list(before), start.benign)
    change = compare_profiles(
        Profile.load(reference.tokens),
        after,
        [AnswerStart(*each) for each in before.values()],
        starts,
        partial(token_text, tokenizer),
        (start.features, features),
    )
    artifacts.write_json(out, change_json(change))
