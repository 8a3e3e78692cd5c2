"""Which samples displace (section 5): equal subsets around percentiles of each similarity measure, trained on apart.

A stage for the table of pairs, one for its scores, and one for each subset and seed; of the trained models only the
change of ln p(y+) and ln p(y-) on their own subset is kept, and where refusals are asked about how answers start.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets import Dataset
from scipy.stats import kendalltau

from harness.experiments.refusals import (
    describe_probes,
    draw_refusal_probes,
    needs_probes,
    read_refusals,
    read_start,
)
from harness.experiments.schema import Percentiles
from harness.models.added_tokens import save_with_tokens
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.organism import essays, store
from harness.preferences.files import ONLY_SPLIT
from harness.preferences.tables import load_preferences
from harness.recipes.pinning import pin_recipe
from harness.run.directory import RunDirectory, read_pins
from harness.run.state import find_starting_model, open_directory, write_outcome
from harness.scoring.filtering import keep_around_quantile
from harness.scoring.logprobs import PairLogprobs, pair_logprobs
from harness.scoring.probes import Probes
from harness.scoring.scorer import score
from harness.support import artifacts, storage
from harness.support.errors import HarnessError
from harness.support.layout import ON_POLICY, RunFiles
from harness.support.redaction import redact_json
from harness.support.run_results import PercentilesResults
from harness.training.jobs import TrainingJob
from harness.training.train import train_on_pairs
from harness.workers.machine import thread_count
from reports.experiments.page import render_experiment


def run_percentiles(recipe: Percentiles, out: Path) -> PercentilesResults:
    """Runs the recipe into `out` and returns its results (also written there as results.json, with the page)."""
    recipe, pins = pin_recipe(recipe, read_pins(out))
    with artifacts.lock_directory(out):
        path = find_starting_model(recipe, partial(store.ensure_organism, essays.ESSAYS_GROWTH))
        data = {"preferences": artifacts.hash_if_local(recipe.preferences)}
        directory = open_directory(out, recipe, path, pins=pins, seeds=_recorded_seeds(recipe), data=data)
        _write_preferences(recipe, directory)
        path = _add_tokens(recipe, path, directory)
        probes = draw_refusal_probes(recipe, path, directory) if needs_probes(recipe) else None
        start = read_start(recipe, path, directory) if probes else None
        _score_pairs(recipe, path, directory, probes)
        trials = [
            _run_subset_trial(recipe, path, directory, measure, quantile, seed)
            for measure in recipe.measures
            for quantile in recipe.quantiles
            for seed in recipe.seeds
        ]
        told = None if probes is None or start is None else describe_probes(recipe, probes, _scored_table(out), start)
        results = percentiles_results(recipe.model_dump(mode="json"), trials, _rank_correlations(recipe, out), told)
        write_outcome(directory, results, render_experiment)
    return results


def _recorded_seeds(recipe: Percentiles) -> dict[str, Any]:
    drawn = {"sample": recipe.sample_seed, "bundled pairs": recipe.bundled.seed, "organism": recipe.organism_seed}
    return {"trials": recipe.seeds, **drawn}


def _write_preferences(recipe: Percentiles, directory: RunDirectory) -> None:
    """preferences.jsonl: the sampled pairs."""
    out = directory.files.source(ON_POLICY).pairs
    source = Path(recipe.preferences)
    content = artifacts.sha256_of(source) if source.exists() else recipe.preferences
    inputs = {
        "preferences": [content, recipe.split, recipe.bundled.model_dump()],
        "the sample": [recipe.sample, recipe.sample_seed],
    }
    directory.run_stage("preferences", inputs, [out], lambda: artifacts.write_jsonl(out, _sampled_pairs(recipe)))


def _add_tokens(recipe: Percentiles, path: ModelPath, directory: RunDirectory) -> ModelPath:
    """Where the model with the recipe's added tokens is: the model itself where there are none."""
    if not recipe.added_tokens:
        return path
    out, inputs = directory.files.with_added_tokens, {"added_tokens": recipe.added_tokens}
    directory.run_stage("added tokens", inputs, [out], lambda: save_with_tokens(path, recipe.added_tokens, out))
    return replace(path, directory=str(out), name="")


