"""The same answers through lm-eval and through other tools: one decision, one loss, and whatever a tool recorded.

The files of `tests/data/readers/` were written by the tools themselves, of a local endpoint: `make.py` there.
"""

from __future__ import annotations

import gzip
import json
import math
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness.gate.decision import GateOutcome, run_gate
from harness.gate.policy import Guard, Policy
from harness.readers.detect import read_side
from harness.support.errors import HarnessError

DATA = Path(__file__).parents[1] / "data" / "readers"
needs_inspect = pytest.mark.skipif(find_spec("inspect_ai") is None, reason="inspect_ai is not installed")
SIDES = {
    "lm_eval": ("lm_eval/base", "lm_eval/tuned"),
    "inspect": ("inspect/base", "inspect/tuned"),
    "promptfoo": ("promptfoo/base.json.gz", "promptfoo/tuned.json.gz"),
    "garak": ("garak/base.report.jsonl.gz", "garak/tuned.report.jsonl.gz"),
    "pyrit": ("pyrit/base.json.gz", "pyrit/tuned.json.gz"),
    "plain": ("plain/base.jsonl", "plain/tuned.jsonl"),
}
TOOLS = [pytest.param(name, marks=needs_inspect) if name == "inspect" else name for name in SIDES]
JUDGES = {
    "inspect": "lexical",
    "promptfoo": "promptfoo/is-refusal",
    "garak": "garak/mitigation.MitigationBypass",
    "pyrit": "pyrit/SelfAskRefusalScorer",
    "plain": "lexical",
}
UNSAFE_ALONE = Policy(metrics={"refusal_rate": Guard(), "harmful_completion_rate": Guard()})


def path_of(tool: str, side: int) -> Path:
    return DATA / SIDES[tool][side]


def gate(before: str, after: str, policy: Policy | None = None, judge: str | None = None) -> GateOutcome:
    return run_gate(path_of(before, 0), path_of(after, 1), policy or Policy(), judge=judge)


def figures(outcome: GateOutcome) -> dict[tuple[str, str | None], tuple[float, ...]]:
    """What each check rests on, those by the name of a task left out: tools cut their tasks otherwise."""
    return {
        (c.metric, c.category): (c.before, c.after, c.loss, c.low, c.high, c.p_value, c.prompts)
        for c in outcome.checks
        if not (c.category or "").startswith("task ")
    }


def same_figures(first: GateOutcome, second: GateOutcome) -> None:
    assert first.decision == second.decision
    expected, found = figures(first), figures(second)
    assert found.keys() == expected.keys()
    for check, values in expected.items():
        assert found[check] == pytest.approx(values, abs=1e-9, rel=0), check


def by_hand() -> dict[str, tuple[float, float]]:
    """The rates before and after, counted from the plain answers: what is no refusal does what was asked."""
    rates: dict[str, list[float]] = {"refusal_rate": [], "benign_compliance_rate": []}
    for side in (0, 1):
        rows = [json.loads(line) for line in path_of("plain", side).read_text().splitlines()]
        refused = {
            kind: [row["response"].startswith("I'm sorry") for row in rows if row["unsafe"] is kind]
            for kind in (True, False)
        }
        rates["refusal_rate"].append(sum(refused[True]) / 60)
        rates["benign_compliance_rate"].append(1 - sum(refused[False]) / 52)
    return {metric: (before, after) for metric, (before, after) in rates.items()}


# One pair of outputs, whatever the tool


@pytest.mark.parametrize("tool", TOOLS)
def test_every_tool_gives_the_rates_and_the_decision_that_the_answers_have(tool):
    outcome = gate(tool, tool)
    assert outcome.decision == "fail"
    for metric, (before, after) in by_hand().items():
        whole = next(c for c in outcome.checks if c.metric == metric and c.category is None)
        assert (whole.before, whole.after) == pytest.approx((before, after), abs=1e-9, rel=0)
        assert whole.loss == pytest.approx(before - after, abs=1e-9, rel=0)
    same_figures(gate("lm_eval", "lm_eval"), outcome)


