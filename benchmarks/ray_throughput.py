"""`harness score` on Ray with two workers against one process with one thread, on the same table, in one run.

    python benchmarks/ray_throughput.py [--pairs 200000] [--workers 2] [--out FILE.json]

A micro Llama with random weights and short pairs, so what is measured is mostly what Ray adds. Each engine runs in a
process of its own, each model in one thread. `seconds` is the whole process: imports, the loading of the model and, for
Ray, the start and the end of a local cluster and its workers. `scoring_seconds` leaves out what comes before
`score_file` could be called: imports and the cluster's start. The two score tables must be equal. The machine's load
before each engine's run is in the result; on a busy machine two workers get a larger share of it than one process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any

from ches_memory import micro_model, write_pairs


def score(engine: str, workers: int, source: Path, model: Path, out: Path) -> float:
    """Scores the table here and now; seconds without imports and the cluster's start and end."""
    from harness.models.loading import load_model
    from harness.scoring.on_ray import score_file_on_ray
    from harness.scoring.streaming import ScoringJob, score_file
    from harness.workers.ray import ray_cluster

    with ray_cluster() if engine == "ray" else nullcontext():
        started = perf_counter()
        if engine == "local":
            score_file(source, *load_model(str(model), chat=False, spread=True), out)
        else:
            score_file_on_ray(ScoringJob(str(source)), str(model), str(out), workers=workers)
        return perf_counter() - started


def in_own_process(engine: str, workers: int, folder: Path) -> dict[str, float]:
    """`score` in a fresh interpreter with one thread."""
    command = [sys.executable, __file__, "--only", engine, "--workers", str(workers), "--folder", str(folder)]
    single = dict.fromkeys(("OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
    load, started = os.getloadavg()[0], perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | single)
    return {"seconds": perf_counter() - started, "scoring_seconds": float(done.stdout), "load_before": load}


def compare(pairs: int, workers: int, folder: Path) -> dict[str, Any]:
    """Both engines on one table, local first, and the ratios of their rates."""
    import pyarrow.parquet as pq
    import ray
    import torch

    model, tokenizer = micro_model()
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write_pairs(folder / "pairs.jsonl", pairs)
    local, spread = (in_own_process(engine, workers, folder) for engine in ("local", "ray"))
    tables = [pq.read_table(folder / f"{engine}.parquet") for engine in ("local", "ray")]
    assert tables[0].num_rows == pairs
    return {
        "hardware": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "ray": ray.__version__,
        "pairs": pairs,
        "workers": workers,
        "local": {**local, "pairs_per_second": pairs / local["seconds"]},
        "ray_workers": {**spread, "pairs_per_second": pairs / spread["seconds"]},
        "times_one_process": local["seconds"] / spread["seconds"],
        "times_one_process_scoring": local["scoring_seconds"] / spread["scoring_seconds"],
        "tables_equal": tables[0].equals(tables[1]),
    }


def main() -> None:
    """Measures both engines, prints the ratio, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["local", "ray"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        source, model, out = (options.folder / name for name in ("pairs.jsonl", "model", f"{options.only}.parquet"))
        print(score(options.only, options.workers, source, model, out))
        return
    with tempfile.TemporaryDirectory() as folder:
        result = compare(options.pairs, options.workers, Path(folder))
    print(json.dumps(result, indent=2))
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
