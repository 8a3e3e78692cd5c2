"""Which samples displace (section 5): equal subsets around percentiles of each similarity measure, trained on apart.

A stage for the table of pairs, one for its scores, and one for each subset and seed; of the trained models only the
change of ln p(y+) and ln p(y-) on their own subset is kept.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.recipes.pinning import fetch_model_path, pin_recipe
from harness.recipes.schema import Arm, Count, RecipeBase, Strict, TrainingSettings
from harness.run.directory import RunDirectory, read_pins
from harness.support import artifacts, console
from harness.support.errors import HarnessError
from harness.support.redaction import redact_json
from harness.support.run_results import PercentilesResults
from harness.workers.machine import thread_count

if TYPE_CHECKING:
    from datasets import Dataset


PROMPTER_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|prompter|>' if message['role'] == 'user' else '<|assistant|>' }}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""For a base model without a chat template, with the marks of the paper's code."""
Measure = Literal["ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance", "length_difference"]


class PublishedOrder(Strict):
    """What was published of one measure (figure 2, whose values are not printed)."""

    measure: Measure
    said: str


class PublishedOrders(Strict):
    """What was published; shown beside what is measured, never mixed with it."""

    source: str
    orders: tuple[PublishedOrder, ...]


class Bundled(Strict):
    """How the essays organism's pairs are drawn: `lengths` apart as they come, or alike to a word."""

    lengths: Literal["any", "alike"] = "any"
    seed: int = 0


class Percentiles(RecipeBase):
    """What to run. `model` is `miniature` (the essays organism), a checkpoint directory or a hub id.

    `preferences` is `bundled` (drawn from the essays organism's world), a file or a hub id; `sample` of its pairs are
    scored. `length_difference`, |y-| - |y+| in tokens, is a control that looks at no hidden state.
    """

    experiment: Literal["percentiles"]
    preferences: str = "bundled"
    split: str = "train"
    bundled: Bundled = Bundled()
    chat_template: str = PROMPTER_TEMPLATE
    sample: Count | None = None
    sample_seed: int = 0
    subset: Count = 512
    quantiles: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=2)] = (0, 0.25, 0.5, 0.75, 1)
    measures: Annotated[tuple[Measure, ...], Field(min_length=1)] = (
        "ches",
        "ln_ches",
        "last_hidden_inner_product",
        "neg_edit_distance",
    )
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0, 1, 2)
    training: TrainingSettings = TrainingSettings(learning_rate=1e-7, max_length=512)
    published: PublishedOrders | None = None

    @field_validator("training")
    @classmethod
    def _in_this_process(cls, training: TrainingSettings) -> TrainingSettings:
        if training.launch or (training.lora and training.lora.quantize):
            raise ValueError("launch and lora.quantize are for recipes of arms")
        return training

    @field_validator("seeds", "quantiles", "measures")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) != len(values):
            raise ValueError("each one once")
        return values


def run_percentiles(recipe: Percentiles, out: Path) -> PercentilesResults:
    """Runs the recipe into `out` and returns its results (also written there as results.json, with the page)."""
    recipe, pins = pin_recipe(recipe, read_pins(out))
    with artifacts.lock_directory(out):
        path = _starting_model(recipe)
        facts = {
            "hub": pins,
            "seeds": _recorded_seeds(recipe),
            "data": {"preferences": artifacts.hash_if_local(recipe.preferences)},
        }
        directory = RunDirectory(out, recipe.model_dump(mode="json"), path.manifest_entry, facts)
        _write_preferences(recipe, directory)
        _score_pairs(recipe, path, directory)
        trials = [
            _run_subset_trial(recipe, path, directory, measure, quantile, seed)
            for measure in recipe.measures
            for quantile in recipe.quantiles
            for seed in recipe.seeds
        ]
        results = percentiles_results(recipe.model_dump(mode="json"), trials, _rank_correlations(recipe, out))
        artifacts.write_json(out / "results.json", results.to_json())
        directory.record_files(out / "results.json")
        _write_page(out)
    return results