def _sampled_pairs(recipe: Percentiles) -> Sequence[Mapping[str, Any]]:
    if recipe.preferences == "bundled":
        return essays.essay_pairs(recipe.sample or 1000, recipe.bundled.seed, alike=recipe.bundled.lengths == "alike")
    split = ONLY_SPLIT if storage.is_file(recipe.preferences) else recipe.split
    rows: list[dict[str, Any]] = [
        {name: row[name] for name in ("pair_id", "prompt", "chosen", "rejected")}
        for row in load_preferences(recipe.preferences, split=split)
    ]
    if recipe.sample is None or recipe.sample >= len(rows):
        return rows
    return random.Random(recipe.sample_seed).sample(rows, recipe.sample)


def _score_pairs(recipe: Percentiles, path: ModelPath, directory: RunDirectory, probes: Probes | None) -> None:
    """scores.parquet: every pair with the measures, and the length difference as one more; and the reference's ln p."""
    files = directory.files.source(ON_POLICY)
    table, out, most = files.pairs, files.scores, recipe.training.max_length

    def write_scores() -> None:
        model, tokenizer = load_model(path, chat_template=recipe.chat_template, float32=True)
        states = recipe.paper_states
        scored = score(load_preferences(table), model, tokenizer, max_length=most, paper_states=states, probes=probes)
        usable = scored.filter(lambda score: score is not None, input_columns="ches")
        if len(usable) < recipe.subset:
            raise HarnessError(
                f"{len(usable)} pairs have a score, {recipe.subset} make a subset", hint="Lower subset or raise sample."
            )
        difference = [n - p for n, p in zip(usable["rejected_tokens"], usable["chosen_tokens"], strict=True)]
        reference = pair_logprobs(model, tokenizer, usable, max_length=most)
        artifacts.write_json(files.reference, {name: asdict(each) for name, each in reference.items()})
        with artifacts.atomic_file(out) as temporary:
            usable.add_column("length_difference", difference).to_parquet(str(temporary))

    inputs = {
        "the pairs": artifacts.sha256_of(table),
        "training.max_length": most,
        "chat_template": recipe.chat_template,
        "added_tokens": recipe.added_tokens,
        "subset": recipe.subset,
        "paper_states": recipe.paper_states,
        "the probes": artifacts.sha256_of(directory.files.probes) if probes else None,
    }
    directory.run_stage("scores", inputs, [out, files.reference], write_scores)


def _scored_table(out: Path) -> Dataset:
    return Dataset.from_parquet(str(RunFiles(out).source(ON_POLICY).scores))


def _rank_correlations(recipe: Percentiles, out: Path) -> dict[str, dict[str, float | None]]:
    """Kendall's tau between the measures over all scored pairs."""
    scored = _scored_table(out)
    columns = {name: scored[name][:] for name in (*recipe.measures, "length_difference")}
    return {left: {right: kendall_tau(columns[left], columns[right]) for right in columns} for left in columns}


def _run_subset_trial(
    recipe: Percentiles, path: ModelPath, directory: RunDirectory, measure: str, quantile: float, seed: int
) -> dict[str, Any]:
    """One subset with one seed."""
    label = f"{measure} at {quantile:g} seed {seed}"
    out = directory.files.trial(measure, f"quantile-{quantile:g}", seed)

    def write_trial() -> None:
        found = _train_on_subset(recipe, path, directory, measure, quantile, seed, label)
        artifacts.write_json(out, {"measure": measure, "quantile": quantile, "seed": seed} | found)

    inputs = {
        "the scores": artifacts.sha256_of(directory.files.source(ON_POLICY).scores),
        "training": recipe.training.model_dump(),
        "objective": recipe.objective.model_dump(),
        "window": recipe.window,
        "chat_template": recipe.chat_template,
        "subset": recipe.subset,
        "held-out prompts read": [recipe.prompts, recipe.probes.read] if needs_probes(recipe) else None,
        "threads": thread_count(),
    }
    directory.run_stage(f"trial {label}", inputs, [out], write_trial)
    content: dict[str, Any] = artifacts.read_json(out)
    return content


