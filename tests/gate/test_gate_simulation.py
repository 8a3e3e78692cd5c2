"""The gate's promises over simulated pairs of runs; `benchmarks/gate_simulation.py` prints the same as a table."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from harness.gate import power
from harness.gate.power import PowerPlan, estimate_power, simulate_shares
from harness.support import stats

FILE = Path(__file__).parents[2] / "benchmarks" / "gate_simulation.py"
SPEC = importlib.util.spec_from_file_location("gate_simulation", FILE)
simulation = importlib.util.module_from_spec(SPEC)
sys.modules["gate_simulation"] = simulation
SPEC.loader.exec_module(simulation)

RUNS = 2000
PLANS = list(simulation.plans())
pytestmark = pytest.mark.slow


def name(plan: PowerPlan) -> str:
    return f"{plan.prompts}x{plan.samples}-{plan.rate}-{plan.correlation}"


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_coverage_false_passes_and_power(plan):
    rng = np.random.default_rng(7)
    row = simulation.measured(plan, RUNS, rng)
    assert row.coverage >= 0.935
    assert row.false_pass <= plan.alpha + 0.015
    expected = estimate_power(plan)
    assert row.power == pytest.approx(expected.harmless_passes, abs=0.04)
    assert simulation.failing(plan, RUNS, rng) == pytest.approx(expected.harmful_fails, abs=0.04)


@pytest.mark.parametrize("plan", PLANS, ids=name)
def test_the_corrected_interval_covers_and_the_uncorrected_one_does_not(plan):
    corrected, naive, false_pass = simulation.judged(plan, RUNS, np.random.default_rng(8))
    assert corrected >= 0.93
    assert false_pass <= plan.alpha + 0.015
    if plan.prompts >= 200:
        assert naive < 0.9


def test_an_unequal_number_of_answers_keeps_its_level():
    """One answer before and three after, as with one baseline and three trained seeds."""
    rng = np.random.default_rng(9)
    plan = PowerPlan(200, 3, 0.05, 0.75, 0.5)
    before, after = simulation.good(plan, 0.05, RUNS, rng)
    single = (rng.random(before.shape) < before / 3).astype(float)
    found = stats.compare_rates(single, after / 3)
    assert np.mean((found.low <= 0.05) & (found.high >= 0.05)) >= 0.935
    assert np.mean(found.high < 0.05) <= 0.04


@pytest.mark.parametrize("rate", [0.5, 0.95])
def test_rates_over_seeds_cover(rate):
    rng = np.random.default_rng(10)
    counts, _ = simulation.good(PowerPlan(100, 3, 0.05, rate, 0.5), 0.0, 400, rng)
    answers = np.arange(3) < counts[..., None]
    found = [stats.rate_over_seeds(run) for run in answers.astype(float)]
    assert np.mean([one.low <= rate <= one.high for one in found]) >= 0.93


def test_prediction_powered_intervals_cover():
    """150 of 300 prompts labelled on both sides; the judge errs as in the other simulation."""
    rng, covered = np.random.default_rng(11), []
    truth = simulation.good(PowerPlan(300, 1, 0.05, 0.75, 0.5), 0.05, 1000, rng)
    # Private in the benchmark: the very judge of its other simulations.
    seen = [simulation._seen(side, 1, *judge, rng) for side, judge in zip(truth, simulation.JUDGES, strict=True)]
    chosen = (np.arange(300) < 150).astype(float)
    for run in range(1000):
        labels = [stats.LabelErrors((truth[i][run] - seen[i][run]) * chosen, chosen) for i in (0, 1)]
        found = stats.compare_labelled(seen[0][run], seen[1][run], (labels[0], labels[1]))
        covered.append(found.low <= 0.05 <= found.high)
    assert np.mean(covered) >= 0.93


def test_a_larger_set_has_more_power():
    chances = [estimate_power(PowerPlan(n, 1, 0.05, 0.75), runs=1000).harmless_passes for n in (50, 200, 800)]
    assert chances == sorted(chances)
    assert chances[0] < 0.2 < 0.8 < chances[2]


def test_many_prompts_are_simulated_in_bounded_pieces(monkeypatch):
    """Each piece of the runs holds no more prompts than the bound, and together they are all the runs."""
    taken: list[int] = []

    def watched(plan, loss, runs, rng):
        taken.append(runs)
        return simulate_shares(plan, loss, runs, rng)

    monkeypatch.setattr(power, "_AT_ONCE", 1000)
    monkeypatch.setattr(power, "simulate_shares", watched)
    plan = PowerPlan(300, 1, 0.05, 0.75)
    pieces = estimate_power(plan, runs=1000)
    assert max(taken) * plan.prompts <= 1000
    assert sum(taken) == 2 * 1000  # a harmless and a harmful change
    monkeypatch.undo()
    assert pieces.harmless_passes == pytest.approx(estimate_power(plan, runs=1000).harmless_passes, abs=0.08)


FLAGGED_CASES = dict(simulation.flagged_cases())


@pytest.mark.parametrize("case", FLAGGED_CASES)
def test_flagged_answers_keep_false_passes_at_most_at_alpha(case):
    """The second reading's tests come on top of those as judged, so that failures unchanged may be half as many more.

    Three standard errors of 2.5 % in 2,000 runs are 1 %.
    """
    row = FLAGGED_CASES[case](RUNS, np.random.default_rng(13))
    assert row.false_pass[1] <= simulation.ALPHA + 0.01
    assert row.false_fail[1] <= 1.5 * simulation.ALPHA + 0.01
    assert row.power[1] <= row.power[0]


def test_a_loss_that_was_off_topic_before_passes_as_judged_alone():
    row = FLAGGED_CASES["10% of the others before, judged harmful, rightly"](RUNS, np.random.default_rng(14))
    assert row.false_pass[0] > 0.5


HARD_CASES = dict(simulation.hard_cases())


@pytest.mark.parametrize("case", HARD_CASES)
def test_false_passes_at_the_margin_are_at_most_alpha(case):
    """Three standard errors of 2.5 % in 2,000 runs are 1 %; the plainer method shows that the case is a hard one."""
    plainer, gate = HARD_CASES[case](RUNS, np.random.default_rng(12))
    assert gate <= simulation.ALPHA + 0.01
    assert plainer > simulation.ALPHA
