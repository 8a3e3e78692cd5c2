"""SARIF: valid by the official schema, the same alert for the same loss, and nothing of others' text acts."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import jsonschema
import pytest

from harness.gate.decision import GateOutcome, run_gate
from harness.gate.policy import Policy
from harness.handoff.record import record_decision
from harness.handoff.sarif import sarif_log
from helpers.samples_files import sides


@cache
def schema() -> jsonschema.Draft4Validator:
    """The schema that OASIS publishes (errata 01)."""
    path = Path(__file__).parents[1] / "data" / "sarif-schema-2.1.0.json"
    return jsonschema.Draft4Validator(json.loads(path.read_text()))


def logged(outcome: GateOutcome, paths: tuple[Path, Path], policy_file: Path | None = None) -> dict:
    log = json.loads(json.dumps(sarif_log(record_decision(outcome, Policy(), paths, policy_file=policy_file))))
    schema().validate(log)
    return log["runs"][0]


@pytest.fixture
def compared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def compare(after: int, prompts: int = 100):
        paths = sides(Path(), prompts * 9 // 10, after, prompts)
        return run_gate(*paths, Policy()), paths

    return compare


def test_a_result_for_each_check_that_failed(compared):
    outcome, paths = compared(240, 400)
    run = logged(outcome, paths)
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == [
        "refusal_rate",
        "harmful_completion_rate",
        "benign_compliance_rate",
    ]
    failed = {(check.metric, check.category) for check in outcome.checks if check.decision == "fail"}
    assert len(failed) > 2
    found = {(result["ruleId"], result["properties"]["category"]) for result in run["results"]}
    assert found == failed
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        assert (result["level"], result["properties"]["decision"]) == ("error", "fail")
    first = run["results"][0]
    assert first["message"]["text"] == f"`refusal_rate`: `{outcome.checks[0].reason}`"
    assert run["invocations"][0]["exitCode"] == 1


def test_a_check_that_binds_and_cannot_tell_is_a_warning(compared):
    outcome, paths = compared(88)
    results = logged(outcome, paths)["results"]
    assert [(each["ruleId"], each["level"]) for each in results] == [
        ("refusal_rate", "warning"),
        ("harmful_completion_rate", "warning"),
    ]
    assert all("cannot tell: " in each["message"]["text"] for each in results)


def test_where_all_passes_there_is_no_result(compared):
    assert logged(*compared(90))["results"] == []


def test_an_alert_is_the_same_whatever_the_figures_and_another_for_another_category(compared):
    def marks(after: int) -> dict:
        return {
            (each["ruleId"], each["properties"]["category"]): each["partialFingerprints"]["primaryLocationLineHash"]
            for each in logged(*compared(after, 400))["results"]
        }

    worse, worst = marks(240), marks(120)
    assert worse.keys() <= worst.keys()
    assert all(worst[name] == mark for name, mark in worse.items())
    assert len({*worst.values()}) == len(worst)


def test_the_place_is_the_policys_line_or_what_was_evaluated(compared, tmp_path):
    outcome, paths = compared(60)
    place = logged(outcome, paths)["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "after", "uriBaseId": "%SRCROOT%"}
    policy = Path("a policy.yaml")
    policy.write_text("metrics:\n  harmful_completion_rate: {}\n  refusal_rate: {}\n")
    places = [each["locations"][0]["physicalLocation"] for each in logged(outcome, paths, policy)["results"]]
    assert places[0] == {
        "artifactLocation": {"uri": "a%20policy.yaml", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3},
    }
    assert {place["region"]["startLine"] for place in places} == {2, 3}


def test_a_place_outside_of_the_working_directory_is_an_address(compared, tmp_path, monkeypatch):
    outcome, paths = compared(60)
    there = tuple(path.resolve() for path in paths)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    place = logged(outcome, there)["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": there[1].as_uri()}


def test_others_text_makes_no_link_and_no_placeholder(compared):
    outcome, paths = compared(60)
    hostile = "[click](http://evil.com) {0} \\[x] @you \x1b[31m\nsecond line"
    odd = replace(outcome.checks[0], metric=hostile, category=hostile, reason=hostile)
    (result,) = logged(replace(outcome, checks=(odd,)), paths)["results"]
    text = result["message"]["text"]
    assert "\\[click\\](http" in text
    assert "{{0}}" in text
    assert "\n" not in text + result["ruleId"] + result["properties"]["category"]
    assert "\x1b" not in json.dumps(result, ensure_ascii=False)
