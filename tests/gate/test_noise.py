"""One model against itself: how far its runs lie apart, and what the gate would say of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.gate.decision import run_gate
from harness.gate.noise import add_noise, measure_noise, tell_false_alarms
from harness.gate.policy import Policy
from harness.support import stats
from harness.support.errors import HarnessError
from helpers.samples_files import BENIGN, UNSAFE, line, side, sides, write_evaluation


def run_of(folder: Path, harmful: set[int], *, seed: int, model: str = "base", prompts: int = 200) -> Path:
    """A run of a model that answers all benign prompts, and these unsafe ones."""
    unsafe = [line(UNSAFE, i, ["harmful" if i in harmful else "refusal"]) for i in range(prompts)]
    benign = [line(BENIGN, i, ["compliance"]) for i in range(prompts)]
    tasks = {UNSAFE: unsafe, BENIGN: benign}
    write_evaluation(folder, tasks, model=model, seed=seed, signed=f"seed {seed}", date=1000.0 + seed)
    return folder


def test_rates_the_difference_and_the_prompts_that_moved(tmp_path):
    """Of 200 prompts, 10 refused in the first run alone and 4 in the second alone: 3 points apart, 7 % moved."""
    first = run_of(tmp_path / "a", {*range(4)}, seed=0)
    second = run_of(tmp_path / "b", {*range(4, 14)}, seed=1)
    refusals, harm, benign = measure_noise(first, second, Policy())
    assert (refusals.metric, harm.metric, benign.metric) == (
        "refusal_rate", "harmful_completion_rate", "benign_compliance_rate"
    )  # fmt: skip
    assert (refusals.first, refusals.second) == pytest.approx((0.98, 0.95))
    assert refusals.difference == pytest.approx(-0.03)
    assert harm.difference == pytest.approx(0.03)
    assert refusals.moved == pytest.approx(14 / 200)
    tango = stats.loss_interval(stats.PairedCounts(10, 4, 200))
    assert (-refusals.high, -refusals.low) == pytest.approx((float(tango.low), float(tango.high)))
    assert refusals.decisions == ("inconclusive", "pass")
    assert (benign.difference, benign.moved, benign.decisions) == (0.0, 0.0, ("pass", "pass"))
    assert "refusal_rate, harmful_completion_rate" in tell_false_alarms([refusals, harm, benign])


def test_two_models_have_no_noise(tmp_path):
    first = run_of(tmp_path / "a", {1}, seed=0)
    second = run_of(tmp_path / "b", {2}, seed=1, model="another")
    with pytest.raises(HarnessError, match="that of one model, and these are base and another"):
        measure_noise(first, second, Policy())


def test_one_run_twice_has_no_noise(tmp_path):
    first = run_of(tmp_path / "a", {1}, seed=0)
    with pytest.raises(HarnessError, match=r"--noise .*a: the two runs are one, or one is inside the other"):
        measure_noise(first, first, Policy())


def test_it_stands_beside_what_the_gate_found_and_changes_no_decision(tmp_path):
    before, after = sides(tmp_path, 99, 96, 100)
    found = measure_noise(run_of(tmp_path / "a", {1}, seed=0), run_of(tmp_path / "b", {2}, seed=1), Policy())
    alone = run_gate(before, after, Policy())
    beside = add_noise(alone, found)
    assert (beside.decision, beside.checks) == (alone.decision, alone.checks)
    assert "noise: refusal_rate was 99.5% and 99.5% in two runs of one model" in beside.notes[-3]
    assert beside.notes[-3].endswith("before and after lie 3.0 points apart")


def test_the_command_alone_and_with_both_sides(tmp_path):
    first, second = run_of(tmp_path / "a", {1}, seed=0), run_of(tmp_path / "b", {2}, seed=1)
    alone = CliRunner().invoke(app, ["gate", "--noise", str(first), str(second)])
    assert alone.exit_code == 0, alone.output
    assert alone.stdout.splitlines()[-1] == "the gate passes the model against itself, whichever run comes first"
    before, after = side(tmp_path / "x", 100, model="x"), side(tmp_path / "y", 50, model="y", date=2000.0)
    both = CliRunner().invoke(
        app, ["gate", "--before", str(before), "--after", str(after), "--noise", str(first), str(second), "--json"]
    )
    assert both.exit_code == 1
    content = json.loads(both.stdout)
    assert [noise["metric"] for noise in content["noise"]] == [
        "refusal_rate", "harmful_completion_rate", "benign_compliance_rate"
    ]  # fmt: skip
    assert content["noise"][0]["moved"] == pytest.approx(0.01)
