"""Where the time of the default run goes: cold, then again with only the results and the report to be written anew.

    python benchmarks/default_run.py [--recipe miniature] [--set KEY=VALUE]... [--targets 120 45] [--out FILE.json]

First the dry run says what it expects. Each run is a process of its own in a temporary directory. Stages are those of
manifest.json; arms run beside each other, so their seconds add up to more than the clock's. On a busy machine all of it
is longer: the load (processes that want to run, over the last minute) is printed with each time.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from time import perf_counter
from typing import Any

HARNESS = [sys.executable, "-c", "from harness.cli import main; main()", "run"]
ARMS = re.compile(r"^Training and evaluating: ([0-9.]+) s$", re.MULTILINE)


def ran(arguments: list[str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    """Runs the command; the seconds it took."""
    started = perf_counter()
    done = subprocess.run([*HARNESS, *arguments], check=True, capture_output=True, text=True)
    return perf_counter() - started, done


def kinds(stages: dict[str, dict[str, Any]]) -> dict[str, list[float]]:
    """Seconds of the stages of each kind."""
    found: dict[str, list[float]] = defaultdict(list)
    for name, stage in stages.items():
        kind = name.partition(" ")[0] if " seed " in name else name
        found[kind].append(stage["seconds"])
    return found


def measure(arguments: list[str], folder: Path) -> dict[str, Any]:
    """The dry run, the cold run and the warm one."""
    out = ["--out", str(folder)]
    seconds, done = ran([*arguments, *out, "--dry-run", "--json"])
    expected = json.loads(done.stdout)
    print(f"dry run: {seconds:.1f} s, expects {expected['seconds']:.0f} s (load {os.getloadavg()[0]:.1f})")
    cold, done = ran([*arguments, *out])
    load = os.getloadavg()[0]
    by_kind = kinds(json.loads((folder / "manifest.json").read_text())["stages"])
    arms = sum(map(float, ARMS.findall(done.stderr)))
    show(cold, load, by_kind, arms)
    for name in ("results.json", "report.html"):
        (folder / name).unlink()
    warm, _ = ran([*arguments, *out])
    print(f"warm: {warm:.1f} s (load {os.getloadavg()[0]:.1f})")
    return {
        "cores": os.cpu_count(),
        "load": load,
        "expected_seconds": expected["seconds"],
        "expected_stages": {stage["name"]: stage["seconds"] for stage in expected["stages"]},
        "cold_seconds": cold,
        "arms_seconds": arms,
        "stages": by_kind,
        "warm_seconds": warm,
    }


def show(wall: float, load: float, by_kind: dict[str, list[float]], arms: float) -> None:
    """Prints the cold run's parts."""
    total = sum(map(sum, by_kind.values()))
    print(f"cold: {wall:.1f} s (load {load:.1f})")
    for kind, each in by_kind.items():
        print(
            f"  {kind:12} {len(each):3} x {sum(each) / len(each):6.2f} s = {sum(each):7.1f} s  {sum(each) / total:6.1%}"
        )
    before = sum(sum(each) for kind, each in by_kind.items() if kind not in {"train", "evaluate"})
    pieces = total - before
    print(f"  all stages {total:.1f} s: {before:.1f} s one by one, {pieces:.1f} s in the {arms:.1f} s of the arms")
    print(f"  start-up, imports, results and report: {wall - before - arms:.1f} s")


def main() -> None:
    """Measures, prints, and compares with the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="miniature")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--targets", type=float, nargs=2, default=(120.0, 45.0), metavar=("COLD", "WARM"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    arguments = [options.recipe, *(part for each in options.settings for part in ("--set", each))]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, Path(folder) / "run")
    for name, target in zip(("cold", "warm"), options.targets, strict=True):
        print(f"{name}: {found[f'{name}_seconds'] / target:.0%} of the target of {target:.0f} s")
    print(f"expected / cold: {found['expected_seconds'] / found['cold_seconds']:.2f}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
