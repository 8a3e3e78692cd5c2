"""What `harness run` prints of its results."""

from __future__ import annotations

from harness.cli.results import print_results
from harness.support.run_results import RunResults
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
