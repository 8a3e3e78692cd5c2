"""A training, light enough to plan with: what it is given and leaves, its rounds, its batches and what it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from harness.models.paths import ModelPath
from harness.recipes.schema import Arm, Optimization, Tracker, TrainingSettings
from harness.support import artifacts
from harness.support.errors import HarnessError
from harness.support.versions import install_hint

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from harness.scoring.logprobs import PairLogprobs


Watch = Callable[["PreTrainedModel", int], None]
"""Called with the model in training and the number of optimizer steps taken: before the first of them, after each."""

SAVED_MODEL, TRAINING_LOG, COMPLETE_MARK = "saved", "log.jsonl", "complete"
"""In a training's folder: what it ends with, its log, and the mark of a whole checkpoint."""

TRAINING_ROUNDS = 3
"""How often Selective DPO's measure trains on half of the pairs and tries the other half, and the other way round."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model with its tokenizer, and TRL's log, a row a step."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    log: list[dict[str, float]]

    def save(self, out: Path) -> None:
        """Writes the checkpoint directory, whole or not at all."""
        with artifacts.atomic_directory(out) as temporary:
            self.model.save_pretrained(temporary)
            self.tokenizer.save_pretrained(temporary)


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where a training is reported: to which trackers, in which project, as which run; `folder` is TensorBoard's."""

    trackers: tuple[Tracker, ...]
    project: str
    run: str
    folder: str


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One training of a copy of a model on preference pairs.

    Attributes:
        model_path: checkpoint directory or hub id of the starting (and reference) model.
        pairs: explicit preference pairs with `pair_id`.
        reference: the starting model's log-probabilities of every pair, so no reference model is held.
        arm: the objective.
        training: DPOTrainer's settings; as in the paper's runs the rate is constant and gradients are not clipped.
        steps: optimizer steps.
        seed: of the batch order, and of the adapters' weights.
        label: what the bar calls the run.
        chat_template: for a tokenizer that has none.
        tracking: where the training is reported, if anywhere.
    """

    model_path: str | ModelPath
    pairs: Dataset
    reference: Mapping[str, PairLogprobs]
    arm: Arm
    training: TrainingSettings
    steps: int
    seed: int
    label: str
    chat_template: str | None = None
    tracking: Tracking | None = None


def check_quantization() -> None:
    """Raises HarnessError where 4-bit weights need a package that is not there."""
    if find_spec("bitsandbytes") is None:
        hint = f"{install_hint('qlora')}, or leave out training.lora.quantize."
        raise HarnessError("bitsandbytes is not installed", place="training.lora.quantize", hint=hint)


def micro_batch(settings: Optimization, processes: int = 1) -> int:
    """Pairs that a process takes at a time: the most that the settings allow and that share a batch evenly."""
    share = settings.batch_size // processes
    return next(size for size in range(min(settings.micro_batch_size, share), 0, -1) if share % size == 0)