@pytest.mark.parametrize("after", TOOLS)
@pytest.mark.parametrize("before", TOOLS)
def test_two_tools_judged_by_one_judge_give_what_one_gives(before, after):
    outcome = gate(before, after, judge="lexical")
    same_figures(gate("lm_eval", "lm_eval"), outcome)
    told = " ".join(outcome.notes)
    assert ("joined by the text of each request" in told) is (before != after)


@pytest.mark.parametrize("tool", [tool for tool in TOOLS if tool != "lm_eval"])
def test_verdicts_bear_the_name_of_who_gave_them(tool):
    outcome = gate(tool, tool)
    assert [side.judges for side in outcome.sides] == [(JUDGES[tool],)] * 2


@pytest.mark.parametrize(
    ("tool", "told"), [("promptfoo", "promptfoo 0.121.20"), ("garak", "garak 0.17.1"), ("pyrit", "PyRIT 1.1.0")]
)
def test_the_tool_and_its_version_are_told_where_it_says_so(tool, told):
    assert [side.tools for side in gate(tool, tool).sides] == [(told,)] * 2
    assert gate("plain", "plain").sides[0].tools == ()


def test_verdicts_of_two_judges_are_not_compared():
    with pytest.raises(HarnessError, match=r"judge of unsafe prompts differs \(promptfoo/is-refusal and garak/miti"):
        gate("promptfoo", "garak")
    same_figures(gate("lm_eval", "lm_eval"), gate("promptfoo", "garak", Policy(allow=("judge",))))


def test_a_judge_that_is_named_judges_all_and_the_note_says_whose_verdicts_went():
    notes = gate("garak", "garak", judge="lexical").notes
    assert "--before (garak): 112 verdicts of the files' own were not used: --judge lexical judged all" in notes


# What is recorded is compared, and what is not is told


@pytest.mark.parametrize("tool", ["lm_eval", "promptfoo", "pyrit", pytest.param("inspect", marks=needs_inspect)])
def test_tools_that_record_all_leave_nothing_to_say(tool):
    assert not [note for note in gate(tool, tool).notes if "not compared" in note]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("plain", "plain", "settings of generation, system prompt, the model, which side came first"),
        ("garak", "garak", "temperature"),
        ("lm_eval", "plain", "temperature, top_k, top_p, task version, chat template"),
        ("promptfoo", "pyrit", "max_tokens, task version, chat template"),
    ],
)
def test_what_a_tool_does_not_record_is_named(before, after, told):
    note = next(note for note in gate(before, after, judge="lexical").notes if "not compared" in note)
    assert told in note


def test_a_temperature_that_both_record_must_be_the_same(tmp_path):
    hot = edit_json("promptfoo", 1, tmp_path, lambda content: provider_config(content).update(temperature=1))
    with pytest.raises(HarnessError, match=r'generation of unsafe prompts differs.*"temperature": 0.0.*1.0'):
        run_gate(path_of("pyrit", 0), hot, Policy(allow=("judge",)))
    with pytest.raises(HarnessError, match=r"generation of unsafe prompts differs"):
        run_gate(path_of("promptfoo", 0), hot, Policy())


def provider_config(content: dict[str, Any]) -> dict[str, Any]:
    return content["config"]["providers"][0]["config"]


@pytest.mark.parametrize("tool", ["promptfoo", "garak", "pyrit", "lm_eval"])
def test_a_side_that_was_evaluated_later_is_not_the_one_before(tool):
    with pytest.raises(HarnessError, match="--after was evaluated before --before"):
        run_gate(path_of(tool, 1), path_of(tool, 0), Policy())


@pytest.mark.parametrize("after", ["promptfoo", "pyrit", "garak"])
def test_one_model_on_both_sides_is_refused_also_between_two_tools(after):
    with pytest.raises(HarnessError, match="both sides are of the same model"):
        run_gate(path_of("lm_eval", 0), path_of(after, 0), Policy(), judge="lexical")


@pytest.mark.parametrize("tool", TOOLS)
def test_a_copy_is_the_same_evaluation(tool, tmp_path):
    source = path_of(tool, 0)
    copied = tmp_path / source.name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, copied)
    with pytest.raises(HarnessError, match="is the same evaluation as one of --before"):
        run_gate(source, copied, Policy())


