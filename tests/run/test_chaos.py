"""A run killed at random moments, or on a disk that fills, ends as an undisturbed one (more: `benchmarks/chaos.py`)."""

import os
import runpy
import sys
from pathlib import Path

import pytest

from helpers.run_inputs import PROMPTS, SMALL

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "chaos.py"))
pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the undisturbed run lies that both tests compare with."""
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture
def disturbed(folder, micro):
    """Disturbs a run that checkpoints its trainings at every step; returns what went wrong."""

    def disturb(how, **strength):
        prompts = folder / "prompts.jsonl"
        prompts.write_text(PROMPTS)
        given = [f"model={micro}", f"prompts={prompts}", *SMALL, "training.checkpoint_every=1"]
        arguments = ["miniature", "--seeds", "1", *(part for each in given for part in ("--set", each))]
        return SCRIPT[how](arguments, folder, **strength)

    return disturb


def test_a_run_killed_again_and_again_ends_the_same(disturbed):
    assert disturbed("chaos", kills=8, seed=1) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_run_on_a_disk_that_fills_again_and_again_ends_the_same(disturbed):
    assert disturbed("disk_full", parts=(0.02, 0.2, 0.4, 0.6, 0.8)) == []