def _recorded_seeds(recipe: Percentiles) -> dict[str, Any]:
    drawn = {"sample": recipe.sample_seed, "bundled pairs": recipe.bundled.seed, "organism": recipe.organism_seed}
    return {"trials": recipe.seeds, **drawn}


def _starting_model(recipe: Percentiles) -> ModelPath:
    if recipe.model != "miniature":
        return fetch_model_path(recipe)
    from harness.organism import essays, growing

    return ModelPath(str(growing.ensure_organism(essays.ESSAYS_GROWTH, recipe.organism_seed)))


def _write_preferences(recipe: Percentiles, directory: RunDirectory) -> None:
    """preferences.jsonl: the sampled pairs."""
    out = directory.path / "preferences.jsonl"
    source = Path(recipe.preferences)
    content = artifacts.sha256_of(source) if source.exists() else recipe.preferences
    inputs = {
        "preferences": [content, recipe.split, recipe.bundled.model_dump()],
        "the sample": [recipe.sample, recipe.sample_seed],
    }
    directory.run_stage("preferences", inputs, [out], lambda: artifacts.write_jsonl(out, _sampled_pairs(recipe)))


def _sampled_pairs(recipe: Percentiles) -> Sequence[Mapping[str, Any]]:
    if recipe.preferences == "bundled":
        from harness.organism import essays

        return essays.essay_pairs(recipe.sample or 1000, recipe.bundled.seed, alike=recipe.bundled.lengths == "alike")
    from harness.preferences.tables import load_preferences

    rows: list[dict[str, Any]] = [
        {name: row[name] for name in ("pair_id", "prompt", "chosen", "rejected")}
        for row in load_preferences(recipe.preferences, split=recipe.split)
    ]
    if recipe.sample is None or recipe.sample >= len(rows):
        return rows
    return random.Random(recipe.sample_seed).sample(rows, recipe.sample)


def _score_pairs(recipe: Percentiles, path: ModelPath, directory: RunDirectory) -> None:
    """scores.parquet: every pair with the measures, and the length difference as one more."""
    table, out = directory.path / "preferences.jsonl", directory.path / "scores.parquet"

    def write_scores() -> None:
        from harness.preferences.tables import load_preferences
        from harness.scoring.scorer import score

        model, tokenizer = load_model(path, chat_template=recipe.chat_template)
        scored = score(load_preferences(table), model, tokenizer, max_length=recipe.training.max_length)
        usable = scored.filter(lambda score: score is not None, input_columns="ches")
        if len(usable) < recipe.subset:
            raise HarnessError(
                f"{len(usable)} pairs have a score, {recipe.subset} make a subset", hint="Lower subset or raise sample."
            )
        difference = [n - p for n, p in zip(usable["rejected_tokens"], usable["chosen_tokens"], strict=True)]
        with artifacts.atomic_file(out) as temporary:
            usable.add_column("length_difference", difference).to_parquet(str(temporary))

    inputs = {
        "the pairs": artifacts.sha256_of(table),
        "training.max_length": recipe.training.max_length,
        "chat_template": recipe.chat_template,
        "subset": recipe.subset,
    }
    directory.run_stage("scores", inputs, [out], write_scores)


def _scored_table(out: Path) -> Dataset:
    from datasets import Dataset

    return Dataset.from_parquet(str(out / "scores.parquet"))


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
    out = directory.path / "trials" / measure / f"quantile-{quantile:g}" / f"seed-{seed}.json"

    def write_trial() -> None:
        found = _train_on_subset(recipe, path, directory.path, measure, quantile, seed, label)
        artifacts.write_json(out, {"measure": measure, "quantile": quantile, "seed": seed} | found)

    inputs = {
        "the scores": artifacts.sha256_of(directory.path / "scores.parquet"),
        "training": recipe.training.model_dump(),
        "chat_template": recipe.chat_template,
        "subset": recipe.subset,
        "threads": thread_count(),
    }
    directory.run_stage(f"trial {label}", inputs, [out], write_trial)
    content: dict[str, Any] = artifacts.read_json(out)
    return content


