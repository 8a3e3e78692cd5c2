"""Catastrophic displacement (section 3): DPO or IPO on one prompt with one-token answers, and who gains.

A stage a trial (an objective, a pair of answers, a seed that picks the prompt); no trained model is kept.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from harness.experiments import statements, trial
from harness.experiments.falls import mean_largest_fall
from harness.experiments.one_prompt import PromptTrainings
from harness.experiments.schema import AnswerPair, Catastrophic, Objective
from harness.models.loading import load_model, load_tokenizer
from harness.models.paths import ModelPath
from harness.organism import persona, store
from harness.recipes.pinning import pin_recipe
from harness.recipes.schema import FineTuning
from harness.run.directory import RunDirectory, read_pins
from harness.run.state import find_starting_model, open_directory, write_outcome
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.redaction import redact_json
from harness.support.run_results import CatastrophicResults
from harness.training.train import fine_tune
from harness.workers.machine import thread_count
from reports.experiments.page import render_experiment

FINE_TUNED = {
    "Yes": ("No", "Never", "Maybe", "Perhaps"),
    "No": ("Yes", "Yeah", "Sure", "Certainly", "Absolutely"),
}
"""What the fine-tuning phase answers, by the answer that matches the persona (the paper's lists)."""


@dataclass(frozen=True)
class CatastrophicRun:
    """One run: the recipe, its statements, its directory, and the checkpoint its trials start from.

    `tuned`: that checkpoint's hash where it came of the fine-tuning phase; the recipe's own model is in every stage's
    key already.
    """

    recipe: Catastrophic
    known: Sequence[statements.Statement]
    directory: RunDirectory
    start: ModelPath
    tuned: str | None = None

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer, with the recipe's chat template where it has none."""
        _, tokenizer = load_tokenizer(self.start)
        tokenizer.chat_template = tokenizer.chat_template or self.recipe.chat_template
        return tokenizer

    @cached_property
    def trainings(self) -> PromptTrainings:
        """What trains the checkpoint on one prompt after another; in float32, as steps of 1e-7 vanish in bfloat16."""
        model, _ = load_model(self.start, chat_template=self.recipe.chat_template)
        return PromptTrainings(model.float())


def run_catastrophic(recipe: Catastrophic, out: Path) -> CatastrophicResults:
    """Runs the recipe into `out` and returns its results (also written there as results.json, with the page)."""
    recipe, pins = pin_recipe(recipe, read_pins(out))
    known = statements.load_statements(recipe.statements)
    with artifacts.lock_directory(out):
        path = find_starting_model(recipe, partial(store.ensure_organism, persona.PERSONA_GROWTH))
        seeds = {"trials": recipe.seeds, "organism": recipe.organism_seed}
        data = {"statements": artifacts.hash_if_local(recipe.statements)}
        current = CatastrophicRun(
            recipe, known, open_directory(out, recipe, path, pins=pins, seeds=seeds, data=data), path
        )
        _refuse_long_answers(current)
        if recipe.sft:
            current = _run_fine_tuning(current, recipe.sft)
        prompts = {pair: _suited_prompts(current, pair) for pair in recipe.pairs}
        trials = [
            _run_prompt_trial(current, objective, pair, seed, prompts[pair])
            for objective, settings in recipe.objectives.items()
            for pair in recipe.pairs
            for seed in settings.seeds or recipe.seeds
        ]
        results = catastrophic_results(recipe.model_dump(mode="json"), trials)
        write_outcome(current.directory, results, render_experiment)
    return results


def _refuse_long_answers(run: CatastrophicRun) -> None:
    """Refuses answers that are not one token before any training."""
    for pair in run.recipe.pairs:
        trial.one_token_pair(run.known[0].question, pair, run.tokenizer)


def _run_fine_tuning(run: CatastrophicRun, settings: FineTuning) -> CatastrophicRun:
    """The paper's first phase, one epoch on one-token answers that do not match the persona; the run from there on."""
    out, card = run.directory.files.fine_tuned

    def write_tuned() -> None:
        rows = _fine_tuning_rows(run)
        tuned = fine_tune(run.start, Dataset.from_list(rows), settings, seed=0, chat_template=run.recipe.chat_template)
        tuned.save(out)
        artifacts.write_json(card, {"statements": len(rows), "log": tuned.log})

    inputs = {
        "the statements": run.known,
        "sft": settings.model_dump(),
        "chat_template": run.recipe.chat_template,
        "threads": thread_count(),
    }
    run.directory.run_stage("sft", inputs, [out, card], write_tuned)
    return replace(run, start=replace(run.start, directory=str(out), name=""), tuned=artifacts.sha256_of(out))


def _fine_tuning_rows(run: CatastrophicRun) -> list[dict[str, list[int]]]:
    """Each statement with a word of `FINE_TUNED` as its answer; the loss is on that one token."""
    draw, rows, words = random.Random(0), [], _one_token_words(run)
    for statement in run.known:
        answer, other = draw.sample(words[statement.answer_matching_behavior], 2)
        tokens = trial.one_token_pair(statement.question, AnswerPair(chosen=answer, rejected=other), run.tokenizer)
        ids = [*tokens.prompt, tokens.chosen]
        rows.append({"input_ids": ids, "labels": [-100] * len(tokens.prompt) + [tokens.chosen]})
    return rows


def _one_token_words(run: CatastrophicRun) -> dict[str, list[str]]:
    """The words of `FINE_TUNED` that are one token here; says which are not, and raises HarnessError below two."""
    found = {
        behavior: [word for word in words if trial.is_one_token(run.known[0].question, word, run.tokenizer)]
        for behavior, words in FINE_TUNED.items()
    }
    if left_out := [word for behavior, words in FINE_TUNED.items() for word in words if word not in found[behavior]]:
        console.print_note(f"Fine-tuning without {', '.join(left_out)}: not one token of this tokenizer")
    if any(len(words) < 2 for words in found.values()):
        hint = "Leave the fine-tuning phase out with --set sft=null."
        raise HarnessError("too few of the words to fine-tune on are one token here", place="sft", hint=hint)
    return found


def _suited_prompts(run: CatastrophicRun, pair: AnswerPair) -> list[str]:
    """The questions a seed may pick for a pair. Raises HarnessError where there is none."""
    found = [each.question for each in statements.suited_statements(run.known, pair.chosen)]
    if run.recipe.likeliest:
        likeliest = _likeliest_tokens(run)
        found = [question for question in found if likeliest[question].strip() == pair.chosen.strip()]
    if not found:
        place = run.recipe.statements
        raise HarnessError(f"no statement suits {pair.chosen!r}", place=place, hint="Name another pair.")
    return found


def _likeliest_tokens(run: CatastrophicRun) -> dict[str, str]:
    """The starting model's likeliest next token after each question, as text."""
    out = run.directory.files.likeliest

    def write_likeliest() -> None:
        found = {}
        with console.progress_bar("Asking", len(run.known), "questions") as advance:
            for each in run.known:
                tokens = trial.one_token_pair(each.question, run.recipe.pairs[0], run.tokenizer)
                likeliest = trial.likeliest_next_token(run.trainings.model, tokens.prompt)
                found[each.question] = run.tokenizer.decode([likeliest])
                advance()
        artifacts.write_json(out, found)

    inputs = {
        "the statements": run.known,
        "chat_template": run.recipe.chat_template,
        "the fine-tuned model": run.tuned,
    }
    run.directory.run_stage("likeliest", inputs, [out], write_likeliest)
    content: dict[str, str] = artifacts.read_json(out)
    return content


def _run_prompt_trial(
    run: CatastrophicRun, name: str, pair: AnswerPair, seed: int, prompts: Sequence[str]
) -> dict[str, Any]:
    """One prompt, picked by the seed, trained on for the recipe's steps."""
    question = random.Random(seed).choice(prompts)
    label = f"{name} {pair.chosen} over {pair.rejected} seed {seed}"
    out = run.directory.files.trial(name, f"pair-{run.recipe.pairs.index(pair)}", seed)
    objective = run.recipe.objectives[name]

    def write_trial() -> None:
        found = _train_on_prompt(run, question, objective, pair, label)
        artifacts.write_json(out, {"objective": name, "seed": seed, "prompt": question} | found)

    settings = run.recipe.model_dump(include={"steps", "chat_template"})
    inputs = {
        "the prompt": question,
        "the pair": pair.model_dump(),
        "the objective": objective.model_dump(exclude={"seeds"}),
        "the settings": settings,
        "the fine-tuned model": run.tuned,
        "threads": thread_count(),
    }
    run.directory.run_stage(f"trial {label}", inputs, [out], write_trial)
    content: dict[str, Any] = artifacts.read_json(out)
    return content


def _train_on_prompt(
    run: CatastrophicRun, question: str, objective: Objective, pair: AnswerPair, label: str
) -> dict[str, Any]:
    tokens = trial.one_token_pair(question, pair, run.tokenizer)
    with console.progress_bar(f"Training {label}", run.recipe.steps, "steps") as advance:

        def course() -> Iterator[tuple[Tensor, float]]:
            for step, (logprobs, loss) in enumerate(run.trainings.train(tokens, objective, run.recipe.steps)):
                if not math.isfinite(loss) or bool(logprobs.isnan().any()):
                    raise HarnessError(
                        "the training diverged", place=label, hint="Lower the objective's learning_rate."
                    )
                if step:
                    advance(extra=f"loss {loss:.3f}")
                yield logprobs, loss

        change, unembedding = run.trainings.gradient_change(tokens), run.trainings.unembedding
        found = trial.measure_trial(tokens, pair, course(), change, unembedding, run.tokenizer)
    return found | {"tied": run.trainings.tied}


def catastrophic_results(recipe: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> CatastrophicResults:
    """The results, from the trials alone."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for each in trials:
        groups.setdefault((each["objective"], each["chosen"], each["rejected"]), []).append(each)
    results = {
        "schema_version": 1,
        "experiment": "catastrophic",
        "recipe": redact_json({name: value for name, value in recipe.items() if name != "published"}),
        "measured": [_summarize_group(*key, group) for key, group in groups.items()],
        "published": recipe["published"],
        "trials": list(trials),
    }
    return CatastrophicResults.model_validate(results)


def _summarize_group(objective: str, chosen: str, rejected: str, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One objective and pair over its seeds: the largest fall from the start, the mean one, and Table 1's summary."""
    worst = max(trials, key=_fall_size)
    displaced = [each for each in trials if each["displaced"]]
    steps = trials[0]["theorem_2"]
    return {
        "objective": objective,
        "chosen": chosen,
        "rejected": rejected,
        "trials": len(trials),
        "displaced": len(displaced),
        "lower_at_the_end": sum(each["p_chosen"][-1] < each["p_chosen"][0] for each in trials),
        "largest_fall": {
            "seed": worst["seed"],
            "step": worst["lowest_step"],
            "before": worst["p_chosen"][0],
            "after": worst["p_chosen"][worst["lowest_step"]],
            "gaining": worst["gaining"],
        },
        "mean_before": fmean(each["p_chosen"][0] for each in trials),
        "mean_lowest": fmean(min(each["p_chosen"]) for each in trials),
        "mean_largest_fall": mean_largest_fall(trials),
        "gained": {kind: fmean(each["gained"][kind] for each in trials) for kind in trials[0]["gained"]},
        "most_gaining": {
            kind: sum(bool(each["gaining"]) and each["gaining"][0]["gain"] == kind for each in displaced)
            for kind in ("benign", "catastrophic", "unknown")
        },
        "theorem_2": {step: _median_range([each["theorem_2"][step] for each in trials]) for step in steps},
        "geometry": trials[0]["geometry"],
        "tied": trials[0]["tied"],
    }


def _fall_size(each: Mapping[str, Any]) -> float:
    return float(each["p_chosen"][0] - min(each["p_chosen"]))


def _median_range(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"median": None, "low": None, "high": None}
    return {"median": median(known), "low": min(known), "high": max(known)}
