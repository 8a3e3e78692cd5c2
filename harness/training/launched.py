"""A training in several processes that `accelerate launch` starts; each of them runs this module."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from accelerate import PartialState
from datasets import Dataset

from harness.models.loading import load_model
from harness.models.paths import ModelPath, locate_model
from harness.recipes.schema import Arm, Launch, TrainingSettings
from harness.scoring.logprobs import PairLogprobs
from harness.support import artifacts, console
from harness.training.jobs import SAVED_MODEL, TRAINING_LOG, Tracking, Trained, TrainingJob
from harness.training.trackers import tracked_training
from harness.training.trl import (
    CheckpointMarker,
    LogWriter,
    build_trainer,
    last_whole_checkpoint,
    merge_adapters,
    run_trainer,
)
from harness.workers.launching import end_with_launcher, launch_processes


def train_launched(job: TrainingJob, launch: Launch, folder: Path) -> Trained:
    """Does the training in the processes of a launch, each of which runs this module on `folder`."""
    with console.progress_bar(f"Training {job.label}", job.steps, "steps") as advance:
        write_job(job, folder)
        _free_gpu_memory()
        launch_processes(
            launch,
            "harness.training.launched",
            folder,
            folder / "launch.log",
            _log_follower(folder / TRAINING_LOG, advance),
        )
    log = artifacts.read_jsonl(folder / TRAINING_LOG)
    if job.training.lora is not None:
        return merge_adapters(job, folder / SAVED_MODEL, log)
    model, tokenizer = load_model(str(folder / SAVED_MODEL), float32=True)
    return Trained(model, tokenizer, log)


def write_job(job: TrainingJob, folder: Path) -> None:
    """The job as files; the log starts anew, as the trainer writes all of it again."""
    checkpoint = last_whole_checkpoint(folder)
    pairs = folder / "pairs"
    shutil.rmtree(pairs, ignore_errors=True)
    job.pairs.save_to_disk(str(pairs))
    (folder / TRAINING_LOG).unlink(missing_ok=True)
    artifacts.write_json(
        folder / "job.json",
        {
            "model_path": asdict(locate_model(job.model_path)),
            "reference": {name: [each.chosen, each.rejected] for name, each in job.reference.items()},
            "arm": job.arm.model_dump(),
            "training": job.training.model_dump(),
            "steps": job.steps,
            "seed": job.seed,
            "label": job.label,
            "chat_template": job.chat_template,
            "tracking": asdict(job.tracking) if job.tracking else None,
            "checkpoint": str(checkpoint) if checkpoint else None,
        },
    )


def read_job(folder: Path) -> tuple[TrainingJob, Path | None]:
    """The job that `write_job` wrote, and the checkpoint that it goes on from."""
    written = artifacts.read_json(folder / "job.json")
    checkpoint, tracking = written.pop("checkpoint"), written.pop("tracking")
    typed = {
        "model_path": ModelPath(**written["model_path"]),
        "pairs": Dataset.load_from_disk(str(folder / "pairs")),
        "reference": {name: PairLogprobs(*pair) for name, pair in written["reference"].items()},
        "arm": Arm.model_validate(written["arm"]),
        "training": TrainingSettings.model_validate(written["training"]),
        "tracking": Tracking(**tracking | {"trackers": tuple(tracking["trackers"])}) if tracking else None,
    }
    return TrainingJob(**(written | typed)), Path(checkpoint) if checkpoint else None


def _free_gpu_memory() -> None:
    """Hands what this process holds of a GPU to those that will train."""
    gc.collect()
    torch.cuda.empty_cache()


def _log_follower(log: Path, advance: console.Advance) -> Callable[[], None]:
    """Moves the bar on by the rows that the log has gained."""
    seen = 0

    def advance_bar() -> None:
        nonlocal seen
        rows = log.read_text(encoding="utf-8").count("\n") if log.is_file() else 0
        advance(rows - seen)
        seen = rows

    return advance_bar


def train_rank(folder: Path) -> None:
    """One of the processes of a launched training: trains, and saves the model or its adapters."""
    end_with_launcher()
    job, checkpoint = read_job(folder)
    processes = PartialState(cpu=not torch.cuda.is_available()).num_processes
    trainer = build_trainer(
        job, folder, [LogWriter(folder / TRAINING_LOG), CheckpointMarker()], keeps=True, processes=processes
    )
    with tracked_training(job.tracking):
        run_trainer(trainer, checkpoint)
    trainer.save_model(str(folder / SAVED_MODEL))


if __name__ == "__main__":
    train_rank(Path(sys.argv[1]))
