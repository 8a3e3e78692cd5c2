"""The gate's decision on a model's page: read back by huggingface_hub's own parsers, and nothing of others' touched."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, parse_eval_result_entries
from typer.testing import CliRunner

from harness.cli import app
from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.handoff.hub import HUB_RESULTS, make_hub_files
from harness.support.artifacts import write_together
from harness.support.errors import HarnessError
from helpers.samples_files import sides

CARD = """---
license: apache-2.0  # a comment
language: [en]
model-index:
- name: their-name
  results:
  - task: {type: text-generation, name: Other}
    dataset: {type: cais/hle, name: HLE, split: test}
    metrics:
    - {type: accuracy, value: 0.25, name: Accuracy}
---

# A model

What somebody wrote.\u00a0
"""


@pytest.fixture
def decided(tmp_path):
    """Of 100 unsafe prompts 90 are refused before and 80 after."""
    before, after = sides(tmp_path, 90, 80)
    return run_gate(before, after, Policy())


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    return tmp_path / "model"


def write_hub_results(*given):
    write_together(make_hub_files(*given))


def entries(folder):
    return parse_eval_result_entries(yaml.safe_load((folder / HUB_RESULTS).read_text()))


def test_results_are_read_back_by_the_hubs_client(decided, folder):
    write_hub_results(decided, Policy(), folder, "org/safety")
    found = entries(folder)
    assert [(entry.dataset_id, entry.task_id, entry.value) for entry in found] == [
        ("org/safety", "refusal_rate", 0.8),
        ("org/safety", "harmful_completion_rate", 0.2),
        ("org/safety", "benign_compliance_rate", 1.0),
    ]
    assert all(isinstance(entry, EvalResultEntry) for entry in found)
    assert {entry.date for entry in found} == {"1970-01-01T00:33:20Z"}  # 2000 seconds after 1970
    refusals = next(check for check in decided.checks if (check.metric, check.category) == ("refusal_rate", None))
    interval = f"{100 * refusals.loss:+.1f} ({100 * refusals.low:+.1f} to {100 * refusals.high:+.1f})"
    assert found[0].notes == (
        f"gate {'FAIL' if decided.decision == 'fail' else 'CANNOT TELL'}; this metric "
        f"{'FAIL' if refusals.decision == 'fail' else 'CANNOT TELL'}: 90.0% before, worse by {interval} points, "
        "margin 5.0; 100 prompts; judge lexical"
    )


def test_a_card_is_made_where_there_is_none_and_no_results_without_a_benchmark(decided, folder):
    write_hub_results(decided, Policy(), folder)
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    card = ModelCard.load(folder / "README.md")
    assert card.data.model_name == "model"
    assert card.text.startswith("\n# model\n")
    assert {result.metric_type: result.metric_value for result in card.data.eval_results} == {
        "refusal_rate": 0.8,
        "harmful_completion_rate": 0.2,
        "benign_compliance_rate": 1.0,
    }
    assert not any(result.verified or result.verify_token for result in card.data.eval_results)
    assert "| `refusal_rate` | 90.0% | 80.0% | +10.0 (" in card.text
    assert "judge `lexical`" in card.text
    assert "two-sided at 95%" in card.text


def test_what_others_wrote_stays_and_a_second_time_changes_nothing(decided, folder):
    card = folder / "README.md"
    card.write_text(CARD)
    write_hub_results(decided, Policy(), folder, "org/safety")
    first = card.read_bytes(), (folder / HUB_RESULTS).read_bytes()
    made = ModelCard(first[0].decode())
    assert (made.data.license, made.data.language, made.data.model_name) == ("apache-2.0", ["en"], "their-name")
    theirs = made.data.eval_results[0]
    assert (theirs.dataset_type, theirs.dataset_split, theirs.metric_value) == ("cais/hle", "test", 0.25)
    assert len(made.data.eval_results) == 4
    body = CARD.rpartition("---\n")[2].rstrip()
    assert made.text.startswith(body)
    write_hub_results(decided, Policy(), folder, "org/safety")
    assert (card.read_bytes(), (folder / HUB_RESULTS).read_bytes()) == first


def test_a_later_decision_takes_the_place_of_an_earlier_one(decided, folder):
    card = folder / "README.md"
    card.write_text(CARD)
    write_hub_results(decided, Policy(), folder)
    card.write_text(card.read_text() + "\n## After it\n")
    later = replace(decided, decision="pass", checks=tuple(replace(c, after=0.5) for c in decided.checks))
    write_hub_results(later, Policy(), folder)
    made = ModelCard.load(card)
    assert made.text.count("Safety gate:") == 1
    assert made.text.rstrip().endswith("## After it")
    assert "## Safety gate: PASS" in made.text
    assert [result.metric_value for result in made.data.eval_results] == [0.25, 0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    "start", ["# Only text\n", "", "\ufeff" + CARD, CARD.replace("\n", "\r\n"), "---\n---\n# Empty\n"]
)
def test_cards_of_many_forms_are_kept(decided, folder, start):
    card = folder / "README.md"
    card.write_bytes(start.encode())
    write_hub_results(decided, Policy(), folder)
    once = card.read_bytes()
    write_hub_results(decided, Policy(), folder)
    assert card.read_bytes() == once
    assert once.count(b"\r\n") == (once.count(b"\n") if "\r" in start else 0)
    assert "Only text" not in start or b"# Only text" in once
    assert len(ModelCard(once.decode("utf-8-sig")).data.eval_results) == (4 if "license" in start else 3)


@pytest.mark.parametrize(
    ("card", "said"),
    [
        ("---\n- a list\n---\n", "is no model card"),
        ("---\na: [\n---\n", "is no model card"),
        ("---\nmodel-index: [{name: a, results: [{task: {}}]}]\n---\n", "is no model card"),
        ("x\n<!-- refusal-displacement: begin -->\n", "holds our marks otherwise"),
        ("<!-- refusal-displacement: end --><!-- refusal-displacement: begin -->", "holds our marks otherwise"),
    ],
)
def test_a_broken_card_is_left_as_it_is(decided, folder, card, said):
    (folder / "README.md").write_text(card)
    with pytest.raises(HarnessError, match=said):
        write_hub_results(decided, Policy(), folder, "org/safety")
    assert (folder / "README.md").read_text() == card
    assert not (folder / HUB_RESULTS).exists()


def test_both_files_or_neither(decided, folder, monkeypatch):
    (folder / "README.md").write_text(CARD)
    (folder / ".eval_results").write_text("a file where the folder would be")
    with pytest.raises(HarnessError, match="cannot be written"):
        write_hub_results(decided, Policy(), folder, "org/safety")
    assert (folder / "README.md").read_text() == CARD
    assert sorted(path.name for path in folder.iterdir()) == [".eval_results", "README.md"]


@pytest.mark.parametrize("dataset", ["a/b/c", "no spaces", "../up", ""])
def test_a_benchmark_is_named_as_the_hub_names_data_sets(decided, folder, dataset):
    if not dataset:
        with pytest.raises(HarnessError, match="is no directory"):
            write_hub_results(decided, Policy(), folder / "missing", "org/safety")
        return
    with pytest.raises(HarnessError, match="is no id of a data set"):
        write_hub_results(decided, Policy(), folder, dataset)
    assert not [*folder.iterdir()]


def test_names_are_shown_and_do_nothing_and_paths_and_texts_are_left_out(decided, folder, tmp_path):
    evil = "`<script>@all|x](http://evil)`"
    after = replace(decided.sides[1], models=("/home/ann/secret/models/mine",), judges=(evil,))
    told = replace(decided, sides=(decided.sides[0], after), reason=evil, notes=(f"{evil}\n# Heading",))
    write_hub_results(told, Policy(), folder, "org/safety")
    text = (folder / "README.md").read_text()
    assert "/home/ann" not in text
    assert "`mine`" in text
    assert "\n# Heading" not in text
    for line in text.splitlines():
        assert "<script>" not in line or f"`` {evil}" in line
    assert not [flip for flip in decided.flips if flip.prompt in text or flip.after in text]
    assert decided.flips
    assert str(tmp_path) not in text


def test_a_card_that_is_not_utf8_is_left_as_it_is(decided, folder):
    held = "# Modell für alle\n".encode("latin-1")
    (folder / "README.md").write_bytes(held)
    with pytest.raises(HarnessError, match="is not UTF-8"):
        write_hub_results(decided, Policy(), folder)
    assert (folder / "README.md").read_bytes() == held


def test_a_name_that_is_one_of_our_marks_does_not_stop_the_next_gate(decided, folder):
    mark = "<!-- refusal-displacement: end -->"
    told = replace(decided, reason=f"fell in {mark}", notes=(mark,))
    write_hub_results(told, Policy(), folder)
    first = (folder / "README.md").read_text()
    write_hub_results(told, Policy(), folder)
    assert (folder / "README.md").read_text() == first
    assert (first.count(mark), first.count("`<! -- refusal-displacement: end -->`")) == (1, 1)


def test_a_rate_that_was_not_measured_is_left_out(decided, folder):
    part = tuple(replace(c, after=float("nan")) if c.metric != "refusal_rate" else c for c in decided.checks)
    write_hub_results(replace(decided, checks=part), Policy(), folder, "org/safety")
    assert [entry.task_id for entry in entries(folder)] == ["refusal_rate"]
    unknown = replace(decided.sides[1], evaluated=("at an unknown time", "at an unknown time"))
    write_hub_results(replace(decided, sides=(decided.sides[0], unknown)), Policy(), folder, "org/safety")
    assert {entry.date for entry in entries(folder)} == {None}
    none = tuple(replace(c, after=float("nan")) for c in decided.checks)
    with pytest.raises(HarnessError, match="no rate was measured"):
        write_hub_results(replace(decided, checks=none), Policy(), folder)


def test_the_command_writes_the_models_folder_and_a_broken_card_stops_all_files(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, after = sides(tmp_path, 90, 90)
    asked = ["gate", "--before", str(before), "--after", str(after), "--hub", str(folder), "--junit", "gate.xml"]
    done = CliRunner().invoke(app, [*asked, "--hub-dataset", "org/safety"])
    assert done.exit_code in (0, 3)
    assert [entry.value for entry in entries(folder)] == [0.9, 0.1, 1.0]
    assert "Safety gate: " in (folder / "README.md").read_text()
    Path("gate.xml").unlink()
    (folder / "README.md").write_text("---\n- a list\n---\n")
    done = CliRunner().invoke(app, asked)
    assert isinstance(done.exception, HarnessError)
    assert not Path("gate.xml").exists()


def test_a_benchmark_without_a_folder_is_refused(tmp_path):
    before, after = sides(tmp_path, 90, 90)
    done = CliRunner().invoke(app, ["gate", "--before", str(before), "--after", str(after), "--hub-dataset", "a/b"])
    assert str(done.exception) == "--hub-dataset a/b: is for --hub. Add --hub DIR, the model's folder."
