"""A run killed at random moments ends where an undisturbed one ends (`benchmarks/chaos.py` does it at length)."""

import runpy
from pathlib import Path

import pytest
from test_regression import PROMPTS, SMALL

CHAOS = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "chaos.py"))["chaos"]


@pytest.mark.slow
@pytest.mark.timeout(280)
def test_a_run_killed_again_and_again_ends_the_same(tmp_path, micro):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    settings = [f"model={micro}", f"prompts={tmp_path / 'prompts.jsonl'}", *SMALL]
    arguments = ["miniature", "--seeds", "1", *(part for each in settings for part in ("--set", each))]
    assert CHAOS(arguments, tmp_path, kills=3, seed=0) == []
