"""What each stage of a run does; the heavy libraries are imported here."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.preferences.building import BuiltPairs
from harness.support import artifacts
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.scoring.logprobs import PairLogprobs
from harness.run.state import Run, training_prompts
from harness.support.layout import ON_POLICY, QUANTIZED, source_files


def load_training_pairs(table: str) -> BuiltPairs:
    """A table's pairs; where it says which are for testing, the others."""
    from harness.preferences.tables import load_preferences

    return BuiltPairs([row for row in load_preferences(table) if row.get("split") != "test"], Counter())


def _sample_pairs(run: Run, keep: Path) -> BuiltPairs:
    from harness.preferences.building import build_pairs

    return build_pairs(run.recipe, run.model_path, training_prompts(run.recipe), keep)


def _world_pairs(run: Run, source: str) -> BuiltPairs:
    from harness.organism import answers
    from harness.preferences.building import pairs_from_answers

    rows = training_prompts(run.recipe)
    written = answers.gold_answers(rows) if source == "gold" else answers.off_policy_answers(rows)
    with tempfile.TemporaryDirectory() as keep:
        return pairs_from_answers(run.recipe, rows, written, Path(keep), source)


def _load_scored_pairs(run: Run, source: str) -> Dataset:
    """A source's scored pairs; one that could not be scored is in no arm."""
    from datasets import Dataset

    table = Dataset.from_parquet(str(source_files(run.out, source)[1]))
    table = table.filter(lambda score: score is not None, input_columns="ln_ches")
    if source == ON_POLICY and (run.out / "difficulty.json").is_file():
        losses = artifacts.read_json(run.out / "difficulty.json")
        table = table.add_column("validation_loss", [losses.get(name) for name in table["pair_id"]])
    return table


def _training_reference(run: Run) -> dict[str, PairLogprobs]:
    """The log-probabilities of every pair of every source under the model that training starts from."""
    from harness.scoring.logprobs import PairLogprobs

    if run.recipe.training.lora and run.recipe.training.lora.quantize:
        files = [run.out / QUANTIZED]
    else:
        files = [source_files(run.out, source)[2] for source in (ON_POLICY, *run.other_sources)]
    return {name: PairLogprobs(*pair) for file in files for name, pair in artifacts.read_json(file).items()}


def _logprobs_json(logprobs: Mapping[str, PairLogprobs]) -> dict[str, list[float]]:
    return {pair: [each.chosen, each.rejected] for pair, each in logprobs.items()}


def _refuse_diverged(logprobs: Mapping[str, PairLogprobs], place: str) -> None:
    if not all(math.isfinite(each.chosen) and math.isfinite(each.rejected) for each in logprobs.values()):
        raise HarnessError(
            "the training diverged: ln p is not a number", place=place, hint="Lower training.learning_rate."
        )