def _train_on_subset(
    recipe: Percentiles, path: ModelPath, directory: RunDirectory, measure: str, quantile: float, seed: int, label: str
) -> dict[str, Any]:
    """Trains one epoch on the subset and measures both answers' ln p on it, before and after."""
    by_rank = recipe.window == "by_rank"
    choice = keep_around_quantile(_scored_table(directory.path), quantile, recipe.subset, measure, by_rank=by_rank)
    settings = recipe.training
    stored: Mapping[str, Any] = artifacts.read_json(directory.files.source(ON_POLICY).reference)
    before = {name: PairLogprobs(**stored[name]) for name in choice.kept["pair_id"]}
    steps = settings.epochs * -(-len(choice.kept) // settings.batch_size)
    trained = train_on_pairs(
        TrainingJob(path, choice.kept, before, recipe.objective, settings, steps, seed, label, recipe.chat_template)
    )
    after = pair_logprobs(trained.model, trained.tokenizer, choice.kept, max_length=settings.max_length)
    changes = {
        "chosen_change": fmean(after[name].chosen - before[name].chosen for name in before),
        "rejected_change": fmean(after[name].rejected - before[name].rejected for name in before),
    }
    if any(change != change for change in changes.values()):
        raise HarnessError("the training diverged", place=label, hint="Lower training.learning_rate.")
    read = {"refusals": read_refusals(recipe, trained.model, trained.tokenizer)} if needs_probes(recipe) else {}
    return {"pairs": len(before), "scores": choice.cut} | changes | read


def percentiles_results(
    recipe: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    correlations: Mapping[str, Mapping[str, float | None]],
    probes: Mapping[str, Any] | None = None,
) -> PercentilesResults:
    """The results, from the trials, the measures' correlations and what is said of the probes alone."""
    results = {
        "schema_version": 1,
        "experiment": "percentiles",
        "recipe": redact_json({name: value for name, value in recipe.items() if name != "published"}),
        "measured": [_summarize_measure(name, recipe, trials, probes) for name in recipe["measures"]],
        "correlations": {name: dict(row) for name, row in correlations.items()},
        **({"probes": probes} if probes else {}),
        "published": recipe["published"],
    }
    return PercentilesResults.model_validate(results)


def _summarize_measure(
    name: str, recipe: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], probes: Mapping[str, Any] | None
) -> dict[str, Any]:
    """One measure's subsets, lowest first, and how well it orders the change of ln p(y+), and of refusals where read.

    `tau` is Kendall's between the quantile and *minus* the mean change: 1 where a higher measure always means a larger
    fall, as the paper found for CHES.
    """
    subsets = []
    for quantile in recipe["quantiles"]:
        own = [each for each in trials if (each["measure"], each["quantile"]) == (name, quantile)]
        changes = [each["chosen_change"] for each in own]
        subset = {
            "quantile": quantile,
            "pairs": own[0]["pairs"],
            "scores": own[0]["scores"],
            "mean": fmean(changes),
            "low": min(changes),
            "high": max(changes),
            "per_seed": changes,
            "rejected_mean": fmean(each["rejected_change"] for each in own),
        }
        if probes:
            subset["refusal_change"] = fmean(each["refusals"] for each in own) - probes["start"]
        subsets.append(subset)
    quantiles = recipe["quantiles"]
    by_seed = zip(*(subset["per_seed"] for subset in subsets), strict=True)
    summary = {
        "measure": name,
        "subsets": subsets,
        "tau": kendall_tau(quantiles, [-subset["mean"] for subset in subsets]),
        "tau_per_seed": [kendall_tau(quantiles, [-change for change in changes]) for changes in by_seed],
    }
    if probes:
        summary["refusal_tau"] = kendall_tau(quantiles, [subset["refusal_change"] for subset in subsets])
    return summary


def kendall_tau(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Kendall's tau-b, None where either is constant."""
    tau = float(kendalltau(left, right).statistic)
    return None if tau != tau else tau
