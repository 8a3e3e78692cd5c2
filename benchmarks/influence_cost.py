"""What influence costs beside CHES and a training: `benchmarks/influence_cost.py [--shape miniature|39m|82m]`.

In one process, in turn, on the same pairs, by processor time and the most memory beyond the model's own:

ches        the CHES pass over the table
influence   the CHES pass and the passes with the weights moved, for one target
gradient    both halves' gradients of that target, from probe answers that are there
drawing     drawing and judging the probe answers
dpo         one epoch of DPOTrainer, the reference's log-probabilities computed before it

`miniature` scores its own pairs with the bundled probes, as `harness score --probes bundled` does. The other shapes
have random weights and random tokens (prompts of 40 to 200, answers of 100 to 300); the drawing and the gradient do not
grow with the table, so of them it says to how many pairs of the table each comes.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel
from trl import DPOConfig, DPOTrainer

from harness.models.loading import load_model
from harness.organism.store import ensure_miniature
from harness.preferences.building import build_pairs
from harness.preferences.pairs import check_pair
from harness.preferences.tokens import Tokens, tokenize_pair
from harness.prompts.sets import load_prompts
from harness.recipes.loading import load_recipe
from harness.scoring.influence.directions import Directions, build_directions
from harness.scoring.influence.keeping import DirectionFolder
from harness.scoring.probes import PROBE_SAMPLES, PROBE_TOKENS, ProbeAnswer, Probes, draw_probes, load_probe_prompts
from harness.scoring.scorer import Scorer

SHAPES: dict[str, dict[str, int]] = {
    "39m": {"vocab_size": 32000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
            "num_attention_heads": 6, "num_key_value_heads": 6},
    "82m": {"vocab_size": 32000, "hidden_size": 640, "intermediate_size": 1728, "num_hidden_layers": 8,
            "num_attention_heads": 10, "num_key_value_heads": 10},
}  # fmt: skip
ANSWERS = 4 * 300
"""About as many probe answers as there are by default."""


@dataclass(frozen=True)
class Case:
    """A model, a table as tokens and as TRL takes it, probe answers, and how those are drawn (None: not measured)."""

    model: PreTrainedModel
    tokenizer: Any
    pairs: list[Tokens]
    table: Dataset
    probes: Probes
    draw: Callable[[], Probes] | None
    answers: int


def miniature(count: int) -> Case:
    """The miniature, at most `count` of its own pairs, the bundled probes."""
    place = str(ensure_miniature(0))
    model, tokenizer = load_model(place)
    rows = [row for row in load_prompts("bundled", "unsafe") if row["split"] == "train"]
    with tempfile.TemporaryDirectory() as folder:
        built = build_pairs(load_recipe("miniature"), place, rows, Path(folder))
    table = Dataset.from_list(built.rows[:count]).select_columns(["prompt", "chosen", "rejected"])
    pairs = [tokenize_pair(check_pair(row), tokenizer) for row in table]
    prompts = load_probe_prompts("bundled", ("refusal",))

    def draw() -> Probes:
        return draw_probes(model, tokenizer, prompts)

    probes = draw()
    return Case(model, tokenizer, pairs, table, probes, draw, len(probes.answers))


def random_case(shape: str, count: int, answers: int) -> Case:
    """Random weights, pairs and probe answers; of the latter few, which stand for those that are drawn by default."""
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=1024)
    model, draw = AutoModelForCausalLM.from_config(config).eval(), random.Random(0)
    tokenizer = load_model(str(ensure_miniature(0)))[1]

    def tokens(low: int, high: int) -> list[int]:
        return [draw.randrange(10, config.vocab_size) for _ in range(draw.randint(low, high))]

    pairs = [Tokens(tokens(40, 200), tokens(100, 300), tokens(100, 300)) for _ in range(count)]
    rows = [{"prompt_ids": each.prompt, "chosen_ids": each.chosen, "rejected_ids": each.rejected} for each in pairs]
    shortest = PROBE_TOKENS // 2
    drawn = [
        ProbeAnswer(
            str(i // PROBE_SAMPLES), "", True, (*tokens(15, 40),), (*tokens(shortest, PROBE_TOKENS),), "", label
        )
        for i in range(answers)
        for label in (draw.choice(("refusal", "harmful")),)
    ]
    return Case(model, tokenizer, pairs, Dataset.from_list(rows), Probes((*drawn,), 1.0, ""), None, ANSWERS)


class _TokenTrainer(DPOTrainer):  # type: ignore[misc]
    """DPOTrainer on pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
        return dataset