# What was edited or cut off


def read_text(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def edit_json(tool: str, side: int, folder: Path, change: Callable[[Any], object]) -> Path:
    content = json.loads(read_text(path_of(tool, side)))
    change(content)
    path = folder / f"{side}.json"
    path.write_text(json.dumps(content))
    return path


def edit_lines(side: int, folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> Path:
    rows = [json.loads(line) for line in read_text(path_of("garak", side)).splitlines()]
    change(rows)
    path = folder / f"{side}.report.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        read_side(path, ())
    assert str(path) in str(caught.value)


def attempts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["entry_type"] == "attempt" and row["status"] == 2]


def test_garak_tallies_must_be_those_of_its_attempts(tmp_path):
    def turn_round(rows: list[dict[str, Any]]) -> None:
        attempts(rows)[3]["detector_results"]["mitigation.MitigationBypass"] = [0.0]

    refused(edit_lines(1, tmp_path, turn_round), r"says that 2 of 52 passed mitigation.MitigationBypass.* say 3 of 52")


def test_a_garak_run_that_did_not_end_is_refused(tmp_path):
    refused(edit_lines(1, tmp_path, lambda rows: rows.pop(-2)), "garak did not end")
    whole = path_of("garak", 1)
    cut = tmp_path / "cut.report.jsonl"
    cut.write_text(read_text(whole)[:-400])
    refused(cut, "is not JSON|did not end")


def test_garak_outputs_that_never_came_are_unjudged(tmp_path):
    def lose(rows: list[dict[str, Any]]) -> None:
        for attempt in attempts(rows)[:2]:
            attempt["outputs"], attempt["detector_results"] = [None], {"mitigation.MitigationBypass": [None]}
        row = next(row for row in rows if row["entry_type"] == "eval")
        row.update(passed=row["passed"], total_evaluated=row["total_evaluated"] - 2)

    side = read_side(edit_lines(0, tmp_path, lose), ())
    assert [a.verdict for a in side.evaluations[0].answers].count("unjudged") == 2
    assert "2 prompts got no answer, and count as unjudged" in side.remarks


def test_promptfoo_statistics_must_be_those_of_its_results(tmp_path):
    def turn_round(content: dict[str, Any]) -> None:
        content["results"]["results"][0]["success"] = not content["results"]["results"][0]["success"]

    refused(edit_json("promptfoo", 1, tmp_path, turn_round), "says successes: 86, its results make it 8[57]")


def test_promptfoo_results_that_are_gone_are_a_limit(tmp_path):
    def lose(content: dict[str, Any]) -> None:
        gone = content["results"]["results"].pop()
        content["results"]["stats"]["successes" if gone["success"] else "failures"] -= 1

    before, after = (edit_json("promptfoo", side, tmp_path, lose) for side in (0, 1))
    with pytest.raises(HarnessError, match=r"benign prompts was not evaluated whole: --before saw 51 of 52 prompts"):
        run_gate(before, after, Policy())


def test_a_promptfoo_provider_that_failed_leaves_an_answer_unjudged(tmp_path):
    def fail(content: dict[str, Any]) -> None:
        row = next(row for row in content["results"]["results"] if row["success"])
        row.update(success=False, failureReason=2, error="API error: 500", response={"error": "API error: 500"})
        content["results"]["stats"].update(successes=content["results"]["stats"]["successes"] - 1, errors=1)

    side = read_side(edit_json("promptfoo", 0, tmp_path, fail), ())
    found = [answer for answer in side.evaluations[0].answers if answer.verdict == "unjudged"]
    assert [answer.reason for answer in found] == ["API error: 500"]
    assert math.isnan(found[0].outcomes["refusal_rate"])


def test_two_providers_in_one_promptfoo_file_are_two_models(tmp_path):
    def add(content: dict[str, Any]) -> None:
        content["results"]["results"][7]["provider"]["id"] = "openai:chat:other"

    refused(edit_json("promptfoo", 0, tmp_path, add), "holds several models")


def test_a_named_verdict_of_promptfoo_goes_before_its_refusal_check(tmp_path):
    def name(content: dict[str, Any]) -> None:
        row = next(row for row in content["results"]["results"] if row["testCase"]["metadata"]["unsafe"])
        row["namedScores"] = {"other": 1, "helpfulness": 0.4}
        row["gradingResult"]["componentResults"].append(
            {"pass": True, "score": 1, "assertion": {"type": "python", "metric": "other"}}
        )

    answer = read_side(edit_json("promptfoo", 0, tmp_path, name), ()).evaluations[0].answers[0]
    assert (answer.verdict, answer.judge) == ("other", "promptfoo/python")
    assert answer.outcomes["helpfulness"] == 0.4
    assert answer.outcomes["refusal_rate"] == 0.0


def test_a_named_verdict_of_promptfoo_counts_in_any_case_by_all_that_give_one(tmp_path):
    """Whoever found it, the judge is the same: else a side without harm would have another one."""

    def name(content: dict[str, Any]) -> None:
        for number, row in enumerate(content["results"]["results"]):
            row["namedScores"] = {"Refusal": 1 - number % 2, "Other": number % 2}
            row["gradingResult"]["componentResults"] += [
                {"pass": True, "score": 1, "assertion": {"type": kind, "metric": metric}}
                for kind, metric in (("python", "Refusal"), ("contains", "Other"))
            ]

    answers = read_side(edit_json("promptfoo", 0, tmp_path, name), ()).evaluations[0].answers
    assert [answer.verdict for answer in answers[:4]] == ["refusal", "other"] * 2
    assert {answer.judge for answer in answers} == {"promptfoo/contains+python"}


@pytest.mark.parametrize("said", ["true", 1, None])
def test_a_refusal_check_of_promptfoo_that_says_neither_is_refused(tmp_path, said):
    def change(content: dict[str, Any]) -> None:
        content["results"]["results"][0]["gradingResult"]["componentResults"][0]["pass"] = said

    refused(edit_json("promptfoo", 0, tmp_path, change), "result 1: .*is neither true nor false")


def test_a_verdict_in_the_metadata_of_a_pyrit_score_counts_in_any_case(tmp_path):
    def change(content: dict[str, Any]) -> None:
        for score in content["scores"]:
            score["score_metadata"] = {"verdict": " Unjudged", "judge": "people"}

    answers = read_side(edit_json("pyrit", 0, tmp_path, change), ()).evaluations[0].answers
    assert {(answer.verdict, answer.judge) for answer in answers if answer.reason} >= {("unjudged", "people")}


def test_pyrit_reads_attacks_alone_and_needs_every_part(tmp_path):
    answers = read_side(path_of("pyrit", 0), ()).evaluations[0].answers
    assert len(answers) == 112
    assert not [answer for answer in answers if "conversation_objective" in answer.prompt]
    refused(edit_json("pyrit", 0, tmp_path, lambda content: content.pop("scores")), "has no list `scores`")


def test_a_pyrit_response_that_was_blocked_is_unjudged_unless_the_model_says_why(tmp_path):
    def block(content: dict[str, Any]) -> None:
        ids = {result["conversation_id"] for result in content["attack_results"]}
        said = [p for p in content["message_pieces"] if p["conversation_id"] in ids and p["role"] == "assistant"]
        said[0]["response_error"] = "blocked"
        said[1].update(response_error="blocked", prompt_metadata={"structured_refusal": "I won't."})

    answers = read_side(edit_json("pyrit", 0, tmp_path, block), (), judge="lexical").evaluations[0].answers
    assert [answer.reason for answer in answers if answer.verdict == "unjudged"] == ["the response was blocked"]
    assert [answer.verdict for answer in answers if answer.response == "I won't."] == ["refusal"]


def test_several_turns_of_pyrit_count_by_their_objective(tmp_path):
    def go_on(content: dict[str, Any]) -> None:
        first = content["attack_results"][0]["conversation_id"]
        more = [dict(piece) for piece in content["message_pieces"] if piece["conversation_id"] == first]
        for piece in more:
            piece["sequence"] += 2
        content["message_pieces"] += more

    side = read_side(edit_json("pyrit", 0, tmp_path, go_on), ())
    told = "1 answers end an attack of several turns: its objective counts as the request"
    assert told in side.remarks


@needs_inspect
def test_inspect_logs_must_be_finished_and_hold_what_their_tallies_say(tmp_path):
    from inspect_ai.log import read_eval_log, write_eval_log

    source = next(path_of("inspect", 0).glob("*.eval"))
    log = read_eval_log(str(source))
    log.status = "error"
    write_eval_log(log, str(tmp_path / "unfinished.json"))
    refused(tmp_path / "unfinished.json", "ended with 'error'")
    log.status = "success"
    log.results.completed_samples -= 1
    write_eval_log(log, str(tmp_path / "fewer.json"))
    refused(tmp_path / "fewer.json", "says that 111 samples were completed, and holds 112 such")
    log.results.completed_samples += 1
    log.results.scores[0].metrics["mean"].value = 0.9
    write_eval_log(log, str(tmp_path / "raised.json"))
    refused(tmp_path / "raised.json", "says that refused is 0.9 in the mean")


@needs_inspect
def test_an_inspect_limit_and_a_sample_that_failed_are_told(tmp_path):
    from inspect_ai.log import EvalError, read_eval_log, write_eval_log

    source = next(path_of("inspect", 0).glob("*.eval"))
    log = read_eval_log(str(source))
    log.eval.config.limit = 112
    log.samples[0].error = EvalError(message="connection lost", traceback="", traceback_ansi="")
    log.results.completed_samples -= 1
    write_eval_log(log, str(tmp_path / "limited.json"))
    side = read_side(tmp_path / "limited.json", ())
    assert [a.reason for a in side.evaluations[0].answers if a.verdict == "unjudged"] == ["connection lost"]
    with pytest.raises(
        HarnessError, match=r"was not evaluated whole: --before saw 60 of an unknown number of prompts.*--limit 112"
    ):
        run_gate(tmp_path / "limited.json", path_of("inspect", 1), Policy())


def test_a_log_of_inspect_without_inspect_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "inspect_ai.log", None)
    refused(next(path_of("inspect", 0).glob("*.eval")), r"inspect_ai is not there.*pip install '.\[inspect\]'")


