"""How far a dry run's estimate of time is from what the run then takes, by kind of stage and in all.

    python benchmarks/dry_run_accuracy.py [RECIPE] [--limit N] [--seeds N] [--set KEY=VALUE]... [--out FILE.json]

The dry run comes first, then the run, each a process of its own in a temporary directory. Stages are those of the run's
manifests, of all draws where there are several; arms run beside each other, so their seconds add up to more than the
clock's. With each time are printed the processors' time, which depends less on other work on the machine, and the load.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

from default_run import Ran, ran


def stage_seconds(folder: Path, kinds: dict[str, str]) -> dict[str, list[float]]:
    """What the stages of each kind took, in all runs that lie in the folder."""
    found: dict[str, list[float]] = defaultdict(list)
    for manifest in sorted(folder.rglob("manifest.json")):
        for name, stage in json.loads(manifest.read_text())["stages"].items():
            found[kinds[name]].append(stage["seconds"])
    return found


def expected_seconds(dry_run: dict[str, Any]) -> dict[str, list[float]]:
    """What the dry run expects of the stages of each kind; the same of each draw."""
    found: dict[str, list[float]] = defaultdict(list)
    for stage in dry_run["stages"] * dry_run.get("draws_left", 1):
        found[stage["kind"]].append(stage["seconds"])
    return found


def compare_times(arguments: list[str], folder: Path) -> dict[str, Any]:
    """The dry run, and the run."""
    dry = ran([*arguments, "--out", str(folder), "--dry-run", "--json"])
    estimate = json.loads(dry.stdout)
    if estimate["seconds"] is None:
        raise SystemExit(f"no time is expected: {estimate['missing']}")
    run = ran([*arguments, "--out", str(folder)])
    took = stage_seconds(folder, {stage["name"]: stage["kind"] for stage in estimate["stages"]})
    expected = expected_seconds(estimate)
    in_all = estimate.get("draws_seconds", estimate["seconds"])
    return {
        "arguments": arguments,
        "cores": os.cpu_count(),
        "processes": estimate["processes"],
        "draws": estimate.get("draws_left", 1),
        "dry_run": clock(dry),
        "run": clock(run),
        "expected_seconds": in_all,
        "ratio": in_all / run.seconds,
        "kinds": {
            kind: {"stages": len(took[kind]), "expected": sum(expected[kind]), "took": sum(took[kind])} for kind in took
        },
        "speed": estimate["speed"],
    }


def clock(done: Ran) -> dict[str, float]:
    """What a command took, as JSON."""
    return {"seconds": done.seconds, "processor_seconds": done.processor, "load": done.load}


def show_kinds(found: dict[str, Any]) -> None:
    """Prints both, kind by kind."""
    for name in ("dry_run", "run"):
        each = found[name]
        told = f"{each['seconds']:.1f} s, processors {each['processor_seconds']:.1f} s (load {each['load']:.1f})"
        print(f"{name.replace('_', ' ')}: {told}")
    print(f"{'':12} {'stages':>6} {'expected':>10} {'took':>10}  expected / took")
    for kind, each in found["kinds"].items():
        ratio = each["expected"] / max(each["took"], 0.01)
        print(f"{kind:12} {each['stages']:6} {each['expected']:8.1f} s {each['took']:8.1f} s {ratio:8.2f}")
    took = found["run"]["seconds"]
    print(f"{'in all':12} {'':6} {found['expected_seconds']:8.1f} s {took:8.1f} s {found['ratio']:8.2f}")


def main() -> None:
    """Measures, prints, and writes JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="miniature")
    parser.add_argument("--limit")
    parser.add_argument("--seeds")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    given = {"--limit": options.limit, "--seeds": options.seeds}
    arguments = [options.recipe, *(part for name, value in given.items() if value for part in (name, value))]
    arguments += [part for each in options.settings for part in ("--set", each)]
    with tempfile.TemporaryDirectory() as folder:
        found = compare_times(arguments, Path(folder) / "run")
    show_kinds(found)
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
