"""The part `dpo` of `benchmarks/gpu.py`: our training and TRL's as it comes, on the same pairs and references.

Both start from the same weights in float32, read the starting model's log-probabilities from columns that were computed
beforehand (TRL's by its own pass), and take the same number of pairs a micro-batch and a step. TRL's has its own
defaults otherwise (AdamW, a rate that falls, clipping). Speed is over whole epochs after a first one, in tokens of
answers and prompts, padding not counted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import torch
from datasets import Dataset
from gpu_children import run_in_child
from gpu_results import set_goal
from gpu_setting import Measured, PeakMemory, Setting, free_memory, read_clock
from random_models import draw_text_pairs
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer

from harness.models.loading import empty_model, load_model, load_tokenizer
from harness.recipes.schema import Arm, TrainingSettings
from harness.run.cost.memory import decoder_shape, training_memory
from harness.scoring.logprobs import PairLogprobs, pair_logprobs, tokenize_pairs
from harness.training.jobs import TrainingJob
from harness.training.train import train_on_pairs

WARM_EPOCHS, TIMED_EPOCHS = 1, 2


@dataclass(frozen=True, slots=True)
class Trial:
    """What both ways train on.

    Attributes:
        model: the checkpoint's directory.
        pairs: preference pairs with `pair_id`.
        reference: their log-probabilities under the checkpoint.
        tokens: of an epoch.
        longest: tokens of the longest pair, its prompt counted once.
        batch: pairs a step.
        micro: pairs at a time.
    """

    model: str
    pairs: Dataset
    reference: Mapping[str, PairLogprobs]
    tokens: int
    longest: int
    batch: int
    micro: int

    @property
    def steps_an_epoch(self) -> int:
        """Optimizer steps; the pairs are a multiple of a batch."""
        return len(self.pairs) // self.batch


@dataclass(frozen=True, slots=True)
class Cost:
    """What a way took: tokens a second, and bytes at the peak."""

    speed: float
    peak: int


def measure_dpo(setting: Setting) -> Measured:
    """Speed of both ways, and their peaks of memory beside what `harness run --dry-run` expects of ours."""
    trial = prepare_trial(setting)
    free_memory()  # the two have all of it
    ours, plain = (
        run_in_child(train, trial, limit=setting.deadline - monotonic()) for train in (train_ours, train_trl)
    )
    expected = expect_memory(trial)
    figures = {
        "tokens_per_second": ours.speed,
        "trl_tokens_per_second": plain.speed,
        "times_trl": ours.speed / plain.speed,
        "peak_gib": ours.peak / 2**30,
        "trl_peak_gib": plain.peak / 2**30,
        "expected_gib": expected / 2**30,
        "expected_off_by": abs(expected / ours.peak - 1),
        "longest_pair": trial.longest,
        "pairs_a_micro_batch": trial.micro,
    }
    return Measured(figures, (set_goal("expected_off_by", figures["expected_off_by"], "<=", 0.15),))


def prepare_trial(setting: Setting) -> Trial:
    """The checkpoint, two steps' pairs, and the reference's log-probabilities of them."""
    path = setting.checkpoint()
    model, tokenizer = load_model(path, float32=True)
    batch, micro, words = setting.choose((32, 4, 250), (4, 2, 24))
    pairs = draw_text_pairs(tokenizer, 2 * batch, words)
    reference = pair_logprobs(model, tokenizer, pairs)
    tokens = tokenize_pairs(pairs, tokenizer, None).values()
    answers = [(len(each.prompt), len(each.chosen) + len(each.rejected)) for each in tokens]
    longest = max(prompt + both for prompt, both in answers)
    return Trial(path, pairs, reference, sum(2 * prompt + both for prompt, both in answers), longest, batch, micro)


def train_ours(trial: Trial) -> Cost:
    """The harness's training, as a run's arms have it."""
    settings = TrainingSettings(batch_size=trial.batch, micro_batch_size=trial.micro)

    def train(steps: int, watch: Callable[[Any, int], None]) -> None:
        job = TrainingJob(trial.model, trial.pairs, trial.reference, Arm(), settings, steps, seed=0, label="ours")
        train_on_pairs(job, watch=watch)

    return _take_cost(trial, train)


def train_trl(trial: Trial) -> Cost:
    """TRL's trainer with its own defaults."""

    def train(steps: int, watch: Callable[[Any, int], None]) -> None:
        gpu = torch.cuda.is_available()
        with tempfile.TemporaryDirectory() as folder:
            config = DPOConfig(
                output_dir=folder,
                max_steps=steps,
                precompute_ref_log_probs=True,
                per_device_train_batch_size=trial.micro,
                gradient_accumulation_steps=trial.batch // trial.micro,
                use_cpu=not gpu,
                # What TRL turns on by itself is for GPUs.
                **({} if gpu else {"bf16": False, "gradient_checkpointing": False}),
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            )
            model, tokenizer = load_model(trial.model, float32=True, placed=False)
            table = trial.pairs.select_columns(["prompt", "chosen", "rejected"])
            trainer = DPOTrainer(
                model=model, args=config, train_dataset=table, processing_class=tokenizer, callbacks=[_Watcher(watch)]
            )
            trainer.train()

    return _take_cost(trial, train)


def expect_memory(trial: Trial) -> int:
    """Bytes that the dry run expects of our training."""
    config, _ = load_tokenizer(trial.model)
    shape = decoder_shape(config, empty_model(config).num_parameters(), weight_bytes=2)
    return training_memory(shape, trial.micro * trial.longest, on_gpu=torch.cuda.is_available()).total


def _take_cost(trial: Trial, train: Callable[[int, Callable[[Any, int], None]], None]) -> Cost:
    """The cost of a training that calls what it is given before its first step and after each."""
    warm, steps = (trial.steps_an_epoch * epochs for epochs in (WARM_EPOCHS, WARM_EPOCHS + TIMED_EPOCHS))
    clock: dict[int, float] = {}
    memory = PeakMemory(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    train(steps, lambda _, step: clock.update({step: read_clock()}))
    return Cost(TIMED_EPOCHS * trial.tokens / (clock[steps] - clock[warm]), memory.read())


class _Watcher(TrainerCallback):  # type: ignore[misc]
    """Tells of each step when it is done."""

    def __init__(self, watch: Callable[[Any, int], None]) -> None:
        self._watch = watch

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        self._watch(model, state.global_step)
