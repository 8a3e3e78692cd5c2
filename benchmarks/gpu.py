"""Everything that is to be measured on a GPU, in at most eight minutes of one card of the H100's class, offline.

    python benchmarks/gpu.py [--plan] [--parts dpo,lora] [--minutes 8] [--out FILE.json]
    python benchmarks/gpu.py --tiny --out FILE.json       # the same on a CPU with tiny shapes: whether it works

scoring_1b, scoring_8b  CHES against the one-at-a-time script and the floor (ches_throughput.py)
dpo                     our training against TRL's, in tokens a second, and its memory against the dry run's
out_of_memory           scoring with too little memory for a pass
lora, qlora, fsdp       some steps of training each
real_model              the recipe of SmolLM2, small, where its weights are installed

Weights are random, in Llama-3.2-1B's and Llama-3-8B's shapes. Each part has a process of its own: one that fails,
crashes or hangs is recorded with its error, and the others go on. One whose expected time is not left is skipped. What
is done is in the file after each part (`gpu_results.py` says in which form): `benchmarks/results/gpu_CARD.json`; of the
same card and versions, it keeps the parts that are not done again (`--parts`). Exits 1 where a part failed; a goal that
is not met is no failure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# This checkout's code, here and in every process that a part starts, whether or not it is installed.
sys.path.insert(0, str(ROOT))
_given = os.environ.get("PYTHONPATH")
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), str(Path(__file__).parent), _given]))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import psutil  # noqa: E402
import torch  # noqa: E402
from gpu_children import ChildError, run_in_child  # noqa: E402
from gpu_results import RESULTS, Goal, GpuResults, PartResult, read_gpu_results  # noqa: E402

from harness.support.versions import library_version  # noqa: E402

LIBRARIES = ("torch", "transformers", "trl", "accelerate", "peft", "bitsandbytes")
PATIENCE = 2.5
"""Times its expected seconds after which a part is ended."""
PARTS = {
    "scoring_1b": 45,
    "dpo": 95,
    "scoring_8b": 55,
    "out_of_memory": 30,
    "qlora": 45,
    "lora": 40,
    "fsdp": 70,
    "real_model": 95,
}
"""Seconds that each is expected to take on a card of the H100's class, in the order in which they are done."""


def measure_all(results: GpuResults, names: Iterable[str], seconds: float, out: Path) -> None:
    """Does the parts one after the other, and writes what is done after each."""
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(prefix="gpu-") as work:
        for name in names:
            part = measure_in_time(name, results.tiny, Path(work), end)
            results.parts[name] = part
            results.write(out)
            print(describe_part(name, part), flush=True)


def measure_in_time(name: str, tiny: bool, work: Path, end: float) -> PartResult:
    """A part's result, or that there was no time for it, or its error.

    Args:
        name: the part's.
        tiny: with shapes for tests.
        work: a directory that the parts share.
        end: of all parts, by `time.monotonic`.
    """
    started = time.monotonic()
    left = end - started
    if left < PARTS[name]:
        return PartResult("skipped", why=f"expected to take {PARTS[name]} s, and {left:.0f} s were left")
    limit = left if tiny else min(left, PATIENCE * PARTS[name])
    print(f"{name}: ended after {limit:.0f} s at the latest", flush=True)
    try:
        part = run_in_child(_measure, name, tiny, work, started + limit, limit=limit)
        json.dumps(asdict(part), allow_nan=False)
    except ChildError as error:
        part = PartResult("failed", why=str(error))
    except ValueError:
        part = PartResult("failed", why=f"not all of its figures are numbers: {part.figures}")
    return replace(part, seconds=time.monotonic() - started)


def _measure(name: str, tiny: bool, work: Path, deadline: float) -> PartResult:
    """In the part's own process, which alone imports what it needs."""
    from gpu_parts import measure_part

    return measure_part(name, tiny, work, deadline)


def describe_part(name: str, part: PartResult) -> str:
    """A part's outcome, and a line for each goal."""
    head = f"{name}: {part.status} in {part.seconds:.0f} s" + (f": {part.why.strip()}" if part.why else "")
    return "\n".join([head, *(f"  {describe_goal(goal)}" for goal in part.goals)])


def describe_goal(goal: Goal) -> str:
    """The figure beside its goal."""
    return f"{goal.figure} {goal.value:.4g} (goal {goal.relation} {goal.bound:g}): {'met' if goal.met else 'not met'}"


def describe_machine(tiny: bool) -> GpuResults:
    """Results without any part yet."""
    gpu = torch.cuda.is_available()
    card = torch.cuda.get_device_properties(0) if gpu else None
    memory = card.total_memory if card else psutil.virtual_memory().total
    return GpuResults(
        tiny=tiny,
        card=card.name if card else "CPU",
        memory_gib=round(memory / 2**30, 1),
        driver=_read_driver() if gpu else None,
        cuda=torch.version.cuda,
        versions={"python": platform.python_version()} | {name: library_version(name) for name in LIBRARIES},
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _read_driver() -> str:
    """The driver's version; `not known` where its tool is not there."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "not known"


def _earlier_parts(results: GpuResults, out: Path) -> dict[str, PartResult]:
    """What a file of the same card and versions has."""
    if not out.is_file():
        return {}
    before = read_gpu_results(out)
    return before.parts if replace(before, date=results.date, parts={}) == results else {}


def results_file(card: str) -> Path:
    """Where a card's results are kept."""
    slug = re.sub(r"[^a-z0-9]+", "_", card.lower()).strip("_")
    return RESULTS / f"gpu_{slug}.json"


def print_plan() -> None:
    """The parts, in order, with their expected seconds."""
    for name, seconds in PARTS.items():
        print(f"{name:<14} {seconds:>4} s")
    print(f"{'in all':<14} {sum(PARTS.values()):>4} s on a card of the H100's class")


def _part_names(given: str) -> list[str]:
    names = given.split(",")
    if unknown := [name for name in names if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    return names


def main() -> int:
    """Measures, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", action="store_true", help="print the parts and their expected seconds, and end")
    parser.add_argument("--parts", type=_part_names, default=list(PARTS), help="those alone, between commas")
    parser.add_argument("--minutes", type=float, default=8.0, help="for all of them")
    parser.add_argument("--tiny", action="store_true", help="with shapes for tests; needs --out")
    parser.add_argument("--out", type=Path, help="the file to write, in place of benchmarks/results/gpu_CARD.json")
    options = parser.parse_args()
    if options.plan:
        print_plan()
        return 0
    if options.tiny and options.out is None:
        parser.error("--tiny needs --out: its figures are no results")
    if not options.tiny and not torch.cuda.is_available():
        parser.error("there is no GPU that torch can use; --tiny tries the same on a CPU")
    results = describe_machine(options.tiny)
    out = options.out or results_file(results.card)
    results.parts.update(_earlier_parts(results, out))
    print_plan()
    measure_all(results, options.parts, 60 * options.minutes, out)
    print(f"written to {out}")
    return int(any(results.parts[name].status == "failed" for name in options.parts))


if __name__ == "__main__":
    sys.exit(main())
