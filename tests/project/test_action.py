"""The GitHub action: the word and the exit code that it makes of the gate's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

ACTION = yaml.safe_load((Path(__file__).parents[2] / "action.yml").read_text(encoding="utf-8"))


def run_gate_step(folder: Path, program: str, **inputs: str) -> subprocess.CompletedProcess[str]:
    """The step's script, as GitHub runs it, with a program in place of `harness`; `inputs` are the step's variables."""
    (folder / "bin").mkdir()
    for name, text in (("harness", program), ("python", f'exec {sys.executable} "$@"')):
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    given = {name: "x" if name in ("BEFORE", "AFTER", "JUNIT") else "" for name in step["env"]} | inputs
    assert given.keys() == step["env"].keys()
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


ECHO_ARGUMENTS = 'printf "%s\\n" "$@" > arguments; while [ "$1" != --annotations ]; do shift; done; echo PASS: all well'


def test_what_is_asked_for_is_asked_of_the_gate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_gate_step(tmp_path, ECHO_ARGUMENTS, JSON="a b.json", SARIF="s.sarif", STATEMENT="s.json", COMMENT="gate")
    words = Path("arguments").read_text().splitlines()
    given = dict(pairwise(words))
    assert (given["--sarif"], given["--statement"], given["--comment"]) == ("s.sarif", "s.json", "gate")
    assert "--json=a b.json" in words


def test_what_is_not_asked_for_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_gate_step(tmp_path, ECHO_ARGUMENTS)
    words = [word for word in Path("arguments").read_text().splitlines() if word.startswith("--")]
    assert words == ["--before", "--after", "--junit", "--markdown", "--annotations"]


def test_an_empty_name_of_the_junit_file_asks_for_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_gate_step(tmp_path, ECHO_ARGUMENTS, JUNIT="")
    assert "--junit" not in Path("arguments").read_text().splitlines()


def test_annotations_are_commands_and_nothing_before_them_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = f'{ECHO_ARGUMENTS}; echo "::error title=x::worse" > "$2"'
    lines = run_gate_step(tmp_path, program).stdout.splitlines()
    token = lines[0].removeprefix("::stop-commands::")
    assert lines == [f"::stop-commands::{token}", "PASS: all well", f"::{token}::", "::error title=x::worse"]


def test_the_comment_is_off_until_it_is_asked_for_and_its_token_with_it():
    assert ACTION["inputs"]["comment"]["default"] == "false"
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    for name in ("COMMENT", "GITHUB_TOKEN"):
        assert step["env"][name].startswith("${{ inputs.comment == 'true' && inputs.")
        assert step["env"][name].endswith(" || '' }}")


def test_the_gate_has_the_options_that_the_action_uses():
    import typer

    from harness.cli import app

    known = {name for each in typer.main.get_command(app).commands["gate"].params for name in each.opts}
    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    assert {*re.findall(r"(?<![\w-])--[a-z]+", step["run"])} <= known


def test_all_that_the_gate_says_first_is_known_to_the_action():
    from harness.handoff.rendering import DECISION_MARKS

    step = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
    assert all(f" {mark}: " in step["run"] for mark in DECISION_MARKS.values())
