"""Trains a job in this process, or in several that are launched for it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from datasets import Dataset

from harness.models.paths import ModelPath
from harness.recipes.schema import FineTuning, Lora
from harness.support import artifacts
from harness.training.changing import ChangingPairs
from harness.training.jobs import SAVED_MODEL, Trained, TrainingJob, Watch
from harness.training.launched import train_launched
from harness.training.trackers import tracked_training
from harness.training.trl import (
    build_sft_trainer,
    build_trainer,
    last_whole_checkpoint,
    loss_rows,
    merge_adapters,
    progress_callbacks,
    run_trainer,
)


def train_on_pairs(
    job: TrainingJob,
    *,
    watch: Watch | None = None,
    keep: Path | None = None,
    changing: ChangingPairs | None = None,
) -> Trained:
    """Does the training, in this process or, where the settings name a launch, in several.

    Args:
        job: what to train.
        watch: sees the model before the first step and after each; not in a launched training.
        keep: directory for checkpoints, from which the same training goes on; nothing is kept without it.
        changing: which of the pairs are trained on, where that changes meanwhile; not with `keep`, as a checkpoint
            does not hold it, and not in a launched training.

    Raises HarnessError where launched processes or a tracker fail, or what the settings need is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        if job.training.launch is not None:
            return train_launched(job, job.training.launch, folder)
        with progress_callbacks(f"Training {job.label}", job.steps, watch) as callbacks, tracked_training(job.tracking):
            trainer = build_trainer(job, folder, callbacks, keeps=keep is not None, changing=changing)
            with artifacts.explain_write_errors(folder):
                run_trainer(trainer, last_whole_checkpoint(folder))
        if job.training.lora is None:
            return Trained(trainer.model, trainer.processing_class, loss_rows(trainer.state))
        trainer.save_model(str(folder / SAVED_MODEL))
        return merge_adapters(job, folder / SAVED_MODEL, loss_rows(trainer.state))


def fine_tune(
    model_path: str | ModelPath,
    answers: Dataset,
    settings: FineTuning,
    *,
    seed: int,
    chat_template: str | None = None,
) -> Trained:
    """One epoch of supervised fine-tuning with TRL's SFTTrainer.

    Args:
        model_path: checkpoint directory or hub id.
        answers: `input_ids` and `labels`, -100 where no loss is taken.
        settings: learning rate and batch.
        seed: of the batch order.
        chat_template: for a tokenizer that has none; saved with the model.
    """
    steps = -(-len(answers) // settings.batch_size)
    with progress_callbacks("Fine-tuning", steps) as callbacks, tempfile.TemporaryDirectory() as scratch:
        trainer = build_sft_trainer(
            model_path, answers, settings, Path(scratch), callbacks, seed=seed, chat_template=chat_template
        )
        run_trainer(trainer)
        return Trained(trainer.model, trainer.processing_class, loss_rows(trainer.state))


def fine_tune_adapter(
    model_path: str | ModelPath,
    answers: Dataset,
    settings: FineTuning,
    lora: Lora,
    *,
    epochs: int,
    seed: int,
    out: Path,
) -> list[dict[str, float]]:
    """Supervised fine-tuning of adapters, which are written into `out` in half precision; the steps' losses.

    Args: as of `fine_tune`; `epochs`: passes over the answers.
    """
    steps = epochs * -(-len(answers) // settings.batch_size)
    with progress_callbacks("Fine-tuning", steps) as callbacks, tempfile.TemporaryDirectory() as scratch:
        trainer = build_sft_trainer(
            model_path,
            answers,
            settings,
            Path(scratch),
            callbacks,
            seed=seed,
            chat_template=None,
            epochs=epochs,
            lora=lora,
        )
        run_trainer(trainer)
        trainer.model.half().save_pretrained(out)
        return loss_rows(trainer.state)
