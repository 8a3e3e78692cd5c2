"""What influence on refusals needs of a percentiles run: the starting model's answers, and how answers start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.displacement.openings import answer_starts
from harness.experiments.schema import Percentiles
from harness.judges.registry import judge_identity
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.prompts.sets import PromptRow, load_prompts
from harness.run.directory import RunDirectory
from harness.scoring.probes import Probes, draw_probes
from harness.scoring.targets import error_column, influence_column
from harness.support import artifacts
from reports.scores import influence_reliability

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def needs_probes(recipe: Percentiles) -> bool:
    """Whether refusals are asked about at all."""
    return influence_column("refusal") in recipe.measures


def spread_prompts(recipe: Percentiles, split: str, count: int) -> list[PromptRow]:
    """So many unsafe prompts of a split, evenly over its hazards as they come."""
    rows = [row for row in load_prompts(recipe.prompts, "unsafe") if row["split"] == split]
    return [rows[place * len(rows) // count] for place in range(count)] if count < len(rows) else rows


def draw_refusal_probes(recipe: Percentiles, path: ModelPath, directory: RunDirectory) -> Probes:
    """The starting model's answers to training prompts; a stage of its own."""
    out, settings = directory.files.probes, recipe.probes
    asked = spread_prompts(recipe, "train", settings.asked)

    def write_probes() -> None:
        drawn = draw_probes(
            *load_model(path, chat_template=recipe.chat_template),
            {True: asked},
            samples=settings.samples,
            temperature=settings.temperature,
            max_new_tokens=settings.max_new_tokens,
            judge=recipe.judge,
            seed=settings.seed,
        )
        drawn.save(out)

    inputs = {
        "probes": settings.model_dump(exclude={"asked", "read"}),
        "the prompts": asked,
        "the judge": judge_identity(recipe.judge),
        "chat_template": recipe.chat_template,
        "added_tokens": recipe.added_tokens,
    }
    directory.run_stage("probes", inputs, [out], write_probes)
    return Probes.load(out)


def read_refusals(recipe: Percentiles, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
    """The mean probability that an answer to a held-out prompt starts as a refusal."""
    prompts = [row["prompt"] for row in spread_prompts(recipe, "test", recipe.probes.read)]
    return fmean(each.refusal for each in answer_starts(model, tokenizer, prompts))


def read_start(recipe: Percentiles, path: ModelPath, directory: RunDirectory) -> float:
    """`read_refusals` of the starting model; a stage of its own."""
    out = directory.files.reference.starts

    def write_start() -> None:
        refusals = read_refusals(recipe, *load_model(path, chat_template=recipe.chat_template, float32=True))
        artifacts.write_json(out, {"refusals": refusals})

    read = spread_prompts(recipe, "test", recipe.probes.read)
    inputs = {
        "the prompts": read,
        "chat_template": recipe.chat_template,
        "added_tokens": recipe.added_tokens,
    }
    directory.run_stage("start", inputs, [out], write_start)
    return float(artifacts.read_json(out)["refusals"])


def describe_probes(recipe: Percentiles, probes: Probes, scored: Dataset, start: float) -> Mapping[str, Any]:
    """What the results say of the probes: how many answers, who of them refuses, and how sure the order is."""
    judged: Sequence[Any] = probes.of_target("refusal")
    columns = (np.asarray(scored[name]) for name in (influence_column("refusal"), error_column("refusal")))
    return {
        "answers": len(judged),
        "refused": fmean(each.label == "refusal" for each in judged),
        "reliability": influence_reliability(*columns),
        "prompts_read": len(spread_prompts(recipe, "test", recipe.probes.read)),
        "start": start,
    }
