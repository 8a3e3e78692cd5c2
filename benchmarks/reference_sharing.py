"""What it saves that no arm computes the reference model's log-probabilities again, in time and in memory.

    python benchmarks/reference_sharing.py time [--seeds 3]
    python benchmarks/reference_sharing.py memory [--tokens 128]

`time`: all arms and seeds of the default run, trained one after the other in one process: with shared columns (their
one computation included), with TRL's own pass before each training (`precompute_ref_log_probs`), and as TRL comes,
with the reference model beside the policy in every step. `memory`: one arm of a Llama with 100M weights in each of
these ways, each in a process of its own: its peak, less what the imports alone take, and its seconds of computing.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from harness.models.loading import load_model
from harness.recipes.loading import load_recipe
from harness.recipes.schema import Arm, TrainingSettings
from harness.run.stages import run_stages, shared_stages
from harness.run.state import find_starting_model, open_run
from harness.scoring.logprobs import PairLogprobs, pair_logprobs
from harness.support.layout import ON_POLICY
from harness.training.arms import choose_arm_pairs, optimizer_steps
from harness.training.jobs import TrainingJob
from harness.training.train import train_on_pairs
from harness.training.trl import _dpo_config, load_trainable

WAYS = ("shared", "precomputed", "beside")
ZEROS: Mapping[str, PairLogprobs] = defaultdict(lambda: PairLogprobs(0.0, 0.0))
MAKE = """
import sys
from transformers import LlamaConfig, LlamaForCausalLM
LlamaForCausalLM(LlamaConfig.from_pretrained(sys.argv[1])).save_pretrained(sys.argv[1])
"""
SHAPE = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12}


def trained(job: TrainingJob, way: str) -> None:
    """One training; its model is dropped."""
    if way == "shared":
        train_on_pairs(job)
        return
    from trl import DPOTrainer

    with tempfile.TemporaryDirectory() as folder:
        config = _dpo_config(job, Path(folder), keeps=False, processes=1)
        config.precompute_ref_log_probs = way == "precomputed"
        model, tokenizer = load_trainable(job.model_path, job.seed, job.chat_template)
        table = job.pairs.select_columns(["prompt", "chosen", "rejected"])
        DPOTrainer(model=model, args=config, train_dataset=table, processing_class=tokenizer).train()


def default_jobs(out: Path, seeds: int) -> list[TrainingJob]:
    """The trainings of the default run, which is made up to its scores."""
    chosen = load_recipe("miniature", seeds=seeds)
    path = find_starting_model(chosen)
    run = open_run(chosen, path, out, {})
    run_stages(run, [stage for stage in shared_stages(run) if stage.kind in {"pairs", "scores"}])
    scored = {ON_POLICY: Dataset.from_parquet(str(out / "scores.parquet"))}
    raw = len(scored[ON_POLICY])
    jobs = []
    for name, arm in chosen.arms.items():
        for seed in chosen.seeds:
            kept, _ = choose_arm_pairs(arm, scored, seed)
            steps = optimizer_steps(arm, chosen.training, len(kept), raw)
            jobs.append(TrainingJob(path, kept, {}, arm, chosen.training, steps, seed, name))
    return jobs


def clocks() -> tuple[float, float]:
    """Seconds on the wall, and of this process's computing, which other programs disturb less."""
    return time.perf_counter(), time.process_time()


def compare_times(seeds: int) -> None:
    """Prints the seconds of each way and its ratio to sharing; the ways take turns."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = default_jobs(Path(folder), seeds)
    for way in WAYS:
        trained(replace(jobs[0], reference=ZEROS), way)  # imports
    spent = {way: [0.0, 0.0] for way in WAYS}

    def measured(way: str, work: Callable[[], Any]) -> Any:
        started = clocks()
        done = work()
        spent[way] = [old + now - then for old, now, then in zip(spent[way], clocks(), started, strict=True)]
        return done

    known = measured("shared", lambda: logprobs(jobs))
    for turn, job in enumerate(jobs):
        for way in (*WAYS[turn % 3 :], *WAYS[: turn % 3]):
            measured(way, partial(trained, replace(job, reference=known), way))
    for way, (wall, computing) in spent.items():
        ratios = [took / base for took, base in zip(spent[way], spent["shared"], strict=True)]
        print(f"{way:12} {wall:6.1f} s ({ratios[0]:.2f}x)   computing {computing:6.1f} s ({ratios[1]:.2f}x)")


def logprobs(jobs: Sequence[TrainingJob]) -> dict[str, PairLogprobs]:
    """What is shared: one pass over the pairs of all trainings."""
    every = {row["pair_id"]: row for job in jobs for row in job.pairs}
    model, tokenizer = load_model(jobs[0].model_path)
    return pair_logprobs(model, tokenizer, Dataset.from_list(list(every.values())))


def one_arm(way: str, tokens: int, checkpointing: bool) -> None:
    """In a process of its own: one arm, two steps of four pairs; prints its peak and that of the imports in bytes."""
    import trl  # noqa: F401
    from transformers import AutoTokenizer, LlamaConfig

    from harness.organism.store import ensure_miniature

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(ensure_miniature(0))
        base = peak()
        config = LlamaConfig(**SHAPE, vocab_size=16_000, pad_token_id=tokenizer.pad_token_id)
        # Made by another process, so that making it does not count.
        config.save_pretrained(folder)
        subprocess.run([sys.executable, "-c", MAKE, folder], check=True)
        tokenizer.save_pretrained(folder)
        rows = [pair(n, tokens) for n in range(8)]
        settings = TrainingSettings(
            batch_size=4, micro_batch_size=4, max_length=None, gradient_checkpointing=checkpointing
        )
        started = clocks()
        trained(TrainingJob(folder, Dataset.from_list(rows), ZEROS, Arm(), settings, 2, 0, way), way)
        computing = clocks()[1] - started[1]
    print(json.dumps({"peak": peak(), "imports": base, "computing": computing}))


def pair(number: int, tokens: int) -> dict[str, Any]:
    """A pair of two answers of about so many tokens in all with the prompt."""
    words = " a" * (tokens - 30)
    return {
        "pair_id": str(number),
        "prompt": [{"role": "user", "content": f"Request {number}?"}],
        "chosen": [{"role": "assistant", "content": "No." + words}],
        "rejected": [{"role": "assistant", "content": "Yes." + words}],
    }


def peak() -> int:
    """The most bytes this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def compare_memory(tokens: int) -> None:
    """Prints each way's peak, and its part of policy plus reference."""
    found = {}
    for way, checkpointing in (("beside", False), ("shared", False), ("shared", True)):
        command = [sys.executable, __file__, "one", "--way", way, "--tokens", str(tokens)]
        shown = subprocess.run(
            command + ["--checkpointing"] * checkpointing, check=True, capture_output=True, text=True
        )
        took = json.loads(shown.stdout.splitlines()[-1])
        found[way + ", gradient checkpointing" * checkpointing] = took["peak"] - took["imports"], took["computing"]
    whole, slowest = found["beside"]
    for name, (size, seconds) in found.items():
        print(f"{name:32} {size / 2**20:7.0f} MiB ({size / whole:.2f})   {seconds:5.1f} s ({slowest / seconds:.2f}x)")


def main() -> None:
    """Reads the arguments and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["time", "memory", "one"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--checkpointing", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.what == "time":
        compare_times(options.seeds)
    elif options.what == "memory":
        compare_memory(options.tokens)
    else:
        one_arm(options.way, options.tokens, options.checkpointing)


if __name__ == "__main__":
    main()
