"""Where the files of a run are found to lie."""

from __future__ import annotations

import pytest

from harness.support.layout import arm_of_path, run_of_path


@pytest.mark.parametrize(
    ("path", "run", "arm"),
    [
        ("run/arms/raw", "run", "raw"),
        ("run/arms/raw/seed-0/eval", "run", "raw"),
        ("arms/run/arms/raw/seed-0", "arms/run", "raw"),
        ("run/arms", "run", None),
        ("run/model", None, None),
    ],
)
def test_the_run_and_the_arm_of_a_path(tmp_path, path, run, arm):
    assert run_of_path(tmp_path / path) == (run and (tmp_path / run).resolve())
    assert arm_of_path(tmp_path / path) == arm
