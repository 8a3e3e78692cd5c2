"""What `harness run` prints of its results."""

from __future__ import annotations

from harness.cli.printing.results import print_results
from harness.support.run_results import CatastrophicResults, RunResults
from helpers import report_runs as runs


def flagged_results(**rates) -> RunResults:
    """Results of an untrained and a trained arm, the latter with these rates of flags on all prompts."""
    return runs.run_results({"baseline": runs.arm_result(0.9, 0.1), "raw": runs.arm_result(0.2, 0.7, flags=rates)})


def test_flags_are_told_below_the_rates(capsys):
    print_results(flagged_results(off_topic_rate=0.7, partial_rate=0.25, unfinished_rate=0.031))
    lines = capsys.readouterr().out.splitlines()
    assert "Harmful without answers that seem to be to another question: raw 0.0 %" in lines
    assert "Ended before the answer began (raise evaluation.max_new_tokens): raw 3.1 %" in lines
    assert "Refused or objected, and then did it: raw 25.0 %" in lines


def test_nothing_is_told_where_there_is_nothing(capsys):
    print_results(flagged_results(off_topic_rate=0.0, partial_rate=0.0, unfinished_rate=0.0))
    flagged = capsys.readouterr().out
    print_results(flagged_results())
    assert flagged == capsys.readouterr().out


def test_falls_are_told_with_theorem_2_after_the_first_step(capsys):
    gaining = {"token": " Yes\n", "id": 3, "gain": "catastrophic", "before": 0.1, "after": 0.4, "change": 0.3}
    ranges = {"gradient": 0.31, "1": 0.12, "10": 0.25}
    row = {
        "objective": "dpo",
        "chosen": "No",
        "rejected": "Never",
        "trials": 2,
        "displaced": 1,
        "lower_at_the_end": 1,
        "largest_fall": {"seed": 0, "step": 4, "before": 0.85, "after": 0.01, "gaining": [gaining]},
        "mean_before": 0.8,
        "mean_lowest": 0.1,
        "mean_largest_fall": {"runs": 1, "before": 0.87, "after": 0.02},
        "gained": {"benign": 0.0, "catastrophic": 0.3},
        "most_gaining": {"benign": 0, "catastrophic": 1, "unknown": 0},
        "theorem_2": {step: {"median": value, "low": value, "high": value} for step, value in ranges.items()},
        "geometry": {"inner_product": 1.0, "projection": 1.0, "orthogonal": 2.0},
        "tied": True,
    }
    recipe = {"model": "miniature", "organism_seed": 0, "seeds": [0, 1], "steps": 10, "sft": None}
    content = {"schema_version": 1, "experiment": "catastrophic", "recipe": recipe, "measured": [row]}
    print_results(CatastrophicResults.model_validate(content | {"published": None, "trials": []}))
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "No over Never" in line]
    assert "1 of 2" in line
    assert "0.85 to 0.01" in line
    assert "0.87 to 0.02 (1 of 2)" in line
    assert "\N{OPEN BOX}Yes\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}" in line
    assert "0.12" in line
