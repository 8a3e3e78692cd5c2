"""A run directory as the report's own types: what each file says, and nothing computed from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import Answer
from harness.prompts.variants import variant_name
from harness.support.artifacts import read_json
from harness.support.errors import HarnessError
from harness.support.layout import ON_POLICY, RunFiles
from harness.support.run_results import (
    RERUN,
    ArmResult,
    RegressionRecipe,
    RunResults,
    parse_run_results,
    refuse_unfinished_run,
)

AnswersByPrompt = Mapping[tuple[str, str, int], Answer]
"""The answers of one model under one seed, by task, prompt, and which of the prompt's answers it is."""

JsonObject = Mapping[str, Any]
"""What a file of the run says, as JSON."""

_T = TypeVar("_T")
_SIDES = ("prompts", "pairs")


@dataclass(frozen=True, slots=True)
class ScoredPair:
    """One preference pair with its score; `ln_ches` is None where it could not be scored, a verdict where unjudged."""

    pair_id: str
    prompt_id: str
    prompt: str
    chosen: str
    rejected: str
    chosen_verdict: str | None
    rejected_verdict: str | None
    ln_ches: float | None
    chosen_tokens: int | None
    rejected_tokens: int | None


@dataclass(frozen=True, slots=True)
class PromptPushes:
    """How hard each training pair pushes each prompt's refusal, to first order; below zero, down.

    `prompts`: the row of each. `pairs`: their columns. No prompts where the run found it too much work.
    """

    prompts: Mapping[str, int]
    pairs: Mapping[str, int]
    pushes: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One finished run. Mappings by arm are in the order of results.json; by seed in the recipe's.

    `name` is what a page calls it, `date` when its last evaluation ended, in seconds since 1970. Files that not every
    run has are None where absent.
    """

    directory: Path
    name: str
    date: float
    results: RunResults
    manifest: JsonObject
    answers: Mapping[str, Mapping[int, AnswersByPrompt]]
    training: Mapping[str, Mapping[int, JsonObject]]
    displacement: Mapping[str, Mapping[int, JsonObject]]
    reference: Mapping[str, Sequence[float]] | None
    pairs: Sequence[ScoredPair] | None
    influences: Mapping[str, Mapping[str, float | None]] | None
    pushes: PromptPushes | None
    nearest: Mapping[str, Sequence[JsonObject]] | None
    calibration: JsonObject | None

    @property
    def recipe(self) -> RegressionRecipe:
        """The recipe as the run recorded it."""
        return self.results.recipe

    @property
    def arms(self) -> Mapping[str, ArmResult]:
        """What results.json says of each arm."""
        return self.results.arms

    @property
    def trained(self) -> list[str]:
        """The arms other than the baseline."""
        return self.results.trained_arms

    @property
    def miniature(self) -> bool:
        """Whether the model is the embedded organism."""
        return self.recipe.model == "miniature"

    @property
    def asked_benign(self) -> bool:
        """Whether benign prompts were put to any model: the results or an answer say so."""
        answers = (answer for by_seed in self.answers.values() for each in by_seed.values() for answer in each.values())
        return self.results.asked_benign or any("benign_compliance_rate" in answer.outcomes for answer in answers)


def read_run(directory: Path) -> FinishedRun:
    """Reads a finished run. Raises HarnessError naming what is missing or broken."""
    refuse_unfinished_run(directory)
    files = RunFiles(directory)
    content, manifest = read_run_file(files.results), read_run_file(files.manifest)
    if "experiment" in content:
        raise HarnessError(
            f"is of the experiment {content['experiment']!r}, which has a report of its own",
            place=str(files.results),
            hint="Give directories of regression runs only.",
        )
    results = parse_run_results(content, str(files.results))
    seeds, arms = results.recipe.seeds, list(results.arms)
    own = {*results.own_tasks}
    evaluated = {arm: {seed: _read_answers(files.arm(arm, seed).evaluation, own) for seed in seeds} for arm in arms}
    return FinishedRun(
        directory,
        directory.resolve().name,
        max((date for by_seed in evaluated.values() for _, date in by_seed.values()), default=0.0),
        results,
        manifest,
        _drop_absent({arm: {seed: found for seed, (found, _) in each.items()} for arm, each in evaluated.items()}),
        _read_by_arm(arms, seeds, lambda arm, seed: files.arm(arm, seed).training),
        _read_by_arm(arms, seeds, lambda arm, seed: files.arm(arm, seed).displacement),
        _read_optional(files.reference.logprobs),
        _read_pairs(files.source(ON_POLICY).scores),
        _read_influences(files.influence),
        _read_pushes(files.pushes),
        (_read_optional(files.reference.nearest) or {}).get("nearest"),
        _read_optional(files.calibration),
    )


def read_runs(directories: Sequence[Path]) -> list[FinishedRun]:
    """Several runs in the order of their dates, names that are alike told apart by the folder above.

    Raises HarnessError where one is no finished run, or given twice.
    """
    places = [directory.resolve() for directory in directories]
    if twice := [place for place in places if places.count(place) > 1]:
        raise HarnessError("is given twice", place=str(twice[0]), hint="Give each run directory once.")
    runs = sorted(map(read_run, directories), key=lambda run: run.date)
    names = [run.name for run in runs]
    return [
        replace(run, name="/".join(run.directory.resolve().parts[-2:])) if names.count(run.name) > 1 else run
        for run in runs
    ]


def read_run_file(path: Path) -> JsonObject:
    """The JSON object in a file that every finished run has. Raises HarnessError where it is missing or broken."""
    if not path.is_file():
        raise HarnessError("is not there", place=str(path), hint="Give a directory that `harness run` finished.")
    content = read_json(path)
    if not isinstance(content, dict):
        raise HarnessError("is no JSON object", place=str(path), hint=RERUN)
    return content


def _read_optional(path: Path) -> JsonObject | None:
    """A file that not every run has."""
    return read_run_file(path) if path.is_file() else None


def _read_answers(place: Path, own_tasks: Collection[str]) -> tuple[AnswersByPrompt, float]:
    """The answers of an arm and seed, and when they were given; none where it has no evaluation at all.

    Those to variants of the prompts are left to results.json and the gate, and those to tasks of the user's own, which
    no judge read.
    """
    if not place.is_dir():
        return {}, 0.0
    evaluations = read_evaluations(place)
    found: dict[tuple[str, str, int], Answer] = {}
    seen: Counter[tuple[str, str]] = Counter()
    every = (answer for evaluation in evaluations for answer in evaluation.answers)
    ours = (answer for answer in every if answer.task not in own_tasks)
    for answer in (answer for answer in ours if variant_name(answer.doc) is None):
        prompt = answer.task, answer.prompt_id
        found[*prompt, seen[prompt]] = answer
        seen[prompt] += 1
    return found, max(evaluation.date for evaluation in evaluations)


def _read_by_arm(
    arms: Sequence[str], seeds: Sequence[int], place: Callable[[str, int], Path]
) -> dict[str, dict[int, JsonObject]]:
    """A JSON file of each arm and seed that has it."""
    return _drop_absent({arm: {seed: _read_optional(place(arm, seed)) for seed in seeds} for arm in arms})


def _drop_absent(found: Mapping[str, Mapping[int, _T | None]]) -> dict[str, dict[int, _T]]:
    """What there is by arm and seed; arms without any are left out."""
    kept = {arm: {seed: part for seed, part in by_seed.items() if part} for arm, by_seed in found.items()}
    return {arm: by_seed for arm, by_seed in kept.items() if by_seed}


def _read_pairs(path: Path) -> list[ScoredPair] | None:
    """The scored pairs, without loading any model code. Raises HarnessError where the table is broken."""
    if not path.is_file():
        return None
    try:
        return [_parse_pair(row) for row in pq.read_table(path).to_pylist()]
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        raise HarnessError(f"is no table of scored pairs ({error})", place=str(path), hint=RERUN) from error


def _read_influences(path: Path) -> dict[str, dict[str, float | None]] | None:
    """What training on each pair does, by `pair_id` and column. Raises HarnessError where the table is broken."""
    if not path.is_file():
        return None
    try:
        return {row.pop("pair_id"): row for row in pq.read_table(path).to_pylist()}
    except (pa.ArrowException, OSError, KeyError) as error:
        raise HarnessError(f"is no table of influences ({error})", place=str(path), hint=RERUN) from error


def _read_pushes(path: Path) -> PromptPushes | None:
    """What pushes each prompt's refusal. Raises HarnessError where the file is broken."""
    if not path.is_file():
        return None
    try:
        with np.load(path) as kept:
            prompts, pairs = ({name: place for place, name in enumerate(kept[key].tolist())} for key in _SIDES)
            pushes = kept["pushes"]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise HarnessError(f"is no table of prompts and pairs ({error})", place=str(path), hint=RERUN) from error
    if pushes.shape != (len(prompts), len(pairs)):
        raise HarnessError("has other prompts or pairs than it says", place=str(path), hint=RERUN)
    return PromptPushes(prompts, pairs, pushes)


def _parse_pair(row: JsonObject) -> ScoredPair:
    return ScoredPair(
        row["pair_id"],
        str(row.get("prompt_id") or ""),
        _joined_messages(row["prompt"]),
        _joined_messages(row["chosen"]),
        _joined_messages(row["rejected"]),
        row.get("chosen_verdict"),
        row.get("rejected_verdict"),
        row["ln_ches"],
        row["chosen_tokens"],
        row["rejected_tokens"],
    )


def _joined_messages(value: str | Sequence[JsonObject]) -> str:
    """A text, or the messages of a conversation below one another; one that only calls a tool has no content."""
    if isinstance(value, str):
        return value
    return "\n".join(str(content) for message in value if (content := message.get("content")) is not None)
