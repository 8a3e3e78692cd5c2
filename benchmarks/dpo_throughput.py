"""DPO steps in packed batches against TRL's, in one process, alternating.

    python benchmarks/dpo_throughput.py [--steps 4] [--rounds 2] [--pairs 4] [--model DIR] [--memory] [--out FILE.json]

The same pairs, in the same batches, through a whole training step each (collating, forward, backward, optimizer):

packed         this project's trainer as it is
padded         the same with `packed: false`: TRL's batches, the reference's log-probabilities given
trl            DPOTrainer as it comes, a reference model beside the one in training
padding_free   DPOTrainer with `padding_free=True`, which TRL 1.16 has switched off: it says so and pads
liger          DPOTrainer with `use_liger_kernel=True`; needs liger-kernel and a GPU, and is left out elsewhere

on randomly initialised weights and random tokens as long as the pairs of `pair_lengths.json` (hh-rlhf's harmless pairs
in SmolLM2's tokens), as SORRY-Bench's prompts and chat models' answers, and as long prompts with short answers. The
small shape has a fifth of its weights in the head, as SmolLM2-135M; TRL projects every place to the vocabulary on a
CPU, ours the trained ones. `--memory` measures each way's peak in a process of its own instead.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import log
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from ches_throughput import hardware
from datasets import Dataset
from random_models import SHAPES, save_random_llama
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers import __version__ as transformers_version
from trl import DPOConfig, DPOTrainer
from trl import __version__ as trl_version

from harness.recipes.schema import Arm, TrainingSettings
from harness.scoring.logprobs import PairLogprobs
from harness.training.jobs import TrainingJob
from harness.training.trl import build_trainer

BETA = 0.1
Lengths = Sequence[tuple[int, int, int]]
"""Tokens of each pair's prompt, chosen and rejected answer."""


def pair_lengths(count: int) -> dict[str, Lengths]:
    """So many pairs of each case; the same each time."""
    draw = random.Random(0)
    known = json.loads((Path(__file__).parent / "pair_lengths.json").read_text())["hh-rlhf harmless"]
    return {
        "SORRY-Bench": [(draw.randint(40, 200), draw.randint(30, 250), draw.randint(30, 250)) for _ in range(count)],
        "hh-rlhf": [tuple(each) for each in draw.sample(known, count)],
        "long prompts": [(draw.randint(500, 1500), draw.randint(20, 100), draw.randint(20, 100)) for _ in range(count)],
    }


def draw_pairs(lengths: Lengths, vocabulary: int) -> list[dict[str, Any]]:
    """Random tokens of these lengths, as TRL's collator takes them.

    The reference's log-probabilities are a uniform model's, near those of random weights: a loss that is next to zero
    would have gradients of denormal numbers, with which a CPU is several times slower.
    """
    draw = random.Random(1)
    names = "prompt_ids", "chosen_ids", "rejected_ids"
    tokens = [[[draw.randrange(vocabulary) for _ in range(length)] for length in each] for each in lengths]
    references = [
        {"ref_chosen_logps": -chosen * log(vocabulary), "ref_rejected_logps": -rejected * log(vocabulary)}
        for _, chosen, rejected in lengths
    ]
    return [dict(zip(names, each, strict=True)) | known for each, known in zip(tokens, references, strict=True)]


def make_trainer(way: str, model: str, pairs: int, folder: Path) -> DPOTrainer:
    """A way's trainer, made as a run makes it; the pairs that it is made with are not those that are timed."""
    said = {"prompt": "Why?", "chosen": " So.", "rejected": " No."}
    if way in {"packed", "padded"}:
        table = Dataset.from_list([{"pair_id": "one", **said}])
        known, packed = {"one": PairLogprobs(-1.0, -1.0)}, way == "packed"
        settings = TrainingSettings(batch_size=pairs, micro_batch_size=pairs, beta=BETA, packed=packed)
        return build_trainer(TrainingJob(model, table, known, Arm(), settings, 1, 0, way), folder, [], keeps=False)
    gpu = torch.cuda.is_available()
    config = DPOConfig(
        output_dir=str(folder), beta=BETA, report_to="none", use_cpu=not gpu, bf16=gpu, gradient_checkpointing=gpu,
        per_device_train_batch_size=pairs, padding_free=way == "padding_free", use_liger_kernel=way == "liger",
        disable_tqdm=True, learning_rate=5e-6,
    )  # fmt: skip
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    return DPOTrainer(
        loaded,
        ref_model=copy.deepcopy(loaded),
        args=config,
        train_dataset=Dataset.from_list([said]),
        processing_class=AutoTokenizer.from_pretrained(model),
    )


