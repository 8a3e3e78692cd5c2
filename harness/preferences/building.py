"""Building a preference table: sample answers, judge them, break ties, choose pairs, count.

What is done is kept in a directory beside the result until the table is whole, so a killed build goes on where it
stopped. `harness preferences` and the first stage of `harness run` both come through here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harness.judges.registry import judge_exchanges, judge_identity
from harness.judges.verdicts import Exchange, parse_verdict
from harness.models.loading import load_model
from harness.models.paths import ModelPath, locate_model
from harness.models.sampling import sample_answers, sample_on_vllm
from harness.models.served.answering import sample_served
from harness.models.vllm import free_vllm
from harness.preferences.choosing import Candidate, choose_pairs, count_pair_types, engagement_reward
from harness.preferences.on_ray import sample_on_ray
from harness.preferences.pairs import PAIR_TYPES
from harness.preferences.rewards import answer_rewards
from harness.prompts.sets import PromptRow
from harness.recipes.reaching import reach_model
from harness.recipes.schema import PairSettings, Recipe, RewardModel
from harness.support import artifacts
from harness.support.console import safe_line
from harness.workers.engines import Engine

_PROMPTS_PER_CHUNK = 512
"""Prompts that are sampled and kept together."""
_SPLITS = ("train", "test")

PromptRows = Sequence[PromptRow]
PromptAnswers = Sequence[Sequence[str]]
"""Each prompt's answers."""


@dataclass(frozen=True, slots=True)
class BuiltPairs:
    """Preference rows in TRL's conversational format, and how many prompts gave none, by reason."""

    rows: list[dict[str, Any]]
    dropped: Counter[str]


def build_pairs(
    recipe: Recipe,
    model_path: str | ModelPath,
    rows: PromptRows,
    keep: Path,
    *,
    engine: Engine = "local",
    workers: int | None = None,
) -> BuiltPairs:
    """Pairs sampled from a model, a prompt at most one.

    Args:
        recipe: its `pairs` and `judge`.
        model_path: checkpoint directory or hub id; what an API at an address calls its model is the recipe's.
        rows: the prompts; those of a split give the same pairs whether or not the other split is among them.
        keep: directory for what is done so far; what lies there from another model, other prompts or other settings
            is thrown away.
        engine: `ray` samples on workers of a Ray cluster, with transformers; its draws are other ones than a local
            run's, so answers of one are no beginning for the other. Judging and rewards stay here.
        workers: copies of the model on Ray; by default one a GPU, or where there is none one a CPU core.
    """
    sampler, model = recipe.answering if engine == "local" else engine, locate_model(model_path)
    artifacts.resume_or_clear(
        keep, [model.content, recipe.pairs.model_dump(), judge_identity(recipe.judge), sampler, rows]
    )
    chunks = _prompt_chunks(rows)
    answers = _sample_chunks(recipe, model, chunks, keep, engine, workers)
    parts = [pairs_from_answers(recipe, chunk, answers[name], keep, name) for name, chunk in chunks.items()]
    return BuiltPairs([row for part in parts for row in part.rows], sum((part.dropped for part in parts), Counter()))


def pairs_from_answers(recipe: Recipe, rows: PromptRows, answers: PromptAnswers, keep: Path, name: str) -> BuiltPairs:
    """Pairs from given answers: judged, ties broken; verdicts and rewards are kept under the name."""
    exchanges = [Exchange(row["prompt"], text) for row, each in zip(rows, answers, strict=True) for text in each]
    verdicts = iter(
        parse_verdict(record)
        for record in _load_or_make(
            keep / f"verdicts-{name}.json",
            lambda: [asdict(verdict) for verdict in judge_exchanges(recipe.judge, exchanges)],
        )
    )
    scores = _load_or_make(keep / f"rewards-{name}.json", lambda: _tie_break_rewards(recipe.pairs, rows, answers))
    candidates = [
        [Candidate(text, next(verdicts), reward) for text, reward in zip(each, given, strict=True)]
        for each, given in zip(answers, scores, strict=True)
    ]
    settings = recipe.pairs
    chosen = choose_pairs(
        rows,
        candidates,
        settings.seed,
        keep_identical=settings.identical == "keep",
        unjudged_at_random=settings.unjudged == "random",
    )
    return BuiltPairs(*chosen)


def _tie_break_rewards(settings: PairSettings, rows: PromptRows, answers: PromptAnswers) -> list[list[float]]:
    """What tells answers of a kind apart: a reward model's scores, courtesy, or nothing, which leaves it to a coin."""
    if isinstance(settings.tie_break, RewardModel):
        source, both_orders = settings.tie_break.reward_model, settings.tie_break.both_orders
        return answer_rewards(source, [row["prompt"] for row in rows], answers, both_orders=both_orders)
    engaging = settings.tie_break == "engaging"
    return [[float(engaging and engagement_reward(text)) for text in each] for each in answers]


def _sample_chunks(
    recipe: Recipe, model: ModelPath, chunks: Mapping[str, PromptRows], keep: Path, engine: Engine, workers: int | None
) -> dict[str, PromptAnswers]:
    """Each chunk's answers; those of every sample of every chunk are kept as they come."""
    settings = recipe.pairs
    files = {name: [keep / f"answers-{name}-{which}.json" for which in range(settings.samples)] for name in chunks}
    missing = {
        file: ([row["prompt"] for row in rows], _sample_seed(settings, name, which))
        for name, rows in chunks.items()
        for which, file in enumerate(files[name])
        if not file.is_file()
    }
    if missing:
        drawn = _draw_answers(recipe, model, [*missing.values()], keep, engine, workers)
        for file, answers in zip(missing, drawn, strict=True):
            artifacts.write_json(file, answers)
    free_vllm()
    return {name: list(zip(*map(artifacts.read_json, each), strict=True)) for name, each in files.items()}


