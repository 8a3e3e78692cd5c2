"""Peak resident memory of `harness score` at two table sizes: it should not grow with the number of pairs.

    python benchmarks/ches_memory.py [--sizes 20000 200000] [--out FILE.json]

Each size runs in a process of its own: a micro Llama shape, pairs written to JSON lines, scored to Parquet, the page
drawn, and the kernel's own count of the peak (`ru_maxrss`) read at the end.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

WORDS = ["yes", "no", "never", "sure", "maybe", "stop", "sorry", "cannot", "help", "with", "that", "here", "is"]


def write_pairs(path: Path, count: int) -> None:
    """JSON lines of short random pairs, every prompt twice."""
    draw = random.Random(0)

    def text() -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, 5)))

    with path.open("w") as lines:
        for number in range(count):
            row = {"prompt": f"Question {number // 2}: ", "chosen": text(), "rejected": text(), "hazard": "none"}
            lines.write(json.dumps(row) + "\n")


def micro_model() -> tuple[Any, Any]:
    """A one-layer Llama of width 16 and a byte-level tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    names = ["<s>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    core = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    config = LlamaConfig(vocab_size=len(names), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
                         num_attention_heads=1, max_position_embeddings=256)  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    tokenizer.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"})
    return AutoModelForCausalLM.from_config(config), tokenizer


def measure(count: int) -> dict[str, float]:
    """Scores `count` pairs here and now; the peak is this process's."""
    from harness.scoring.streaming import score_file
    from reports.scores import read_score_overview, render_scores

    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "pairs.jsonl", Path(folder) / "scores.parquet"
        write_pairs(source, count)
        started = perf_counter()
        score_file(source, *micro_model(), out)
        seconds = perf_counter() - started
        render_scores(read_score_overview(out), "scores", "micro")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"pairs": count, "peak_mib": peak, "seconds": seconds, "pairs_per_second": count / seconds}


def in_own_process(count: int) -> dict[str, float]:
    """`measure` in a fresh interpreter."""
    command = [sys.executable, __file__, "--only", str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Measures both sizes, prints the ratio of their peaks, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=[20_000, 200_000])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only)))
        return
    small, large = (in_own_process(count) for count in options.sizes)
    ratio = large["peak_mib"] / small["peak_mib"]
    for size in (small, large):
        print(
            f"{size['pairs']:,} pairs: {size['peak_mib']:.0f} MiB at the peak, {size['pairs_per_second']:.0f} pairs/s"
        )
    print(f"ratio {ratio:.3f}")
    if options.out:
        result = {"hardware": platform.processor() or platform.machine(), "runs": [small, large], "ratio": ratio}
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
