"""A run killed at random moments, or on a disk that fills, ends as an undisturbed one (more: `benchmarks/chaos.py`)."""

import os
import runpy
import sys
from pathlib import Path

import pytest

from helpers.run_inputs import PROMPTS, SMALL

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "chaos.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the undisturbed run lies that both tests compare with."""
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture
def arguments(folder, micro):
    """A run that checkpoints its trainings at every step."""
    (folder / "prompts.jsonl").write_text(PROMPTS)
    settings = [f"model={micro}", f"prompts={folder / 'prompts.jsonl'}", *SMALL, "training.checkpoint_every=1"]
    return ["miniature", "--seeds", "1", *(part for each in settings for part in ("--set", each))]


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_run_killed_again_and_again_ends_the_same(folder, arguments):
    assert SCRIPT["chaos"](arguments, folder, kills=3, seed=0) == []


@pytest.mark.slow
@pytest.mark.timeout(280)
@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="only root may mount a small disk")
def test_a_run_on_a_disk_that_fills_ends_the_same(folder, arguments):
    assert SCRIPT["disk_full"](arguments, folder, parts=(0.3, 0.6)) == []
