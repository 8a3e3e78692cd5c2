"""What a run keeps of the displacement: the starting model's side once, and the change of every trained model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from harness import artifacts
from harness.artifacts import REFERENCE_FILES
from harness.displacement.change import displacement, to_json
from harness.displacement.logprobs import Profile, profile, tokens_of
from harness.displacement.nearest import nearest_pairs, token_ids
from harness.displacement.nearest import to_json as nearest_json
from harness.displacement.openings import Start, starts

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

START_PROMPTS = 64
"""Prompts, evenly spaced over the unsafe ones, on which it is measured how answers start."""


def write_reference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    scored: Dataset,
    prompts: Sequence[Mapping[str, str]],
    root: Path,
    max_length: int | None,
) -> None:
    """Writes `REFERENCE_FILES` into the run directory `root`.

    Args:
        model: the model before training.
        tokenizer: its tokenizer.
        scored: the pairs that have a score, with `pair_id` and `ln_ches`.
        prompts: the unsafe prompts that the arms are evaluated on, rows of `prompt_id` and `prompt`.
        root: the run directory.
        max_length: cut off longer pairs as the training does.
    """
    tokens = tokens_of(scored, tokenizer, max_length)
    before = profile(model, tokens)
    asked = spaced([row["prompt"] for row in prompts], START_PROMPTS)
    near = nearest_pairs(
        model,
        {row["prompt_id"]: token_ids(tokenizer, row["prompt"]) for row in prompts},
        {name: pair.prompt for name, pair in tokens.items()},
        dict(zip(scored["pair_id"], scored["ln_ches"], strict=True)),
    )
    logprobs, table, openings, nearest = (root / name for name in REFERENCE_FILES)
    artifacts.write_json(logprobs, {name: [each.chosen, each.rejected] for name, each in before.sums().items()})
    before.save(table)
    said = zip(asked, starts(model, tokenizer, asked), strict=True)
    artifacts.write_json(openings, {prompt: astuple(start) for prompt, start in said})
    artifacts.write_json(nearest, nearest_json(near))


def write_change(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, after: Profile, root: Path, out: Path
) -> None:
    """Writes one trained model's displacement.json, from its profile and the run's reference files."""
    _, table, openings, _ = (root / name for name in REFERENCE_FILES)
    before = artifacts.read_json(openings)
    change = displacement(
        Profile.load(table),
        after,
        [Start(*each) for each in before.values()],
        starts(model, tokenizer, list(before)),
        tokenizer.decode,
    )
    artifacts.write_json(out, to_json(change))


def spaced(items: Sequence[str], most: int) -> list[str]:
    """At most `most` distinct items, evenly spaced over all of them."""
    distinct = list(dict.fromkeys(items))
    return [distinct[place * len(distinct) // most] for place in range(most)] if len(distinct) > most else distinct
