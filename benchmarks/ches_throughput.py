"""Throughput of CHES scoring against the one-at-a-time script and against the floor, in one process, alternating.

    python benchmarks/ches_throughput.py [--shape small|1b|8b] [--pairs 32] [--rounds 5] [--out FILE.json]

Three ways to the same work, on randomly initialised weights and random tokens of SORRY-Bench-like lengths (prompts of
40 to 200 tokens, answers of 30 to 250):

reference   one pair at a time, each answer with its prompt through the whole model, vocabulary projection included
ours        `harness.scoring.scorer.Scorer`
floor       the bare decoder body on as many tokens as are distinct, in full rows of one length, no padding, no mask

`small` is a 39M-parameter Llama shape for a CPU; `1b` and `8b` are Llama-3.2-1B's and Llama-3-8B's, on a GPU in
bfloat16.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from random_models import SHAPES, random_llama
from transformers import PreTrainedModel
from transformers import __version__ as transformers_version

from harness.preferences.tokens import Tokens
from harness.scoring.packing import build_trie
from harness.scoring.scorer import Scorer

CASES = {"one pair a prompt": (1, 2), "four pairs a prompt": (4, 8), "four pairs a prompt from four answers": (4, 4)}
"""Pairs and answers of each prompt; the last as in UltraFeedback, where pairs share answers."""


def pairs_like_sorry_bench(count: int, per_prompt: int, answers: int, vocabulary: int) -> list[Tokens]:
    """Random pairs of the lengths of SORRY-Bench prompts and chat models' answers.

    `per_prompt` pairs of each prompt, made from `answers` answers to it: two for every pair, or fewer, shared.
    """
    draw = random.Random(per_prompt)

    def tokens(low: int, high: int) -> list[int]:
        return [draw.randrange(vocabulary) for _ in range(draw.randint(low, high))]

    pairs = []
    for _ in range(count // per_prompt):
        prompt, texts = tokens(40, 200), [tokens(30, 250) for _ in range(answers)]
        ends = list(combinations(texts, 2)) if answers < 2 * per_prompt else list(batched_by_two(texts))
        pairs += [Tokens(prompt, chosen, rejected) for chosen, rejected in ends[:per_prompt]]
    return pairs


def batched_by_two(texts: list[list[int]]) -> Iterator[tuple[list[int], list[int]]]:
    """The first with the second, the third with the fourth, and so on."""
    return zip(texts[::2], texts[1::2], strict=True)


@torch.inference_mode()
def reference(model: PreTrainedModel, pairs: Sequence[Tokens]) -> list[float]:
    """CHES as the published script has it: per answer a forward pass of the whole model with all hidden states kept."""
    scores = []
    for pair in pairs:
        chosen, rejected = (_response_states(model, pair.prompt, answer) for answer in (pair.chosen, pair.rejected))
        plus, minus = chosen.float().sum(0), rejected.float().sum(0)
        scores.append(float(plus @ minus - plus @ plus))
    return scores


def _response_states(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> torch.Tensor:
    ids = torch.tensor([prompt + answer], device=model.device)
    states = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, use_cache=False)
    last: torch.Tensor = states.hidden_states[-1]
    return last[0, len(prompt) - 1 : -1]


@torch.inference_mode()
def floor(model: PreTrainedModel, tokens: int, width: int, batch: int) -> None:
    """The bare body on `tokens` tokens in rows of `width`, `batch` tokens a pass."""
    while tokens > 0:
        rows = max(1, min(tokens, batch) // width)
        ids = torch.randint(model.config.vocab_size, (rows, width), device=model.device)
        model.model(input_ids=ids, use_cache=False)
        tokens -= rows * width


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds for one call."""
    started = perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return perf_counter() - started


def compare(model: PreTrainedModel, pairs: Sequence[Tokens], rounds: int, budget: int | None) -> dict[str, float]:
    """Median seconds of each way over `rounds` alternating rounds after one to warm up, and the ratios between them."""
    scorer, device = Scorer(model, budget), model.device
    laid = build_trie(tuple(pair.prompt + answer) for pair in pairs for answer in (pair.chosen, pair.rejected))
    distinct, width = len(laid.tokens), round(sum(map(len, laid.paths.values())) / len(laid.paths))
    ways: dict[str, Callable[[], object]] = {
        "reference": lambda: reference(model, pairs),
        "ours": lambda: scorer(pairs),
        "floor": lambda: floor(model, distinct, width, scorer.budget),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, work in ways.items():
            seconds[name].append(timed(work, device))
    medians = {name: median(times[1:]) for name, times in seconds.items()}
    ours, theirs = scorer(pairs), reference(model, pairs)
    worst = max(abs(o["ches"] - t) / abs(t) for o, t in zip(ours, theirs, strict=True))
    return {
        "pairs": len(pairs),
        "distinct_tokens": distinct,
        **{f"{name}_seconds": value for name, value in medians.items()},
        "ours_pairs_per_second": len(pairs) / medians["ours"],
        "times_reference": medians["reference"] / medians["ours"],
        "share_of_floor": medians["floor"] / medians["ours"],
        "worst_relative_difference": worst,
    }


def hardware(device: torch.device) -> str:
    """What the figures were measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"


def main() -> None:
    """Measures every case, prints both ratios, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget", type=int)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = random_llama(options.shape, device, dtype)
    result: dict[str, Any] = {
        "hardware": hardware(device),
        "model": f"{sum(p.numel() for p in model.parameters()) / 1e6:.0f}M-parameter Llama shape, {dtype}",
        "torch": torch.__version__,
        "transformers": transformers_version,
    }
    for name, (per_prompt, answers) in CASES.items():
        pairs = pairs_like_sorry_bench(options.pairs, per_prompt, answers, model.config.vocab_size)
        figures = result[name] = compare(model, pairs, options.rounds, options.budget)
        ratios = f"{figures['times_reference']:.2f}x the reference, {figures['share_of_floor']:.2f} of the floor"
        print(f"{name}: {ratios}, {figures['ours_pairs_per_second']:.1f} pairs/s", flush=True)
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
