"""A forecast from a table of preferences and a model: draws the probe answers, scores, looks ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, concatenate_datasets

from harness.forecast.forecasting import forecast_table, keep_best, usable_pairs
from harness.forecast.look_ahead import LOOKED_SHARE, draw_pairs_ahead
from harness.forecast.results import LookAhead, TableForecast
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.preferences.tables import load_preferences
from harness.recipes.schema import Arm, TrainingSettings
from harness.scoring.logprobs import PairLogprobs, pair_logprobs
from harness.scoring.probes import Probes, draw_probes, load_probe_prompts
from harness.scoring.scorer import score
from harness.scoring.streaming import load_scoring_model
from harness.scoring.targets import COUNTED_LABEL, Target, influence_column
from harness.support.errors import HarnessError
from harness.support.spacing import evenly_spaced
from harness.training.arms import optimizer_steps
from harness.training.jobs import TrainingJob
from harness.training.trl import load_quantized

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """Which prompts are asked: at most `prompts` of each kind, evenly spaced, each `samples` times; who judges."""

    source: str = "bundled"
    prompts: int = 96
    samples: int = 8
    judge: str = "lexical"


@dataclass(frozen=True, slots=True)
class ForecastPlan:
    """What is forecast, and how.

    Attributes:
        preferences: a table of pairs, or of scores with influence columns, which are then taken.
        model: that the training starts from.
        training: the settings of it.
        arm: the objective.
        probes: what the model is asked.
        look: how far to look ahead.
        chat_template: for a tokenizer that has none.
    """

    preferences: str
    model: ModelPath
    training: TrainingSettings
    arm: Arm = field(default_factory=Arm)
    probes: ProbePlan = field(default_factory=ProbePlan)
    look: LookAhead = field(default_factory=LookAhead)
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class ForecastPairs:
    """A forecast and the pairs that it is of, in the order of their places."""

    forecast: TableForecast
    pairs: Dataset


def forecast_from_table(plan: ForecastPlan) -> ForecastPairs:
    """Does a plan: draws probe answers, scores the pairs unless they are, takes the first steps of the training.

    Raises HarnessError where the table or the model cannot be read, the probe answers are all judged alike, or what the
    training needs is not installed.
    """
    table = _read_table(plan.preferences)
    model, tokenizer = load_scoring_model(str(plan.model.directory), plan.chat_template, float32=True)
    probes = _draw_probes(model, tokenizer, plan.probes)
    if influence_column("refusal") not in table.column_names:
        targets, max_length = _varied_targets(probes), plan.training.max_length
        table = score(table, model, tokenizer, probes=probes, targets=targets, max_length=max_length)
    del model
    pairs, _ = usable_pairs(table)
    steps = optimizer_steps(plan.arm, plan.training, len(pairs), len(pairs))
    look = replace(plan.look, steps=min(plan.look.steps, steps))
    reference = _starting_logprobs(plan, _pairs_ahead(pairs, plan.training.batch_size, look))
    job = TrainingJob(plan.model, table, reference, plan.arm, plan.training, steps, 0, "on pairs", plan.chat_template)
    return ForecastPairs(forecast_table(job, probes, tokenizer, look), pairs)


def _read_table(preferences: str) -> Dataset:
    """The table of pairs; where it is a Parquet file of `harness score --probes`, with its influences."""
    file = Path(preferences)
    if file.suffix == ".parquet" and file.is_file():
        try:
            scored = Dataset(pq.read_table(file))
        except (OSError, pa.ArrowException) as error:
            raise HarnessError(f"is not Parquet ({error})", place=preferences, hint="Write the file anew.") from error
        if influence_column("refusal") in scored.column_names:
            return scored
    return load_preferences(preferences)


def _draw_probes(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, plan: ProbePlan) -> Probes:
    prompts = load_probe_prompts(plan.source, ("refusal",))
    prompts |= _benign_prompts(plan.source)
    few = {unsafe: _few_prompts(rows, plan.prompts) for unsafe, rows in prompts.items()}
    return draw_probes(model, tokenizer, few, samples=plan.samples, judge=plan.judge)


def _benign_prompts(source: str) -> dict[bool, list[Mapping[str, str]]]:
    try:
        return load_probe_prompts(source, ("benign",))
    except HarnessError:  # a file of unsafe prompts alone
        return {}


def _few_prompts(rows: Sequence[Mapping[str, str]], most: int) -> list[Mapping[str, str]]:
    by_id = {row["prompt_id"]: row for row in rows}
    return [by_id[name] for name in evenly_spaced([*by_id], most)]


def _varied_targets(probes: Probes) -> list[Target]:
    """The targets that have a gradient; refusals anyway, so that the error says why where they have none."""
    found: list[Target] = []
    for target, label in COUNTED_LABEL.items():
        counted = {each.label == label for each in probes.of_target(target)}
        if len(counted) > 1 or target == "refusal":
            found.append(target)
    return found


def _pairs_ahead(pairs: Dataset, batch_size: int, look: LookAhead) -> Dataset:
    """The pairs that the look-aheads of a table train on."""
    drawn = [
        part for table in (pairs, keep_best(pairs, LOOKED_SHARE)) for part in draw_pairs_ahead(table, batch_size, look)
    ]
    both = concatenate_datasets(drawn)
    first = {name: place for place, name in reversed([*enumerate(both["pair_id"][:])])}
    return both.select(sorted(first.values()))


def _starting_logprobs(plan: ForecastPlan, pairs: Dataset) -> dict[str, PairLogprobs]:
    """Ln p of the pairs under the weights that training starts from."""
    if plan.training.quantize:
        model, tokenizer = load_quantized(plan.model, plan.training.quantize, plan.chat_template)
    else:
        model, tokenizer = load_model(plan.model, chat_template=plan.chat_template, float32=True)
    return pair_logprobs(model, tokenizer, pairs, max_length=plan.training.max_length)