def _train_on_subset(
    recipe: Percentiles, path: ModelPath, out: Path, measure: str, quantile: float, seed: int, label: str
) -> dict[str, Any]:
    """Trains one epoch on the subset and measures both answers' ln p on it, before and after."""
    from harness.scoring.filtering import keep_around_quantile
    from harness.scoring.logprobs import pair_logprobs
    from harness.training.jobs import TrainingJob
    from harness.training.train import train_on_pairs

    choice = keep_around_quantile(_scored_table(out), quantile, recipe.subset, measure)
    settings = recipe.training
    model, tokenizer = load_model(path, chat_template=recipe.chat_template)
    before = pair_logprobs(model, tokenizer, choice.kept, max_length=settings.max_length)
    del model
    steps = settings.epochs * -(-len(choice.kept) // settings.batch_size)
    trained = train_on_pairs(
        TrainingJob(path, choice.kept, before, Arm(), settings, steps, seed, label, recipe.chat_template)
    )
    after = pair_logprobs(trained.model, tokenizer, choice.kept, max_length=settings.max_length)
    changes = {
        "chosen_change": fmean(after[name].chosen - before[name].chosen for name in before),
        "rejected_change": fmean(after[name].rejected - before[name].rejected for name in before),
    }
    if any(change != change for change in changes.values()):
        raise HarnessError("the training diverged", place=label, hint="Lower training.learning_rate.")
    return {"pairs": len(before), "scores": choice.cut} | changes


def percentiles_results(
    recipe: Mapping[str, Any],
    trials: Sequence[Mapping[str, Any]],
    correlations: Mapping[str, Mapping[str, float | None]],
) -> PercentilesResults:
    """The results, from the trials and the measures' correlations alone."""
    results = {
        "schema_version": 1,
        "experiment": "percentiles",
        "recipe": redact_json({name: value for name, value in recipe.items() if name != "published"}),
        "measured": [_summarize_measure(name, recipe, trials) for name in recipe["measures"]],
        "correlations": {name: dict(row) for name, row in correlations.items()},
        "published": recipe["published"],
    }
    return PercentilesResults.model_validate(results)


def _summarize_measure(name: str, recipe: Mapping[str, Any], trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One measure's subsets, lowest first, and how well it orders the change of ln p(y+).

    `tau` is Kendall's between the quantile and *minus* the mean change: 1 where a higher measure always means a larger
    fall, as the paper found for CHES.
    """
    subsets = []
    for quantile in recipe["quantiles"]:
        own = [each for each in trials if (each["measure"], each["quantile"]) == (name, quantile)]
        changes = [each["chosen_change"] for each in own]
        subsets.append(
            {
                "quantile": quantile,
                "pairs": own[0]["pairs"],
                "scores": own[0]["scores"],
                "mean": fmean(changes),
                "low": min(changes),
                "high": max(changes),
                "per_seed": changes,
                "rejected_mean": fmean(each["rejected_change"] for each in own),
            }
        )
    quantiles = recipe["quantiles"]
    by_seed = zip(*(subset["per_seed"] for subset in subsets), strict=True)
    return {
        "measure": name,
        "subsets": subsets,
        "tau": kendall_tau(quantiles, [-subset["mean"] for subset in subsets]),
        "tau_per_seed": [kendall_tau(quantiles, [-change for change in changes]) for changes in by_seed],
    }


def kendall_tau(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Kendall's tau-b, None where either is constant."""
    from scipy.stats import kendalltau

    tau = float(kendalltau(left, right).statistic)
    return None if tau != tau else tau


def _write_page(out: Path) -> None:
    from reports.experiments import render_experiment

    console.print_note(f"Writing {out / 'report.html'}")
    artifacts.write_text(out / "report.html", render_experiment(out))
