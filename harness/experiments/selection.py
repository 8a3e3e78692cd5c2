"""By which measure to select pairs: of several tables of several organisms, what each measure keeps is trained on.

A stage for each organism's probe answers, for each table, for its scores, and for each training; of a trained model
only how its answers start is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.displacement.openings import answer_starts
from harness.experiments import selecting
from harness.experiments.harm import draw_groups, group_alike
from harness.experiments.schema import PairTable, Selection, SelectionMeasure
from harness.experiments.selection_results import ALL, GROUPS, RANDOM, selection_results
from harness.judges.registry import judge_identity
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.preferences.building import build_pairs
from harness.preferences.choosing import count_pair_types
from harness.prompts.sets import PromptRow, load_prompts
from harness.recipes.pinning import pin_recipe
from harness.recipes.schema import Arm, Recipe
from harness.run.directory import RunDirectory, read_pins
from harness.run.state import find_starting_model, open_directory, write_outcome
from harness.scoring.logprobs import PairLogprobs, pair_logprobs, tokenize_pairs
from harness.scoring.probes import Probes, draw_probes
from harness.scoring.scorer import score
from harness.support import artifacts, console
from harness.support.layout import ON_POLICY, RunFiles
from harness.support.run_results import SelectionResults
from harness.training.arms import optimizer_steps
from harness.training.difficulty import validation_losses
from harness.training.short import ShortTrainings
from harness.workers.machine import thread_count
from reports.experiments.page import render_experiment


def run_selection(recipe: Selection, out: Path) -> SelectionResults:
    """Runs the recipe into `out` and returns its results (also written there as results.json, with the page)."""
    recipe, pins = pin_recipe(recipe, read_pins(out))
    with artifacts.lock_directory(out):
        paths = {seed: find_starting_model(_of_organism(recipe, seed)) for seed in recipe.organisms}
        seeds = {"trials": recipe.seeds, "organisms": recipe.organisms, "pairs": [each.seed for each in recipe.tables]}
        data = {"organisms": {str(seed): path.content for seed, path in paths.items()}}
        first = paths[recipe.organisms[0]]
        directory = open_directory(out, recipe, first, pins=pins, seeds=seeds, data=data)
        organisms = [Organism(recipe, directory, seed, path) for seed, path in paths.items()]
        tables, trials = [], list[dict[str, Any]]()
        for number, settings in enumerate(recipe.tables):
            for organism in organisms:
                table = Table(organism, number, settings)
                tables.append(table.describe())
                trials += table.run_trials()
        results = selection_results(recipe.model_dump(mode="json"), tables, trials)
        write_outcome(directory, results, render_experiment)
    return results


def _of_organism(recipe: Selection, seed: int) -> Selection:
    return recipe.model_copy(update={"organism_seed": seed}) if recipe.model == "miniature" else recipe


class Organism:
    """One starting model: loaded when something has to be done with it, once."""

    def __init__(self, recipe: Selection, directory: RunDirectory, seed: int, path: ModelPath) -> None:
        self.recipe, self.directory, self.seed, self.path = recipe, directory, seed, path
        self.files = directory.files.organism(seed)
        prompts = load_prompts(recipe.prompts, "unsafe")
        self.training_prompts: list[PromptRow] = [row for row in prompts if row["split"] == "train"]
        stride = max(1, len(self.training_prompts) // recipe.training_prompts)
        self.read = {
            "test": [row["prompt"] for row in prompts if row["split"] == "test"],
            "train": [row["prompt"] for row in self.training_prompts[::stride][: recipe.training_prompts]],
        }

    @property
    def inputs(self) -> dict[str, object]:
        """What everything of this organism depends on."""
        return {"the organism": self.path.content, "the prompts": self.training_prompts}

    @cached_property
    def loaded(self) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """The model, in float32, and its tokenizer."""
        model, tokenizer = load_model(self.path)
        return model.float().eval(), tokenizer

    def read_starts(self) -> dict[str, float]:
        """How often answers start as refusals under the model as it stands, by split."""
        model, tokenizer = self.loaded
        return {
            split: fmean(each.refusal for each in answer_starts(model, tokenizer, prompts))
            for split, prompts in self.read.items()
        }

    def draw_probes(self) -> Probes:
        """Its answers to training prompts, drawn apart from those of the pairs."""
        out, settings = self.files.probes, self.recipe.probes

        def write_probes() -> None:
            drawn = draw_probes(
                *self.loaded,
                {True: self.training_prompts},
                samples=settings.samples,
                temperature=settings.temperature,
                max_new_tokens=self.recipe.pairs.max_new_tokens,
                judge=self.recipe.judge,
                seed=settings.seed,
            )
            drawn.save(out)

        inputs = {"probes": settings.model_dump(), "the judge": judge_identity(self.recipe.judge), **self.inputs}
        self.directory.run_stage(f"probes of organism {self.seed}", inputs, [out], write_probes)
        return Probes.load(out)

    def read_start(self) -> dict[str, float]:
        """How its own answers start, before any training."""
        out = self.files.reference.starts
        inputs = {"the prompts read": self.read, **self.inputs}
        self.directory.run_stage(
            f"start of organism {self.seed}", inputs, [out], lambda: artifacts.write_json(out, self.read_starts())
        )
        content: dict[str, float] = artifacts.read_json(out)
        return content


@dataclass(frozen=True, slots=True)
class Trial:
    """One training: the pairs that a rule keeps, the objective and the seed of the batches' order."""

    measure: str
    share: float
    objective: str
    seed: int
    kept: Sequence[str]