def _draw_answers(
    recipe: Recipe,
    model: ModelPath,
    asked: Sequence[tuple[Sequence[str], int]],
    keep: Path,
    engine: Engine,
    workers: int | None,
) -> Iterator[list[str]]:
    """For each list of prompts, with its seed, one answer a prompt."""
    settings = recipe.pairs
    how: dict[str, Any] = {"temperature": settings.temperature, "max_new_tokens": settings.max_new_tokens}
    if engine == "ray":
        yield from sample_on_ray(model.source, asked, batch_size=settings.batch_size, workers=workers, **how)
        return
    if recipe.endpoint is not None:
        with reach_model(recipe.endpoint, model, keep) as reached:
            for texts, seed in asked:
                yield sample_served(reached.use, reached.journal, texts, seed=seed, **how)
        return
    sample: Callable[..., list[str]]
    if recipe.backend == "vllm":
        sample = partial(sample_on_vllm, model, **how)
    else:
        sample = partial(sample_answers, *load_model(model), batch_size=settings.batch_size, **how)
    for texts, seed in asked:
        yield sample(texts, seed=seed)


def _sample_seed(settings: PairSettings, chunk: str, which: int) -> int:
    """Another seed for each sample of each chunk."""
    first = settings.samples * settings.seed + which
    return first if chunk == "train-0" else int(artifacts.json_fingerprint([chunk, first])[:8], 16)


def _prompt_chunks(rows: PromptRows) -> dict[str, list[PromptRow]]:
    """The prompts in chunks of one split each, by name."""
    chunks = {}
    for split in _SPLITS:
        own = [row for row in rows if row["split"] == split]
        for number, start in enumerate(range(0, len(own), _PROMPTS_PER_CHUNK)):
            chunks[f"{split}-{number}"] = own[start : start + _PROMPTS_PER_CHUNK]
    return chunks


def _load_or_make(file: Path, work: Callable[[], Any]) -> Any:
    """The content of a file, made now if it is not there."""
    if not file.is_file():
        artifacts.write_json(file, work())
    return artifacts.read_json(file)


# The table's statistics and its card


def pair_statistics(built: BuiltPairs) -> dict[str, Any]:
    """Pairs, pair types and dropped prompts, the pairs also by split."""
    return {
        "schema_version": 1,
        "pairs": len(built.rows),
        "pair_types": count_pair_types(built.rows),
        "splits": {split: count_pair_types([row for row in built.rows if row["split"] == split]) for split in _SPLITS},
        "dropped_prompts": dict(built.dropped),
    }


def data_card(recipe: Recipe, file: str, counted: Mapping[str, Any]) -> str:
    """A data card in Markdown, with the header that the hub reads."""
    settings = recipe.pairs
    tie = settings.tie_break.reward_model if isinstance(settings.tie_break, RewardModel) else settings.tie_break
    rows = "\n".join(
        " | ".join(
            ["| " + name.replace("_", " "), *(_format_share(counted["splits"][split], name) for split in _SPLITS)]
        )
        + " |"
        for name in PAIR_TYPES
    )
    dropped = "; ".join(f"{number} {reason}" for reason, number in counted["dropped_prompts"].items()) or "none"
    facts = {
        "Model": recipe.asked_model or (f"{recipe.model}@{recipe.revision}" if recipe.revision else recipe.model),
        "Prompts": recipe.prompts,
        "Answers a prompt": settings.samples,
        "Sampling": f"temperature {settings.temperature:g}, top-p 1, at most {settings.max_new_tokens} tokens",
        "Judge": recipe.judge,
        "Ties": tie,
        "Answers that could not be judged": "in random order" if settings.unjudged == "random" else "left out",
        "Identical answers": "kept" if settings.identical == "keep" else "left out",
        "Seed": settings.seed,
        "Pairs": counted["pairs"],
        "Prompts without a pair": dropped,
    }
    return _CARD_TEMPLATE.format(
        file=safe_line(file),
        rows=rows,
        facts="\n".join(f"- {name}: {safe_line(str(value))}" for name, value in facts.items()),
    )


def _format_share(types: Mapping[str, int], name: str) -> str:
    total = sum(types.values())
    return f"{types[name]} ({types[name] / total:.0%})" if total else "0"


_CARD_TEMPLATE = """---
task_categories: [reinforcement-learning]
tags: [preference, dpo, trl, safety]
configs: [{{config_name: default, data_files: {file}}}]
---
# On-policy preference pairs about refusing unsafe requests

{facts}

| pair type | train | test |
|---|---|---|
{rows}

Each prompt's answers were sampled from the model itself and judged. Of those not left out the best is
`chosen` and the worst `rejected`: a refusal is better than anything else, of two of a kind the one that the tie-break
prefers is, then a coin. Prompts were parted into `train` and `test` (column `split`) before sampling.

Columns: `prompt`, `chosen`, `rejected` (lists of messages, as TRL's DPOTrainer takes them), `pair_id`, `prompt_id`,
`hazard`, `split`, `chosen_verdict`, `rejected_verdict`.

The answers are a model's, to requests that ask for harm, and some comply.
"""
