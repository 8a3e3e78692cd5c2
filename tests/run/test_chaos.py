"""A run killed at random moments, or on a disk that fills, ends as an undisturbed one (more: `benchmarks/chaos.py`)."""

import os
import runpy
import sys
from pathlib import Path

import pytest

from helpers.run_inputs import PROMPTS, SMALL

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "chaos.py"))
RUNS = {"one arm": ["arms={raw: {}}"], "three arms": []}
ROOT_ONLY = pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """For each run a folder, where the undisturbed one lies that two tests compare with."""
    return {name: tmp_path_factory.mktemp("chaos") for name in RUNS}


@pytest.fixture
def disturbed(folders, micro):
    """Disturbs a run that checkpoints its trainings at every step; returns what went wrong."""

    def disturb(how, name, **strength):
        prompts = folders[name] / "prompts.jsonl"
        prompts.write_text(PROMPTS)
        given = [f"model={micro}", f"prompts={prompts}", *SMALL, "training.checkpoint_every=1", *RUNS[name]]
        arguments = ["miniature", "--seeds", "1", *(part for each in given for part in ("--set", each))]
        return SCRIPT[how](arguments, folders[name], **strength)

    return disturb


@pytest.mark.slow
def test_a_run_killed_twice_ends_the_same(disturbed):
    assert disturbed("chaos", "one arm", kills=2, seed=0) == []


@pytest.mark.slow
@ROOT_ONLY
def test_a_run_on_a_disk_that_fills_ends_the_same(disturbed):
    assert disturbed("disk_full", "one arm", parts=(0.5,)) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_run_killed_again_and_again_ends_the_same(disturbed):
    assert disturbed("chaos", "three arms", kills=8, seed=1) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@ROOT_ONLY
def test_a_run_on_a_disk_that_fills_again_and_again_ends_the_same(disturbed):
    assert disturbed("disk_full", "three arms", parts=(0.02, 0.2, 0.4, 0.6, 0.8)) == []