class Table:
    """One table of pairs of one organism, with all trainings on it."""

    def __init__(self, organism: Organism, number: int, settings: PairTable) -> None:
        self.organism, self.number, self.settings = organism, number, settings
        self.recipe, self.directory = organism.recipe, organism.directory
        self.files: RunFiles = organism.files.table(number)
        self.name = f"organism-{organism.seed}-table-{number}"
        self._write_pairs()
        self._write_scores()
        self.scored = Dataset.from_parquet(str(self.files.source(ON_POLICY).scores))

    def _write_pairs(self) -> None:
        out = self.files.source(ON_POLICY).pairs
        recipe, settings = self.recipe, self.settings.model_dump(include={"temperature", "seed"})
        sampling = Recipe(
            name=recipe.name,
            model=recipe.model,
            prompts=recipe.prompts,
            judge=recipe.judge,
            pairs=recipe.pairs.model_copy(update=settings),
            arms={"raw": Arm()},
        )

        def write_pairs() -> None:
            built = build_pairs(sampling, self.organism.path, self.organism.training_prompts, self.files.partial_pairs)
            artifacts.write_jsonl(out, built.rows)

        inputs = {
            "pairs": sampling.pairs.model_dump(),
            "the judge": judge_identity(recipe.judge),
            **self.organism.inputs,
        }
        self.directory.run_stage(f"pairs of {self.name}", inputs, [out], write_pairs)

    def _write_scores(self) -> None:
        """scores.parquet: every pair that can be scored, with a column for each measure; and the reference's ln p."""
        files, probes = self.files.source(ON_POLICY), self.organism.draw_probes()
        inputs = {
            "the pairs": artifacts.sha256_of(files.pairs),
            "the probes": artifacts.sha256_of(self.organism.files.probes),
            "training": self.recipe.training.model_dump(),
            "measures": self.recipe.measures,
            "threads": thread_count(),
            **self.organism.inputs,
        }
        outputs = [files.scores, files.reference]
        self.directory.run_stage(f"scores of {self.name}", inputs, outputs, lambda: self._measure_pairs(probes))

    def _measure_pairs(self, probes: Probes) -> None:
        model, tokenizer = self.organism.loaded
        files, settings = self.files.source(ON_POLICY), self.recipe.training
        rows = Dataset.from_list(artifacts.read_jsonl(files.pairs))
        scored = score(rows, model, tokenizer, probes=probes, max_length=settings.max_length)
        scored = scored.filter(lambda reason: reason is None, input_columns="reason")
        tokens = tokenize_pairs(scored, tokenizer, settings.max_length)
        reference = pair_logprobs(model, tokenizer, scored, max_length=settings.max_length)
        unembedding = model.get_output_embeddings().weight.detach().float().cpu()
        contrast = selecting.opening_contrast(probes, len(unembedding))
        columns = {
            "theorem_2": {name: selecting.theorem_2_gain(unembedding, tokens[name], contrast) for name in tokens},
            "log_margin": {name: reference[name].log_margin for name in tokens},
        }
        if "validation_loss" in self.recipe.measures:
            columns["validation_loss"] = validation_losses(self.organism.path, scored, reference, settings)
        for column, values in columns.items():
            scored = scored.add_column(column, [values[name] for name in scored["pair_id"]])
        with artifacts.atomic_file(files.scores) as temporary:
            scored.to_parquet(str(temporary))
        artifacts.write_json(files.reference, {name: asdict(each) for name, each in reference.items()})

    def describe(self) -> dict[str, Any]:
        """What the results need of the table beside its trainings."""
        names = self.scored["pair_id"][:]
        values = {measure: self.scored[measure][:] for measure in self.recipe.measures}
        return {
            "organism": self.organism.seed,
            "table": self.number,
            **self.settings.model_dump(include={"temperature", "seed"}),
            "pair_types": count_pair_types(self.scored),
            "start": self.organism.read_start(),
            "steps": self.steps,
            "groups": group_alike(self.scored),
            "scores": {measure: dict(zip(names, column, strict=True)) for measure, column in values.items()},
        }

    @property
    def steps(self) -> int:
        """Optimizer steps of every training: as many as training on all pairs takes."""
        return optimizer_steps(Arm(), self.recipe.training, len(self.scored), len(self.scored))

    def list_trials(self) -> Iterator[Trial]:
        """Every training on this table."""
        recipe, names, (main, *others) = self.recipe, self.scored["pair_id"][:], self.recipe.objectives
        for seed in recipe.seeds:
            yield Trial(ALL, 1.0, main, seed, names)
        for share in sorted(recipe.shares, key=lambda share: share != recipe.compared):
            seeds = recipe.seeds if share == recipe.compared else recipe.seeds[:1]
            for measure in recipe.measures:
                kept = self._keep(measure, share)
                yield from (Trial(measure, share, main, seed, kept) for seed in seeds)
            yield from (self._draw(share, main, draw) for draw in range(recipe.random_draws))
        for objective in others if self.settings.objectives else ():
            yield Trial(ALL, 1.0, objective, recipe.seeds[0], names)
            for measure in recipe.measures:
                yield Trial(measure, recipe.compared, objective, recipe.seeds[0], self._keep(measure, recipe.compared))
            yield from (self._draw(recipe.compared, objective, draw) for draw in range(recipe.random_draws))
        groups = group_alike(self.scored) if self.settings.groups else {}
        for draw in range(self.settings.groups):
            yield Trial(GROUPS, 0.5, main, draw, draw_groups(groups, f"{self.name} {draw}"))

    def _keep(self, measure: SelectionMeasure, share: float) -> list[str]:
        values = dict(zip(self.scored["pair_id"][:], self.scored[measure][:], strict=True))
        return selecting.keep_share({name: selecting.badness(measure, value) for name, value in values.items()}, share)

    def _draw(self, share: float, objective: str, draw: int) -> Trial:
        kept = selecting.random_subset(self.scored["pair_id"][:], share, f"{self.name} {share:g} {draw}")
        return Trial(RANDOM, share, objective, draw, kept)

    def run_trials(self) -> list[dict[str, Any]]:
        """Every training's outcome."""
        trials = [*self.list_trials()]
        with console.progress_bar(f"Trainings of {self.name}", len(trials), "trainings") as advance:
            found = []
            for trial in trials:
                found.append(self._run_trial(trial))
                advance()
        return found

    @cached_property
    def _shared_inputs(self) -> dict[str, object]:
        scores = artifacts.sha256_of(self.files.source(ON_POLICY).scores)
        return {
            "the scores": scores,
            "training": self.recipe.training.model_dump(),
            "the prompts read": self.organism.read,
            "the organism": self.organism.path.content,
            "threads": thread_count(),
        }

    @cached_property
    def _trainings(self) -> ShortTrainings:
        model, tokenizer = self.organism.loaded
        tokens = tokenize_pairs(self.scored, tokenizer, self.recipe.training.max_length)
        stored: Mapping[str, Any] = artifacts.read_json(self.files.source(ON_POLICY).reference)
        reference = {name: PairLogprobs(**each) for name, each in stored.items()}
        return ShortTrainings(model, tokens, reference, self.recipe.training)

    def _run_trial(self, trial: Trial) -> dict[str, Any]:
        label = f"{self.name}: {trial.measure} {trial.share:g} {trial.objective} seed {trial.seed}"
        out = self.directory.files.trial(self.name, f"{trial.measure}-{trial.share:g}-{trial.objective}", trial.seed)
        arm = self.recipe.objectives[trial.objective]

        def write_trial() -> None:
            with console.hide_bars():
                self._trainings.train(trial.kept, arm, self.steps, trial.seed, label)
                after = self.organism.read_starts()
                self._trainings.restore()
            content = {"organism": self.organism.seed, "table": self.number, **asdict(trial), **after}
            artifacts.write_json(out, content)

        inputs = {"the pairs kept": trial.kept, "the objective": arm.model_dump(), "steps": self.steps}
        self.directory.run_stage(f"trial {label}", {**inputs, **self._shared_inputs}, [out], write_trial)
        content: dict[str, Any] = artifacts.read_json(out)
        return content
