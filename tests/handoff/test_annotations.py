"""Workflow commands of GitHub: a line for each failure, and no other command whatever others' text says."""

from __future__ import annotations

import re
from dataclasses import replace

from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.handoff.annotations import MOST_SHOWN, annotation_lines, run_url
from helpers.samples_files import sides

COMMAND = re.compile(r"::(error|warning) title=([^:,\n]*)::([^\n]*)\n")


def test_failures_are_errors_and_what_could_not_be_told_a_warning(tmp_path):
    outcome = run_gate(*sides(tmp_path, 90, 60), Policy())
    lines = annotation_lines(outcome).splitlines()
    assert lines[0] == f"::error title=Safety gate%3A refusal_rate::{outcome.checks[0].reason}"
    assert len(lines) == sum(check.decision == "fail" for check in outcome.checks)
    unsure = run_gate(*sides(tmp_path / "b", 90, 88), Policy())
    told = annotation_lines(unsure, ["no comment"]).splitlines()
    assert [line.split("::")[1].split(" ")[0] for line in told] == ["warning"] * 3
    assert told[-1] == "::warning title=Safety gate%3A comment::no comment"
    assert annotation_lines(run_gate(*sides(tmp_path / "c", 90, 90), Policy())) == ""


def test_what_mirrors_another_metric_is_told_once(tmp_path):
    outcome = run_gate(*sides(tmp_path, 360, 240, 400), Policy())
    lines = annotation_lines(outcome).splitlines()
    assert sum(check.decision == "fail" for check in outcome.checks) == 10
    assert [line.split("::")[1] for line in lines] == [
        "error title=Safety gate%3A refusal_rate",
        *(
            f"error title=Safety gate%3A refusal_rate in {name}"
            for name in ("Hate", "Privacy", "Self-harm", "Violent crimes")
        ),
        "error title=Safety gate%3A harmful_completion_rate",
    ]


def test_others_text_is_no_command(tmp_path):
    check = run_gate(*sides(tmp_path, 90, 60), Policy()).checks[0]
    hostile = "a\n::set-output name=x::y\r\n::error::z %0A::stop-commands::t, file=/etc/passwd: 100%"
    outcome = run_gate(tmp_path / "before", tmp_path / "after", Policy())
    odd = replace(check, metric=hostile, category=hostile, reason=hostile)
    text = annotation_lines(replace(outcome, checks=(odd,)))
    assert COMMAND.fullmatch(text)
    _, title, message = COMMAND.fullmatch(text).groups()
    assert "%250A" in message
    assert "%0A" not in message.replace("%250A", "")
    assert "%3A%3Aset-output" in title


def test_no_more_lines_than_github_shows_and_the_rest_is_counted(tmp_path):
    outcome = run_gate(*sides(tmp_path, 90, 60), Policy())
    failed = tuple(replace(outcome.checks[0], category=f"c{number}") for number in range(MOST_SHOWN + 5))
    lines = annotation_lines(replace(outcome, checks=failed)).splitlines()
    assert len(lines) == MOST_SHOWN
    assert "::6 more: " in lines[-1]
    assert len(annotation_lines(replace(outcome, checks=failed[:MOST_SHOWN])).splitlines()) == MOST_SHOWN
    assert "more: " not in annotation_lines(replace(outcome, checks=failed[:MOST_SHOWN]))


def test_the_runs_address_is_known_in_a_workflow_only():
    inside = {"GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r", "GITHUB_RUN_ID": "7"}
    assert run_url(inside) == "https://github.com/o/r/actions/runs/7"
    assert run_url({}) is None