def take_steps(trainer: DPOTrainer, pairs: Sequence[Mapping[str, Any]], batch: int) -> tuple[float, list[float]]:
    """Seconds of a step for each batch of the pairs, in all, and the losses."""
    optimizer = torch.optim.RMSprop(trainer.model.parameters(), lr=1e-6)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1  # which its own loop would set
    losses, started = [], perf_counter()
    for start in range(0, len(pairs), batch):
        rows = [*pairs[start : start + batch]]
        if not trainer.precompute_ref_logps:
            rows = [{name: value for name, value in row.items() if not name.startswith("ref_")} for row in rows]
        losses.append(float(trainer.training_step(trainer.model, trainer.data_collator(rows))))
        optimizer.step()
        optimizer.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - started, losses


def ways_here() -> list[str]:
    """Those that this machine can take."""
    liger = torch.cuda.is_available() and find_spec("liger_kernel") is not None
    return ["packed", "padded", "trl", "padding_free", *["liger"] * liger]


def compare(model: str, lengths: Lengths, batch: int, rounds: int) -> dict[str, Any]:
    """Median seconds of each way over the rounds after one to warm up, and the ratios to packed batches."""
    vocabulary = AutoModelForCausalLM.from_pretrained(model).config.vocab_size
    pairs = draw_pairs(lengths, vocabulary)
    seconds: dict[str, list[float]] = {way: [] for way in ways_here()}
    first: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        trainers = {way: make_trainer(way, model, batch, Path(scratch) / way) for way in seconds}
        assert trainers["packed"].packs
        for turn in range(rounds + 1):
            for way, trainer in trainers.items():
                taken, losses = take_steps(trainer, pairs if turn else pairs[:batch], batch)
                seconds[way].append(taken)
                first.setdefault(way, losses[0])
    medians = {way: median(times[1:]) for way, times in seconds.items()}
    padded = sum(2 * batch * max(p + max(c, r) for p, c, r in lengths[at : at + batch])
                 for at in range(0, len(lengths), batch))  # fmt: skip
    return {
        "pairs": len(pairs),
        "batch": batch,
        "padded_tokens": padded,
        "packed_tokens": sum(p + c + r - 2 for p, c, r in lengths),
        "seconds": medians,
        "times_packed": {way: value / medians["packed"] for way, value in medians.items()},
        "first_loss_difference": abs(first["packed"] - first["padded"]),
    }


def peak_memory(way: str, model: str, lengths: Lengths, batch: int) -> int:
    """The peak of this process (on a GPU: of its memory there), in MiB, after steps of the way."""
    pairs = draw_pairs(lengths, AutoModelForCausalLM.from_pretrained(model).config.vocab_size)
    with tempfile.TemporaryDirectory() as scratch:
        take_steps(make_trainer(way, model, batch, Path(scratch)), pairs, batch)
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10


def measure_memory(model: str, case: str, count: int, batch: int) -> dict[str, int]:
    """`peak_memory` of each way, in a process of its own."""
    return {
        way: int(
            subprocess.run(
                [sys.executable, __file__, "--one", way, "--model", model, "--case", case,
                 "--steps", str(count // batch), "--pairs", str(batch)],
                check=True, capture_output=True, text=True,
            ).stdout.splitlines()[-1]
        )
        for way in ways_here()
    }  # fmt: skip


def describe(figures: Mapping[str, Any]) -> str:
    """One case's line."""
    ratios = ", ".join(f"{way} {value:.2f}" for way, value in figures["times_packed"].items() if way != "packed")
    per_second = figures["pairs"] / figures["seconds"]["packed"]
    share = figures["packed_tokens"] / figures["padded_tokens"]
    return f"{ratios} times packed ({per_second:.2f} pairs/s, {share:.0%} of the padded tokens)"


def main() -> None:
    """Measures every case, prints the ratios, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=4, help="in a batch")
    parser.add_argument("--model")
    parser.add_argument("--case", choices=[*pair_lengths(1)], action="append")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        model = options.model or str(save_random_llama("slim", torch.device("cpu"), Path(scratch) / "model"))
        measure: dict[bool, Callable[[str, Lengths], Any]] = {
            False: lambda _, lengths: compare(model, lengths, options.pairs, options.rounds),
            True: lambda case, lengths: measure_memory(model, case, len(lengths), options.pairs),
        }
        cases = pair_lengths(options.steps * options.pairs)
        chosen = {case: cases[case] for case in options.case or cases}
        if options.one:
            print(peak_memory(options.one, model, *chosen.values(), options.pairs))
            return
        result: dict[str, Any] = {
            "hardware": hardware(torch.device("cuda" if torch.cuda.is_available() else "cpu")),
            "versions": {"torch": torch.__version__, "transformers": transformers_version, "trl": trl_version},
            "model": options.model or SHAPES["slim"],
            "cases": {},
        }
        for case, lengths in chosen.items():
            figures = result["cases"][case] = measure[options.memory](case, lengths)
            print(f"{case}: {figures if options.memory else describe(figures)}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
