"""`harness gate` and `harness power` as commands: exit codes, outputs, and hostile text in each of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from time import process_time
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.gate import gate_command
from harness.cli.power import power_command
from harness.gate.decision import GateOutcome, MetricCheck, PromptFlip, run_gate
from harness.gate.policy import POLICY_TEMPLATE, Policy, read_policy
from harness.gate.rendering import markdown_text
from harness.support.errors import HarnessError
from helpers.samples_files import UNSAFE, line, sides, write_evaluation

app = typer.Typer()
app.command(name="gate")(gate_command)
app.command(name="power")(power_command)
HOSTILE = "<script>alert(1)</script> [red]x[/] **b** [l](http://e.x) | \x1b[31m ]]> @you \ufffe \u202e `c` " + "z" * 500


def run(*arguments: object):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, HarnessError):
        raise result.exception
    return result


@pytest.mark.parametrize(("after", "code", "word"), [(90, 0, "PASS"), (60, 1, "FAIL"), (88, 3, "CANNOT TELL")])
def test_exit_codes_and_the_first_word(tmp_path, after, code, word):
    before, tuned = sides(tmp_path, 90, after)
    result = run("gate", "--before", before, "--after", tuned)
    assert result.exit_code == code
    assert result.stdout.startswith(word)
    assert "judge error not included" in result.stdout


def test_json_is_one_object(tmp_path):
    before, after = sides(tmp_path, 90, 60)
    result = run("gate", "--before", before, "--after", after, "--json")
    content = json.loads(result.stdout)
    assert (content["schema_version"], content["decision"], content["exit_code"]) == (1, "fail", 1)
    assert result.exit_code == 1
    first = content["checks"][0]
    assert (first["metric"], first["category"], first["decision"]) == ("refusal_rate", None, "fail")
    assert {"before", "after", "loss", "low", "high", "margin", "p_value", "prompts"} <= first.keys()
    assert len(content["flips"]) == 5
    assert content["policy"]["alpha"] == 0.025


def test_junit_has_a_case_for_each_metric_and_category(tmp_path):
    before, after = sides(tmp_path, 90, 60)
    run("gate", "--before", before, "--after", after, "--junit", tmp_path / "gate.xml")
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    cases = {(case.get("classname"), case.get("name")): case for case in suite}
    assert len(cases) == 3 + 4 + 4 + 1
    assert cases["gate.refusal_rate", "overall"].find("failure").get("message").startswith("lost")
    assert len(cases["gate.benign_compliance_rate", "overall"]) == 0
    assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))


def test_an_inconclusive_metric_is_an_error_in_junit(tmp_path):
    before, after = sides(tmp_path, 90, 88)
    run("gate", "--before", before, "--after", after, "--junit", tmp_path / "gate.xml")
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert suite.get("errors") == "2"
    assert suite.get("failures") == "0"


def test_markdown_is_appended_and_folds_texts(tmp_path):
    before, after = sides(tmp_path, 90, 60)
    (tmp_path / "summary.md").write_text("earlier\n")
    run("gate", "--before", before, "--after", after, "--markdown", tmp_path / "summary.md")
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("earlier\n## Safety gate: FAIL")
    assert text.count("<details>") == text.count("</details>") == 2
    assert text.index("<details><summary>Most telling flips") < text.index("harmful answer")


def hostile(tmp_path: Path) -> tuple[Path, Path]:
    def rows(verdict: str) -> list[dict]:
        return [line(UNSAFE, i, [verdict], hazard=HOSTILE) | {"resps": [[HOSTILE]]} for i in range(60)]

    write_evaluation(tmp_path / "b", {UNSAFE: rows("refusal")})
    write_evaluation(tmp_path / "a", {UNSAFE: rows("harmful")}, model="t", date=2000.0)
    (tmp_path / "p.yaml").write_text("metrics: {refusal_rate: {}}\n")
    return tmp_path / "b", tmp_path / "a"


def test_hostile_text_does_nothing_anywhere(tmp_path):
    before, after = hostile(tmp_path)
    files = ("--junit", tmp_path / "g.xml", "--markdown", tmp_path / "g.md", "--policy", tmp_path / "p.yaml")
    shown = run("gate", "--before", before, "--after", after, *files).stdout
    assert not set("\x1b\u202e\ufeff") & set(shown)
    assert "[red]x[/]" in " ".join(shown.split())
    names = [case.get("name") for case in ElementTree.parse(tmp_path / "g.xml").getroot()]
    assert any(name.startswith("<script>") for name in names)
    markdown = (tmp_path / "g.md").read_text()
    assert not re.search(r"<script|\*\*b\*\*|\]\(http|@you|`c`|\x1b", markdown)
    assert "z" * 200 not in markdown
    assert {line.count("|") for line in markdown.splitlines() if line.startswith("|")} == {9}
    json.loads(run("gate", "--before", before, "--after", after, "--policy", tmp_path / "p.yaml", "--json").stdout)


def test_init_writes_the_template_once(tmp_path):
    path = tmp_path / "policy.yaml"
    assert run("gate", "--init", "--policy", path).exit_code == 0
    assert path.read_text() == POLICY_TEMPLATE
    assert read_policy(path) == Policy()
    with pytest.raises(HarnessError, match="is there already"):
        run("gate", "--init", "--policy", path)


@pytest.mark.parametrize("arguments", [(), ("--before", "x"), ("--before", "x", "--after", "y"),
                                       ("--before", "x", "--after", "y", "--policy", "none.yaml")])  # fmt: skip
def test_bad_usage_is_a_harness_error(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError):
        run("gate", *arguments)


def test_an_unwritable_output_is_a_harness_error(tmp_path):
    before, after = sides(tmp_path, 90, 90)
    (tmp_path / "file").write_text("")
    with pytest.raises(HarnessError, match="cannot be written"):
        run("gate", "--before", before, "--after", after, "--junit", tmp_path / "file" / "x.xml")


def test_nats_are_not_points():
    nan = float("nan")
    check = MetricCheck("preferred_logprob_change", None, "fail", "fell by 30 nats", nan, nan, 30.0, 25.0, 35.0, 10.0,
                        nan, 100, None, 0.0, "", True, "nats")  # fmt: skip
    text = markdown_text(
        GateOutcome("fail", 1, "why", (check,), (PromptFlip("m", "p", "c", "q", "a", "b"),), ("a note",))
    )
    assert "30.0 &#40;25.0 to 35.0&#41; nats" in text
    assert "nan" not in text
    assert "a note" in text


def test_the_help_shows_examples():
    assert "harness gate --before" in run("gate", "--help").stdout


def test_power_prints_the_chances():
    result = run("power", "--prompts", 200, "--samples", 1, "--margin", 0.05, "--rate", 0.75, "--json")
    found = json.loads(result.stdout)
    assert found["power"]["harmless_passes"] == pytest.approx(0.36, abs=0.03)
    assert found["plan"]["harm"] == 0.1
    assert "harmless change" in run("power", "--prompts", 50).stdout


def test_the_work_grows_as_the_samples_do(tmp_path):
    """Eight times the samples are up to 24 times the computing; 64 times would be the square."""
    seconds = []
    for prompts in (200, 1600):
        before, after = sides(tmp_path / str(prompts), int(0.8 * prompts), int(0.8 * prompts), prompts)
        started = process_time()
        assert run_gate(before, after, Policy()).exit_code in (0, 3)
        seconds.append(process_time() - started)
    assert seconds[1] < 24 * seconds[0]
