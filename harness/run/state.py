"""One run: recipe, starting model, directory and processes; and what runs of every kind begin and end with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.judges.registry import judge_identity, judges_version
from harness.models.paths import ModelPath
from harness.prompts.asked import load_variants
from harness.prompts.sets import PROMPT_KINDS, PromptRow, load_prompts
from harness.recipes.pinning import Pins, fetch_model_path
from harness.recipes.schema import Recipe, RecipeBase
from harness.recipes.task_files import fingerprint_tasks
from harness.run.directory import RunDirectory
from harness.run.own_models import find_own_model
from harness.scoring.targets import TARGETS, Target, influence_column
from harness.support import artifacts, console
from harness.support.layout import DRAWS, OTHER_SOURCES, RunFiles
from harness.support.run_results import AnyResults
from harness.training.jobs import Tracking
from harness.workers.processes import ProcessPlan, plan_processes

FORECAST_PROMPTS = 96
"""Prompts whose probe answers a forecast is read from: enough for its size, and a fraction of the work of all."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: the recipe, the model it starts from, and its directory."""

    recipe: Recipe
    model_path: ModelPath
    directory: RunDirectory

    @property
    def files(self) -> RunFiles:
        """Where its files lie."""
        return self.directory.files

    @property
    def other_sources(self) -> list[str]:
        """The tables beside the on-policy pairs that an arm trains on."""
        return sorted({source for arm in self.recipe.arms.values() for source in OTHER_SOURCES[arm.pairs]})

    @property
    def needs_difficulty(self) -> bool:
        """Whether an arm chooses or orders its pairs by how hard they are."""
        return any(arm.needs_difficulty for arm in self.recipe.arms.values())

    def filters_by_influence(self, arm: str) -> bool:
        """Whether this arm filters by what a pair does to a rate."""
        return self.recipe.arms[arm].filter.influence is not None

    @property
    def influence_targets(self) -> tuple[Target, ...]:
        """The targets whose influences arms filter by."""
        return tuple(target for target in TARGETS if influence_column(target) in self.recipe.influences)

    @property
    def forecast_arms(self) -> list[str]:
        """The arms whose outcome is forecast where influence is measured: the first on all pairs, those that it chose.

        A forecast takes steps of its own, which cost as much as a good part of the training. None where training is
        launched: they are taken in one process, which may not hold them. Not those whose choice is refreshed, as it is
        made only while they train.
        """
        arms = self.recipe.arms if self.recipe.influences and self.recipe.training.launch is None else {}
        unfiltered = [name for name, arm in arms.items() if arm.filter.share is None and arm.filter.only is None]
        chosen = [name for name in arms if self.filters_by_influence(name) and arms[name].filter.refresh is None]
        return [name for name in arms if name in unfiltered[:1] or name in chosen]

    def track(self, name: str) -> Tracking | None:
        """Where a training of this run, or its outcome, is reported under a name; None where nothing is."""
        root, trackers = self.files.root, self.recipe.training.report_to
        run = f"{root.name}-{name}" if root.parent.name == DRAWS else name
        return Tracking(trackers, self.recipe.name, run, str(self.files.tensorboard)) if trackers else None

    def answer_inputs(self) -> dict[str, object]:
        """What answers to the prompts as they are, and verdicts, depend on beside the model."""
        return {
            "the prompts": [load_prompts(self.recipe.prompts, kind) for kind in PROMPT_KINDS],
            "the judge": judge_identity(self.recipe.judge),
            "the backend": self.recipe.answering,
        }


def variant_facts(recipe: Recipe) -> dict[str, object]:
    """A hash of the variants of the prompts, which the evaluation alone asks; nothing where there are none."""
    variants = load_variants(recipe.prompts)
    return {"the variants of prompts": artifacts.json_fingerprint(variants)} if variants else {}


def training_prompts(recipe: Recipe) -> list[PromptRow]:
    """The unsafe prompts that pairs are made for."""
    return [row for row in load_prompts(recipe.prompts, "unsafe") if row["split"] == "train"]


# A regression run


def open_run(recipe: Recipe, path: ModelPath, out: Path, pins: Pins) -> Run:
    """The run of a pinned recipe in its directory; nothing is written before a stage has something to record."""
    seeds = {"training and evaluation": recipe.seeds, "pairs": recipe.pairs.seed, "organism": recipe.organism_seed}
    directory = open_directory(out, recipe, path, pins=pins, seeds=seeds, data=_data_facts(recipe))
    return Run(recipe, path, directory)


def _data_facts(recipe: Recipe) -> dict[str, Any]:
    """Hashes of what the run reads, and who judges."""
    tables = {name: artifacts.hash_if_local(getattr(recipe, name)) for name in ("preferences", "gold", "off_policy")}
    return {
        "prompts": artifacts.json_fingerprint([load_prompts(recipe.prompts, kind) for kind in PROMPT_KINDS]),
        **variant_facts(recipe),
        **{name: content for name, content in tables.items() if content is not None},
        **({"tasks": artifacts.json_fingerprint(fingerprint_tasks(recipe))} if recipe.tasks else {}),
        "judge": {"identity": judge_identity(recipe.judge), "version": judges_version()},
    }


def plan_arm_processes(recipe: Recipe, path: ModelPath, max_processes: int | None) -> ProcessPlan:
    """Processes for the arms; a model that is not here yet is taken to be too large to have twice on a CPU."""
    weights = [file.stat().st_size for file in Path(path).glob("*.safetensors")]
    plan = plan_processes(sum(weights) if weights else 1 << 40, max_processes)
    # A launched training takes all GPUs for itself, vLLM or a server on CPUs all cores.
    alone = recipe.training.launch or (recipe.backend != "hf" and not plan.devices)
    return plan_processes(0, 1) if alone else plan


# What every kind of run begins and ends with


def find_starting_model(recipe: RecipeBase, grow: Callable[[int], Path] | None = None) -> ModelPath:
    """Where the recipe's model is: its directory, fetched if need be, or one of our own, made if need be.

    Args:
        recipe: of any kind.
        grow: the organism of a seed that `miniature` means, where it is another one than the default.
    """
    if recipe.model == "miniature" and grow is not None:
        return ModelPath(str(grow(recipe.organism_seed)))
    return find_own_model(recipe.model, recipe.organism_seed) or fetch_model_path(recipe)


def open_directory(
    out: Path, recipe: RecipeBase, model: ModelPath, *, pins: Pins, seeds: Mapping[str, Any], data: Mapping[str, Any]
) -> RunDirectory:
    """The directory of a pinned recipe's run; nothing is written before a stage has something to record.

    Args:
        out: the run directory.
        recipe: pinned, so it repeats.
        model: the model it starts from.
        pins: what it takes from the hub.
        seeds: its seeds, by what they are of.
        data: hashes of what it reads.
    """
    facts = {"hub": pins, "seeds": seeds, "data": data}
    return RunDirectory(out, recipe.model_dump(mode="json"), model.manifest_entry, facts)


def write_outcome(directory: RunDirectory, results: AnyResults, render: Callable[[Path], str]) -> None:
    """Writes results.json, records it, and writes the page that `render` makes of the run directory."""
    files = directory.files
    directory.record_outcome(results.to_json())
    console.print_note(f"Writing {files.report}")
    artifacts.write_text(files.report, render(files.root))
