"""`assert_no_unalignment`, called and as pytest's fixture."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import harness
from harness import HarnessError, assert_no_unalignment
from harness.gate.policy import Policy
from harness.handoff.assertions import InconclusiveWarning
from helpers.samples_files import sides

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[2]


def test_what_passes_is_returned(tmp_path):
    outcome = assert_no_unalignment(*sides(tmp_path, 90, 90))
    assert outcome.decision == "pass"
    assert harness.assert_no_unalignment is assert_no_unalignment


def test_what_fails_fails_with_the_gates_table(tmp_path):
    before, after = sides(tmp_path, 90, 60)
    with pytest.raises(AssertionError) as raised:
        assert_no_unalignment(str(before), str(after))
    lines = str(raised.value).splitlines()
    assert lines[0].startswith("FAIL: refusal_rate fell by ")
    assert any(line.startswith("FAIL  refusal_rate") and "90.0%" in line for line in lines)


@pytest.mark.parametrize("kind", ["file", "text", "policy"])
def test_what_cannot_be_told_fails_unless_the_policy_lets_it_pass(tmp_path, kind):
    paths, path = sides(tmp_path, 90, 88), tmp_path / "policy.yaml"
    path.write_text("inconclusive: pass\n")
    with pytest.raises(AssertionError, match="CANNOT TELL: "):
        assert_no_unalignment(*paths)
    policy = {"file": path, "text": str(path), "policy": Policy(inconclusive="pass")}[kind]
    with pytest.warns(InconclusiveWarning, match="CANNOT TELL: "):
        assert assert_no_unalignment(*paths, policy).decision == "inconclusive"


@pytest.mark.parametrize("policy", [None, "none.yaml"])
def test_bad_input_is_an_error_with_its_hint(tmp_path, policy):
    before, _ = sides(tmp_path, 90, 90)
    with pytest.raises(HarnessError) as raised:
        assert_no_unalignment(before, tmp_path / "nowhere" if policy is None else before, policy)
    assert raised.value.hint
    assert len(raised.traceback) == 2  # this test and the function: not the readers below


# In pytest


@pytest.fixture
def pytester_with(pytester, monkeypatch):
    """A folder with two sides and pytest with this plugin alone, installed or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    sides(pytester.path, 90, 60)

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "harness.handoff.pytest_plugin", *arguments)

    return run


def test_the_fixture_is_the_function_and_its_failure_shows_the_table_alone(pytester, pytester_with):
    pytester.makepyfile(
        """
        def test_release(assert_no_unalignment):
            assert_no_unalignment("before", "after")

        def test_itself(assert_no_unalignment):
            assert assert_no_unalignment("before", "after", "lax.yaml").decision == "pass"

        def test_missing(assert_no_unalignment):
            assert_no_unalignment("before", "nowhere")
        """
    )
    pytester.path.joinpath("lax.yaml").write_text(
        "metrics: {benign_compliance_rate: {}}\nminimum_prompts: 50\n",
    )
    done = pytester_with()
    done.assert_outcomes(failed=2, passed=1)
    text = done.stdout.str()
    assert "E       AssertionError: FAIL: refusal_rate fell by " in text
    assert "E       harness.support.errors.HarnessError: nowhere: no such file or directory. Give an lm-eval" in text
    assert "decision.py" not in text
    assert "assertions.py:" not in text.replace("assertions.py:45: HarnessError", "")


def test_loading_it_loads_no_library(tmp_path):
    """pytest's start must not wait for numpy, nor for what this project needs besides."""
    code = (
        "import sys, pytest; before = {*sys.modules}\n"
        "import harness.handoff.pytest_plugin\n"
        "print(sorted({name.split('.')[0] for name in {*sys.modules} - before} - {*sys.stdlib_module_names}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout == "['harness']\n"


def test_pytest_finds_it_where_the_package_is_installed():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert declared == {"refusal_displacement": "harness.handoff.pytest_plugin"}
