"""Where a path lies in a run directory."""

import pytest

from harness.support.layout import arm_of_path, run_of_path


@pytest.mark.parametrize(
    ("place", "run", "arm"),
    [
        ("arms/raw/seed-0/eval", ".", "raw"),
        ("arms/raw", ".", "raw"),
        ("arms", ".", None),
        ("arms/may/runs/mine/arms/baseline/seed-1", "arms/may/runs/mine", "baseline"),
        ("arms/may/runs/mine/arms", "arms/may/runs/mine", None),
        ("evals/base", None, None),
    ],
)
def test_a_path_says_its_run_and_the_arm_of_that_run(tmp_path, place, run, arm):
    assert run_of_path(tmp_path / place) == (None if run is None else (tmp_path / run).resolve())
    assert arm_of_path(tmp_path / place) == arm
