"""A run killed again and again, or out of space: does it end as an undisturbed one, is a finished stage run twice?

    python benchmarks/chaos.py [--kills 25] [--seed 0] [-- RECIPE --set key=value ...]
    python benchmarks/chaos.py --disk-full [-- RECIPE --set key=value ...]

Runs the recipe once undisturbed, then again with SIGKILL at random moments, each time going on with the same command;
or on a small disk (a tmpfs, which only root may mount) that fills, is made larger, and fills again. Prints what it saw;
exits with 1 where results.json differs, a finished stage was run again, or a full disk was not told in one line.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
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
        done += killed(arguments, wild, draw.uniform(0.5, max(8.0, 0.35 * whole)))
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


def disk_full(arguments: Sequence[str], folder: Path, parts: Sequence[float] = (0.02, 0.2, 0.4, 0.6, 0.8)) -> list[str]:
    """What went wrong on a disk that holds only these parts of what the run writes, one after the other, then all."""
    calm, disk, wrong = folder / "calm", folder / "disk", []
    undisturbed(arguments, calm)
    need = sum(file.stat().st_size for file in calm.rglob("*") if file.is_file())
    disk.mkdir()
    mount, umount = str(shutil.which("mount")), str(shutil.which("umount"))
    wild = disk / "run"
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        for part in (*parts, 4.0):
            subprocess.run([mount, "-o", f"remount,size={int(part * need) + 65536}", str(disk)], check=True)
            known = stages(wild)
            ended = subprocess.run([*HARNESS, "run", *arguments, "--out", str(wild)], capture_output=True, text=True)
            if part in parts and (ended.returncode != 2 or "cannot be written" not in ended.stderr.splitlines()[-1]):
                wrong.append(f"with room for {part:.0%} it ended with {ended.returncode}: {ended.stderr[-400:]}")
            wrong += [f"{name} was run again" for name, stage in known.items() if stages(wild).get(name) != stage]
        print(f"filled {len(parts)} times; {len(known)} stages had finished before the disk was large enough")
        if (calm / "results.json").read_bytes() != (wild / "results.json").read_bytes():
            wrong.append("results.json differs from the undisturbed run's")
    finally:
        subprocess.run([umount, str(disk)], check=True)
    return wrong


def main() -> None:
    """Reads the arguments and runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--disk-full", action="store_true")
    parser.add_argument("run", nargs="*", help="arguments of `harness run`, after --")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.disk_full:
            wrong = disk_full(options.run, Path(folder))
        else:
            wrong = chaos(options.run, Path(folder), options.kills, options.seed)
    print("\n".join(wrong) or "results.json is the same, byte for byte, and no finished stage was run again")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
