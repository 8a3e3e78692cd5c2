"""Where the time of the default run goes: cold, then again with only the results and the report to be written anew.

    python benchmarks/default_run.py [--recipe miniature] [--set KEY=VALUE]... [--targets 90 30] [--out FILE.json]

First the dry run says what it expects. Each run is a process of its own in a temporary directory. Stages are those of
manifest.json; they run beside each other, so their seconds add up to more than the clock's. On a busy machine all of it
is longer: the load (processes that want to run, over the last minute) is printed with each time, and the processor time
that the run's own processes took, which depends on it less; over the cores, it is the least that the clock could show.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import psutil

HARNESS = [sys.executable, "-c", "from harness.cli import main; main()", "run"]


@dataclass(frozen=True)
class Ran:
    """A finished command: seconds of the clock and of the processors, the load at its end, what it said."""

    seconds: float
    processor: float
    load: float
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"{self.seconds:.1f} s, processors {self.processor:.1f} s (load {self.load:.1f})"


def ran(arguments: list[str]) -> Ran:
    """Runs the command, and watches the time of all of its processes, those that it does not wait for too."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        started = perf_counter()
        process = psutil.Popen([*HARNESS, *arguments], stdout=out, stderr=error)
        times: dict[int, float] = {}
        while process.poll() is None:
            for each in (process, *process.children(recursive=True)):
                with suppress(psutil.Error):
                    spent = each.cpu_times()
                    times[each.pid] = spent.user + spent.system
            sleep(0.2)
        seconds = perf_counter() - started
        said = [stream.read() for stream in (out, error) if stream.seek(0) == 0]
    if process.returncode:
        raise SystemExit(said[1])
    return Ran(seconds, sum(times.values()), os.getloadavg()[0], *said)


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
    dry = ran([*arguments, *out, "--dry-run", "--json"])
    expected = json.loads(dry.stdout)
    print(f"dry run: {dry}; it expects {expected['seconds']:.0f} s")
    cold = ran([*arguments, *out])
    by_kind = kinds(json.loads((folder / "manifest.json").read_text())["stages"])
    show(cold, by_kind)
    for name in ("results.json", "report.html"):
        (folder / name).unlink()
    warm = ran([*arguments, *out])
    print(f"warm: {warm}")
    return {
        "cores": os.cpu_count(),
        **{
            name: {"seconds": each.seconds, "processor_seconds": each.processor, "load": each.load}
            for name, each in (("dry_run", dry), ("cold", cold), ("warm", warm))
        },
        "expected_seconds": expected["seconds"],
        "expected_stages": {stage["name"]: stage["seconds"] for stage in expected["stages"]},
        "stages": by_kind,
    }


def show(cold: Ran, by_kind: dict[str, list[float]]) -> None:
    """Prints the cold run's parts."""
    total = sum(map(sum, by_kind.values()))
    print(f"cold: {cold}")
    for kind, each in by_kind.items():
        mean, whole = sum(each) / len(each), sum(each)
        print(f"  {kind:16} {len(each):3} x {mean:6.2f} s = {whole:7.1f} s  {whole / total:6.1%}")
    print(f"  all stages {total:.1f} s, beside each other")


def main() -> None:
    """Measures, prints, and compares with the targets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="miniature")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--targets", type=float, nargs=2, default=(90.0, 30.0), metavar=("COLD", "WARM"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    arguments = [options.recipe, *(part for each in options.settings for part in ("--set", each))]
    with tempfile.TemporaryDirectory() as folder:
        found = measure(arguments, Path(folder) / "run")
    for name, target in zip(("cold", "warm"), options.targets, strict=True):
        print(f"{name}: {found[name]['seconds'] / target:.0%} of the target of {target:.0f} s")
    print(f"expected / cold: {found['expected_seconds'] / found['cold']['seconds']:.2f}")
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