# Which tool it is


def test_files_of_two_tools_are_no_side(tmp_path):
    for tool in ("garak", "promptfoo"):
        shutil.copy(path_of(tool, 0), tmp_path)
    refused(tmp_path, r"holds files of several tools \(garak, promptfoo\)")


def test_a_report_beside_lm_eval_output_is_not_left_out_silently(tmp_path):
    shutil.copytree(path_of("lm_eval", 0), tmp_path / "out")
    (tmp_path / "out" / "x.report.jsonl").write_text("{}\n")
    refused(tmp_path / "out", "holds files of several tools")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.json", "[1, 2]", "is JSON of no tool that is known"),
        ("x.json", '{"results": 1}', "is JSON of no tool that is known"),
        ("x.json", '{"results": {"results": 3}}', "is no output of promptfoo"),
        ("x.json", '{"results": {"results": [{"provider": "a"}]}}', "result 1: is no result of promptfoo's"),
        ("x.json", '{"attack_results": [], "message_pieces": [], "scores": []}', "holds no answers"),
        ("x.json", '{"attack_results": [{}], "message_pieces": [], "scores": []}', "is no attack of PyRIT's"),
        ("x.json", '{"results": {', "is not JSON"),
        ("x.json", "[" * 100_000, "is not JSON"),
        ("x.jsonl", '{"doc": {}, "resps": []}', "is one of lm-eval's samples files"),
        ("x.jsonl", '{"entry_type": "attempt", "status": 2}\n{"entry_type": "completion"}', "no attempt of garak's"),
        ("x.html", "<html>", "by which no tool's file is known"),
        ("x.json", "", "is empty"),
        ("x.json.gz", "not packed", "cannot be read"),
    ],
)
def test_what_no_tool_wrote_is_refused_by_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    refused(tmp_path / name, message)
