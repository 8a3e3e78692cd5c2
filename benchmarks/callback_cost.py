"""How much DisplacementCallback adds to a training: `python benchmarks/callback_cost.py [STEPS] [ROUNDS]`.

Trains the miniature with DPOTrainer on 353 sampled pairs, batches of 32, at the callback's default interval, in turn
without the callback, with it, and with it and a stop rule (which saves a checkpoint at each reading). Prints the
fastest of the rounds by processor time, what the readings themselves say they took as a share of the rest of their
training, and checks that all three trainings end with the same weights.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import set_seed
from trl import DPOConfig, DPOTrainer

from harness import DisplacementCallback, StopRule
from harness.models.loading import load_model
from harness.organism.store import ensure_miniature
from harness.preferences.building import build_pairs
from harness.prompts.sets import PromptRow
from harness.recipes.loading import load_recipe
from harness.run.state import training_prompts

NEVER = StopRule(refusal_start_fell=1.1)
CASES: dict[str, Any] = {"without": None, "with": {}, "with a stop rule": {"stop": NEVER}}


def main(steps: int = 50, rounds: int = 3) -> None:
    """Prints a line for each case."""
    pairs = sampled(training_prompts(load_recipe("miniature")))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(rounds):
        weights = {}
        for name, options in CASES.items():
            seconds, share, weights[name] = trained(pairs, steps, options)
            found[name].append((seconds, share))
        assert all(torch.equal(each, weights["without"]) for each in weights.values())
    fastest = {name: min(seconds for seconds, _ in each) for name, each in found.items()}
    for name, seconds in fastest.items():
        share = sum(each for _, each in found[name]) / rounds
        print(f"{name:16} {seconds:6.2f} s  {seconds / fastest['without'] - 1:+6.1%}  readings alone {share:5.1%}")


def sampled(rows: Sequence[PromptRow]) -> Dataset:
    """The miniature's own preference pairs of these prompts, as in the default run."""
    with tempfile.TemporaryDirectory() as scratch:
        built = build_pairs(load_recipe("miniature"), str(ensure_miniature()), rows, Path(scratch))
    return Dataset.from_list(built.rows).select_columns(["prompt", "chosen", "rejected"])


def trained(pairs: Dataset, steps: int, options: dict[str, Any] | None) -> tuple[float, float, torch.Tensor]:
    """Seconds of processor time of one training, the readings' share of wall time, and the weights in one row."""
    model, tokenizer = load_model(str(ensure_miniature()))
    set_seed(0)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = DPOTrainer(model=model, args=config(scratch, steps), train_dataset=pairs, processing_class=tokenizer)
        callback = None if options is None else DisplacementCallback(trainer, pairs, **options)
        if callback:
            trainer.add_callback(callback)
        started, wall = time.process_time(), time.perf_counter()
        trainer.train()
        seconds, wall = time.process_time() - started, time.perf_counter() - wall
    reading = sum(each.seconds for each in callback.readings) if callback else 0.0
    return (
        seconds,
        reading / (wall - reading),
        torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]),
    )


def config(scratch: str, steps: int) -> DPOConfig:
    """As the default run trains."""
    return DPOConfig(
        output_dir=scratch,
        max_steps=steps,
        per_device_train_batch_size=32,
        learning_rate=5e-5,
        lr_scheduler_type="constant",
        optim="rmsprop",
        beta=0.1,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=5,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
