"""Reading lm-eval's output: what is read, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import mean_outcome
from harness.gate.labels import read_labels
from harness.support.errors import HarnessError
from helpers.samples_files import BENIGN, METRICS, UNSAFE, edit, line, manifest, sha, side, write_evaluation


def read(folder: Path):
    return read_evaluations(folder)


def answers(folder: Path) -> list:
    return [answer for evaluation in read(folder) for answer in evaluation.answers]


@pytest.mark.parametrize("version", ["0.4.9", "0.4.10", "0.4.11", "0.4.12", "0.4.13"])
def test_reads_what_each_release_of_lm_eval_wrote(version):
    recorded = Path(__file__).parents[1] / "data" / f"lm_eval_{version}"
    [before], [after] = read(recorded / "before"), read(recorded / "after")
    assert before.model == "models/before"
    assert before.settings.keys() == METRICS.keys()
    unsafe = [[a for a in side.answers if a.task == UNSAFE] for side in (before, after)]
    assert [mean_outcome(side, "refusal_rate") for side in unsafe] == [0.75, 0.5]
    assert [a.document for a in unsafe[0]] == [a.document for a in unsafe[1]]
    assert {a.judge for a in unsafe[0]} == {"lexical"}
    assert mean_outcome([a for a in before.answers if a.task == BENIGN], "benign_compliance_rate") == 0.375
    assert any("\u2028" in a.response for a in unsafe[0])


def test_a_verdict_may_be_an_object_json_or_what_str_makes_of_an_object(tmp_path):
    rows = [line(UNSAFE, i, ["refusal"]) for i in range(3)]
    verdict = {"verdict": "refusal", "reason": 'it\'s "so"', "judge": "lexical"}
    for row, given in zip(rows, ([verdict], [[json.dumps(verdict)]], [[str(verdict)]]), strict=True):
        row["filtered_resps"] = given
    write_evaluation(tmp_path, {UNSAFE: rows})
    assert [a.verdict for a in answers(tmp_path)] == ["refusal"] * 3


def test_unjudged_is_no_outcome(tmp_path):
    write_evaluation(tmp_path, {UNSAFE: [line(UNSAFE, 0, ["unjudged"]), line(UNSAFE, 1, ["refusal"])]})
    first, second = answers(tmp_path)
    assert math.isnan(first.outcomes["refusal_rate"])
    assert first.outcomes["unjudged_rate"] == 1
    assert mean_outcome([first, second], "refusal_rate") == 1


def test_repeats_are_answers_of_one_prompt(tmp_path):
    write_evaluation(tmp_path, {UNSAFE: [line(UNSAFE, 0, ["refusal", "harmful", "unjudged", "refusal"])]})
    found = answers(tmp_path)
    assert [a.verdict for a in found] == ["refusal", "harmful", "unjudged", "refusal"]
    assert len({a.document for a in found}) == 1
    assert mean_outcome(found, "refusal_rate") == pytest.approx(2 / 3)


def test_the_judge_named_in_a_document_does_not_change_the_prompt(tmp_path):
    for name in ("one", "two"):
        row = line(UNSAFE, 0, ["refusal"])
        row["doc"]["judge"] = name
        row["doc_hash"] = sha(json.dumps(row["doc"], indent=2))
        write_evaluation(tmp_path / name, {UNSAFE: [row]})
    assert answers(tmp_path / "one")[0].document == answers(tmp_path / "two")[0].document


def test_any_task_with_a_metric_is_read(tmp_path):
    rows = [line(UNSAFE, i, ["refusal"]) | {"acc": float(i % 2), "filtered_resps": ["yes"]} for i in range(4)]
    write_evaluation(tmp_path, {"mine": rows})
    assert [a.outcomes["acc"] for a in answers(tmp_path)] == [0, 1, 0, 1]


def test_seeds_of_an_arm_are_read_together(tmp_path):
    for seed in range(3):
        side(tmp_path / f"seed-{seed}" / "eval", 5, 10, model=f"arms/raw/seed-{seed}/model")
    assert len(read(tmp_path)) == 3


def test_temporary_folders_of_a_killed_run_are_passed_over(tmp_path):
    side(tmp_path, 5, 10)
    side(tmp_path / ".eval.x1y2", 5, 10)
    assert len(read(tmp_path)) == 1


def swap(pattern: str, old: str, new: str):
    def damage(folder: Path) -> None:
        assert old in next(folder.rglob(pattern)).read_text()
        edit(folder, pattern, lambda text: text.replace(old, new, 1))

    return damage


RATE, SAMPLES = "rate,judge", "*unsafe*"
REFUSED = {
    "nothing there": (lambda d: [p.unlink() for p in d.rglob("*.json*")], "holds no samples"),
    "no results": (lambda d: next(d.rglob("results_*")).unlink(), "did not finish"),
    "empty samples": (lambda d: next(d.rglob("samples_*")).write_text(""), "is empty"),
    "half a line": (lambda d: edit(d, "samples_*", lambda t: t[:-20]), "cut off"),
    "half a file": (lambda d: edit(d, "samples_*", lambda t: t[: t.index("\n") + 1]), "does not hold the samples"),
    "half a results file": (lambda d: edit(d, "results_*", lambda t: t[:100]), "is not JSON"),
    "a list as results": (lambda d: edit(d, "results_*", lambda t: "[]"), "no lm-eval results file"),
    "a rate edited in the results": (swap("results_*", f'{RATE}": 0.5', f'{RATE}": 0.9'), "its samples make it"),
    "a NaN rate": (swap("results_*", f'{RATE}": 0.5', f'{RATE}": NaN'), "its samples make it"),
    "a metric edited in a sample": (swap(SAMPLES, '_rate": 0.0', '_rate": 1.0'), "its verdicts make it"),
    "a verdict edited": (swap(SAMPLES, '\\"harmful\\"', '\\"refusal\\"'), "its verdicts make it"),
    "an unknown verdict": (swap(SAMPLES, '\\"harmful\\"', '\\"fine\\"'), "'fine' is no verdict"),
    "a document edited": (swap(SAMPLES, "Request 3?", "Request x?"), "have its hash"),
    "a number for a line": (lambda d: edit(d, SAMPLES, lambda t: "7\n" + t), "not a JSON object"),
    "lines that are not UTF-8": (lambda d: next(d.rglob(SAMPLES)).write_bytes(b"\xff\xfe\n"), "not JSON"),
    "deep nesting": (lambda d: next(d.rglob(SAMPLES)).write_text("[" * 100_000), "not JSON"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_damaged_directory_is_refused(tmp_path, name):
    damage, message = REFUSED[name]
    side(tmp_path, 5, 10)
    damage(tmp_path)
    with pytest.raises(HarnessError, match=message):
        read(tmp_path)


def test_a_whole_run_is_not_one_side(tmp_path):
    (tmp_path / "arms").mkdir()
    with pytest.raises(HarnessError, match="whole run"):
        read(tmp_path)


def test_a_seed_that_did_not_finish_is_refused(tmp_path):
    side(tmp_path / "seed-0" / "eval", 5, 10)
    (tmp_path / "seed-1" / "model").mkdir(parents=True)
    with pytest.raises(HarnessError, match=r"seed-1.*did not finish"):
        read(tmp_path)


def test_two_models_are_not_one_side(tmp_path):
    side(tmp_path / "a", 5, 10, model="a")
    side(tmp_path / "b", 5, 10, model="b")
    with pytest.raises(HarnessError, match="several models"):
        read(tmp_path)


def test_the_same_run_twice_is_refused(tmp_path):
    side(tmp_path, 5, 10)
    side(tmp_path, 5, 10, stamp="2026-01-02T03-04-06")
    with pytest.raises(HarnessError, match="same model and seeds"):
        read(tmp_path)


def test_a_file_edited_after_the_run_is_refused(tmp_path):
    arm = side(tmp_path / "arms" / "raw", 5, 10)
    manifest(tmp_path)
    assert read(arm)
    edit(arm, "*unsafe*", lambda text: text.replace("refusal answer", "refusal  answer", 1))
    with pytest.raises(HarnessError, match="edited after the run"):
        read(arm)


def test_a_file_that_the_manifest_misses_or_has_lost_is_refused(tmp_path):
    arm, late = side(tmp_path / "arms" / "raw", 5, 10), tmp_path / "arms" / "late"
    manifest(tmp_path)
    with pytest.raises(HarnessError, match="the arm did not finish"):
        read(side(late, 5, 10))
    for path in arm.rglob(f"*{BENIGN}*"):
        path.unlink()
    with pytest.raises(HarnessError, match="but gone"):
        read(arm)


def test_labels_are_read_from_csv_and_json_lines(tmp_path):
    (tmp_path / "a.csv").write_text('prompt_id,response,verdict\nu-1,"No, never",refusal\n')
    (tmp_path / "a.jsonl").write_text('{"prompt": "How?", "response": "So.", "label": "harmful"}\n')
    assert read_labels(tmp_path / "a.csv").verdicts == {("u-1", "No, never"): "refusal"}
    assert read_labels(tmp_path / "a.jsonl").verdicts == {("How?", "So."): "harmful"}


@pytest.mark.parametrize(
    "text", ["prompt,response\na,b\n", "prompt,response,verdict\na,b,unjudged\n", "verdict\nrefusal\n", ""]
)
def test_labels_that_say_nothing_are_refused(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(HarnessError):
        read_labels(tmp_path / "a.csv")


def test_reading_imports_no_model_code():
    import subprocess
    import sys

    heavy = ("torch", "lm_eval", "transformers", "pandas", "scipy.stats")
    code = f"import sys, harness.gate.decision, harness.gate.power; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
