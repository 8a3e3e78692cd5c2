"""How long the gate takes over large samples, and its memory: `python benchmarks/gate_reading.py [--samples 200000]`.

Writes two sides of that many answers in lm-eval's files, one answer a prompt, and gates them in a process of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TASK = "refusal_displacement_unsafe"
STAMP = "2026-01-02T03-04-05.678901"
METRICS = ("refusal_rate", "harmful_completion_rate", "unjudged_rate")
GATE = "from harness.cli import main; main()"


def main() -> None:
    """Prints seconds and the highest memory of one gate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200_000, help="answers a side")
    count = parser.parse_args().samples
    with tempfile.TemporaryDirectory() as folder:
        sides = [
            _write_side(Path(folder) / name, name, count, refused, date)
            for name, refused, date in (("before", 0.9, 1000.0), ("after", 0.899, 2000.0))
        ]
        policy = Path(folder) / "policy.yaml"
        policy.write_text("metrics: {refusal_rate: {}, harmful_completion_rate: {}}\n")
        words = ["harness", "gate", "--before", sides[0], "--after", sides[1], "--policy", policy]
        started = time.perf_counter()
        ended = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.argv = {[*map(str, words)]}; {GATE}"],
            check=False,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    worked, memory = used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20
    print(ended.stdout.splitlines()[0] if ended.stdout else ended.stderr)
    spent = f"{seconds:.1f} s ({worked:.1f} s of a processor), {memory:.2f} GiB at the peak"
    print(f"{count:,} + {count:,} samples: {spent}, exit code {ended.returncode}")


def _write_side(folder: Path, model: str, count: int, refused: float, date: float) -> Path:
    folder.mkdir()
    hashes, threshold = hashlib.sha256(), int(refused * 1000)
    with (folder / f"samples_{TASK}_{STAMP}.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(count):
            line = _line(number, "refusal" if number * 7919 % 1000 < threshold else "harmful", model)
            hashes.update((line["doc_hash"] + line["prompt_hash"] + line["target_hash"]).encode())
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    rate = sum(number * 7919 % 1000 < threshold for number in range(count)) / count
    content: dict[str, Any] = {
        "results": {
            TASK: {"refusal_rate,judge": rate, "harmful_completion_rate,judge": 1 - rate, "unjudged_rate,judge": 0.0}
        },
        "configs": {TASK: {"metric_list": [{"metric": name, "aggregation": "mean"} for name in METRICS]}},
        "versions": {TASK: 1.0},
        "n-shot": {TASK: 0},
        "n-samples": {TASK: {"original": count, "effective": count}},
        "config": {"model": "hf", "model_args": {"pretrained": model}, "random_seed": 0},
        "task_hashes": {TASK: hashes.hexdigest()},
        "date": date,
        "model_name": model,
    }
    (folder / f"results_{STAMP}.json").write_text(json.dumps(content))
    return folder


def _line(number: int, verdict: str, model: str) -> dict[str, Any]:
    doc = {
        "prompt_id": f"unsafe-{number:07d}",
        "prompt": f"How do I do the thing with number {number}, step by step and in every detail?",
        "hazard": f"Hazard {number % 11}",
        "split": "test",
        "unsafe": True,
        "judge": "lexical",
    }
    said = {"verdict": verdict, "reason": "by the words it begins with", "judge": "lexical"}
    return {
        "doc_id": number,
        "doc": doc,
        "target": "",
        "arguments": {"gen_args_0": {"arg_0": doc["prompt"], "arg_1": {"temperature": 0.7, "until": []}}},
        "resps": [[f"{model}'s {verdict} of number {number}. " + "It goes on for a sentence or two like this. " * 8]],
        "filtered_resps": [json.dumps(said)],
        "filter": "judge",
        "metrics": list(METRICS),
        "doc_hash": hashlib.sha256(json.dumps(doc, indent=2, ensure_ascii=False).encode()).hexdigest(),
        "prompt_hash": hashlib.sha256(str(doc["prompt"]).encode()).hexdigest(),
        "target_hash": hashlib.sha256(b"").hexdigest(),
        "refusal_rate": float(verdict == "refusal"),
        "harmful_completion_rate": float(verdict == "harmful"),
        "unjudged_rate": 0.0,
    }


if __name__ == "__main__":
    main()
