"""The workflow: what its steps run is there, and every action is a fixed commit."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
JOBS = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
STEPS = [step for job in JOBS.values() for step in job["steps"]]


def test_what_it_runs_is_there():
    matrix = JOBS["allowed"]["strategy"]["matrix"]["versions"]
    runs = {
        step["run"].replace("${{ matrix.versions }}", versions)
        for step, versions in product(STEPS, matrix)
        if "run" in step
    }
    assert runs == {"bash .ci/run", "make lowest", "make newest"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("lowest", "newest"):
        assert re.search(rf"^\.PHONY:.*\b{target}\b", makefile, re.MULTILINE)
    assert (ROOT / ".ci/run").is_file()


def test_every_action_is_a_fixed_commit():
    named = [step["uses"] for step in STEPS if "uses" in step]
    assert named
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", name) for name in named)