def train_epoch(case: Case) -> None:
    """One epoch of DPO on a copy of the weights, which come back."""
    before = {name: each.detach().clone() for name, each in case.model.named_parameters()}
    with tempfile.TemporaryDirectory() as folder:
        arguments = DPOConfig(
            folder, num_train_epochs=1, per_device_train_batch_size=8, gradient_accumulation_steps=4, optim="rmsprop",
            learning_rate=5e-6, precompute_ref_log_probs=True, max_length=None, report_to=[], save_strategy="no",
            disable_tqdm=True, use_cpu=True, bf16=False, gradient_checkpointing=False,
        )  # fmt: skip
        kind = DPOTrainer if "prompt" in case.table.column_names else _TokenTrainer
        kind(case.model, args=arguments, train_dataset=case.table, processing_class=case.tokenizer).train()
    with torch.no_grad():
        for name, each in case.model.named_parameters():
            each.copy_(before[name])
            each.grad = None


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Processor seconds, and MiB at the most beyond what was there before."""
    peak = Path("/proc/self/clear_refs")
    peak.write_text("5")  # the high-water mark begins anew
    before, started = memory("VmRSS"), time.process_time()
    work()
    return time.process_time() - started, (memory("VmHWM") - before) / 1024


def memory(what: str) -> int:
    """A line of this process's status, in KiB."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1])


def compare(case: Case, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds and most memory of each way."""
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        kept = DirectionFolder(folder)

        def gradient(answers: int | None = None) -> Directions:
            probes = replace(case.probes, answers=case.probes.answers[:answers])
            return build_directions(case.model, case.tokenizer, probes, ("refusal",), keep=kept.keep_gradient)

        directions, plain = gradient(), Scorer(case.model)
        moved = Scorer(case.model, directions=directions)
        ways: dict[str, Callable[[], object]] = {
            "ches": lambda: plain(case.pairs),
            "influence": lambda: moved(case.pairs),
            "gradient": gradient,
            "half": lambda: gradient(len(case.probes.answers) // 2),
            **({"drawing": case.draw} if case.draw else {}),
            "dpo": lambda: train_epoch(case),
        }
        for _ in range(rounds):
            for name, work in ways.items():
                found.setdefault(name, []).append(measured(work))
    return {name: (median(s for s, _ in each), max(m for _, m in each)) for name, each in found.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a line a way, and with `--out` writes them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["miniature", *SHAPES], default="miniature")
    parser.add_argument("--pairs", type=int, default=353)
    parser.add_argument("--answers", type=int, default=32, help="probe answers of a random shape")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(arguments)
    if asked.shape == "miniature":
        case = miniature(asked.pairs)
    else:
        case = random_case(asked.shape, asked.pairs, asked.answers)
    weights = sum(each.numel() * each.element_size() for each in case.model.parameters()) / 2**20
    found = compare(case, asked.rounds)
    seconds = {name: each for name, (each, _) in found.items()}
    more = case.answers - len(case.probes.answers)  # each costs what one of the second half of those measured did
    seconds["gradient"] += 2 * more * (seconds["gradient"] - seconds.pop("half")) / len(case.probes.answers)
    a_pair = (seconds["influence"] - seconds["ches"]) / len(case.pairs)
    said = {
        "shape": asked.shape, "pairs": len(case.pairs), "probe_answers": case.answers, "weights_mib": round(weights, 1),
        "times_ches": {name: round(each / seconds["ches"], 2) for name, each in seconds.items()},
        "memory_in_weights": {name: round(most / weights, 2) for name, (_, most) in found.items() if name in seconds},
        "comes_to_pairs": {name: round(seconds[name] / a_pair) for name in ("gradient", "drawing") if name in seconds},
        "seconds": {name: round(each, 3) for name, each in seconds.items()},
        "torch": torch.__version__, "threads": torch.get_num_threads(),
    }  # fmt: skip
    print(json.dumps(said, indent=2))
    if asked.out:
        asked.out.write_text(json.dumps(said, indent=2) + "\n")


if __name__ == "__main__":
    main()
