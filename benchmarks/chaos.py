"""A run killed again and again: does it end where an undisturbed one ends, and is any finished stage run twice?

    python benchmarks/chaos.py [--kills 25] [--seed 0] [-- RECIPE --set key=value ...]

Runs the recipe once undisturbed, then again with SIGKILL at random moments, each time going on with the same command.
Prints what it saw; exits with 1 where results.json differs or a finished stage was run again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HARNESS = [sys.executable, "-c", "from harness.cli import main; main()"]


def undisturbed(arguments: Sequence[str], out: Path) -> float:
    """Runs the recipe; returns the seconds it took."""
    started = time.monotonic()
    subprocess.run([*HARNESS, "run", *arguments, "--out", str(out)], check=True, capture_output=True)
    return time.monotonic() - started


def killed(arguments: Sequence[str], out: Path, seconds: float) -> bool:
    """Starts or resumes the run and kills it and its children after so many seconds; False where it was done before."""
    process = subprocess.Popen(
        [*HARNESS, "run", *arguments, "--out", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    assert process.returncode == 0, f"the run ended with {process.returncode} of its own"
    return False


def stages(out: Path) -> dict[str, Any]:
    """The finished stages that the manifest knows, with their time: another time means another execution."""
    manifest = out / "manifest.json"
    return dict(json.loads(manifest.read_text())["stages"]) if manifest.is_file() else {}


def chaos(arguments: Sequence[str], folder: Path, kills: int, seed: int) -> list[str]:
    """What went wrong, in lines; empty where all is well."""
    calm, wild = folder / "calm", folder / "wild"
    whole = undisturbed(arguments, calm)
    draw, wrong, done = random.Random(seed), [], 0
    for _ in range(kills):
        known = stages(wild)
        done += killed(arguments, wild, draw.uniform(0.5, max(8.0, whole / 5)))
        again = [name for name, stage in known.items() if stages(wild).get(name) != stage]
        wrong += [f"{name} was run again though it had finished" for name in again]
    known = stages(wild)
    undisturbed(arguments, wild)
    wrong += [f"{name} was run again at the end" for name, stage in known.items() if stages(wild)[name] != stage]
    if (calm / "results.json").read_bytes() != (wild / "results.json").read_bytes():
        wrong.append("results.json differs from the undisturbed run's")
    print(
        f"undisturbed {whole:.0f} s; {done} of {kills} kills hit; {len(known)} stages had finished before the last run"
    )
    return wrong


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("run", nargs="*", help="arguments of `harness run`, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wrong = chaos(options.run, Path(folder), options.kills, options.seed)
    print("\n".join(wrong) or "results.json is the same, byte for byte, and no finished stage was run again")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
