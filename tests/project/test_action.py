"""The GitHub action: the word and the exit code that it makes of the gate's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ACTION = yaml.safe_load((Path(__file__).parents[2] / "action.yml").read_text(encoding="utf-8"))


def run_gate_step(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    """The step's script, as GitHub runs it, with a program in place of `harness`."""
    (folder / "bin").mkdir()
    for name, text in (("harness", program), ("python", f'exec {sys.executable} "$@"')):
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    given = {name: "x" if name in ("BEFORE", "AFTER", "JUNIT") else "" for name in step["env"]}
    places = {name: str(folder / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        capture_output=True,
        text=True,
        env={**os.environ, "FORCE_COLOR": "1", **given, **places, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"},
    )


@pytest.mark.parametrize(
    ("program", "word", "code"),
    [
        ("echo 'PASS: all well'", "pass", 0),
        ("test -z $FORCE_COLOR || printf '\\e[1m'; echo 'PASS: all well'", "pass", 0),
        ("echo 'FAIL: worse'; exit 1", "fail", 1),
        ("echo 'CANNOT TELL: few'; exit 3", "inconclusive", 3),
        ("echo 'CANNOT TELL: few'; exit 0", "inconclusive", 0),
        ("echo 'CANNOT TELL: few'; exit 1", "inconclusive", 1),
        ("echo 'harness: refused' >&2; exit 2", "error", 2),
        ("echo 'ImportError' >&2; exit 1", "error", 2),
        ("exit 0", "error", 2),
        ("echo 'FAIL: worse'; exit 0", "error", 2),
        ("echo 'PASS: all well'; exit 1", "error", 2),
        ("echo 'PASS: all well'; kill -9 $$", "error", 2),
        ("echo 'refused: PASS: all well'; exit 0", "error", 2),
    ],
)
def test_the_word_is_the_gates_and_only_with_its_code(tmp_path, program, word, code):
    done = run_gate_step(tmp_path, program)
    assert done.returncode == code
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == f"decision={word}\n"
    assert (tmp_path / "GITHUB_STEP_SUMMARY").exists() == ("::error title=Safety gate::" in done.stdout) == (code == 2)


def test_what_is_printed_is_no_command_to_the_runner(tmp_path):
    lines = run_gate_step(tmp_path, "echo 'FAIL: worse'; echo '::set-output name=decision::pass'; exit 1").stdout.split(
        "\n"
    )
    stopped = next(line for line in lines if line.startswith("::stop-commands::"))
    token = stopped.removeprefix("::stop-commands::")
    assert len(token) > 36
    assert lines.index(stopped) < lines.index("::set-output name=decision::pass") < lines.index(f"::{token}::")


def test_all_that_the_gate_says_first_is_known_to_the_action():
    from harness.handoff.rendering import DECISION_MARKS

    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    assert all(f" {mark}: " in step["run"] for mark in DECISION_MARKS.values())
