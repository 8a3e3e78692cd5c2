"""Reading lm-eval's output: what is read, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from harness.evaluation.lines import KnownDocuments, numbered_rows
from harness.evaluation.manifest import read_recorded_json
from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import mean_outcome
from harness.gate.labels import read_labels
from harness.support.errors import HarnessError
from helpers.samples_files import (
    BENIGN,
    FLAG_METRICS,
    METRICS,
    UNSAFE,
    edit,
    line,
    manifest,
    sha,
    side,
    write_evaluation,
    write_metrics,
)


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


def test_flags_are_read_and_counted(tmp_path):
    """An off-topic harmful answer counts in both rates; what is unjudged in neither, unfinished or not."""
    said = [("harmful", ["off_topic"]), ("other", ["unfinished"]), ("refusal", ["partial"]), ("unjudged", [])]
    rows = [line(UNSAFE, i, [verdict], flags=[flags]) for i, (verdict, flags) in enumerate(said)]
    details = {"cut": ["reasoning", "fence"], "judged": ""}
    rows[0]["filtered_resps"] = [[json.dumps(json.loads(rows[0]["filtered_resps"][0][0]) | details)]]
    write_evaluation(tmp_path, {UNSAFE: rows})
    found = answers(tmp_path)
    assert [set(answer.flags) for answer in found] == [{"off_topic"}, {"unfinished"}, {"partial"}, set()]
    assert (found[0].judged, found[0].cut) == ("", ("reasoning", "fence"))
    assert (found[1].judged, found[1].cut) == (None, ())
    rates = {metric: mean_outcome(found, metric) for metric in METRICS[UNSAFE] + FLAG_METRICS}
    assert rates == pytest.approx({
        "refusal_rate": 1 / 3, "harmful_completion_rate": 1 / 3, "unjudged_rate": 1 / 4,
        "unfinished_rate": 1 / 4, "partial_rate": 1 / 3, "off_topic_rate": 1 / 3, "fallback_rate": 0,
    })  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("flags", [], "off_topic_rate is 1.0, but its verdicts make it 0.0"),
        ("flags", ["off_topic", "partial"], "partial_rate is 0.0, but its verdicts make it 1.0"),
        ("flags", ["off_topic", "fallback"], "fallback_rate is 0.0, but its verdicts make it 1.0"),
        ("flags", ["off_topic", "unfinished"], "unfinished_rate is 0.0, but its verdicts make it 1.0"),
        ("flags", ["fine"], "'fine' is no flag"),
        ("flags", "partial", "is no flag"),
        ("flags", 7, "not iterable"),
        ("judged", 7, "7 is no text"),
        ("cut", [7], "7 is no text"),
    ],
)
def test_an_edited_flag_is_refused(tmp_path, key, value, told):
    row = line(UNSAFE, 0, ["harmful"], flags=[["off_topic"]])
    row["filtered_resps"] = [[json.dumps(json.loads(row["filtered_resps"][0][0]) | {key: value})]]
    write_evaluation(tmp_path, {UNSAFE: [row]})
    with pytest.raises(HarnessError, match=told):
        read(tmp_path)


@pytest.mark.parametrize("metric", FLAG_METRICS)
def test_an_edited_rate_of_flags_is_refused(tmp_path, metric):
    rows = [line(UNSAFE, i, ["harmful"], flags=[["off_topic"]]) for i in range(4)]
    write_evaluation(tmp_path, {UNSAFE: rows})
    assert read(tmp_path)
    value = {"off_topic_rate": 1.0}.get(metric, 0.0)
    swap("results_*", f'"{metric},judge": {value}', f'"{metric},judge": 0.5')(tmp_path)
    with pytest.raises(HarnessError, match=f"says {metric} of .* its samples make it {value}"):
        read(tmp_path)


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
    side(tmp_path / "eval", 5, 10)
    side(tmp_path / ".eval.x1y2_z3w", 5, 10)
    assert len(read(tmp_path)) == 1


def swap(pattern: str, old: str, new: str):
    def damage(folder: Path) -> None:
        assert old in next(folder.rglob(pattern)).read_text()
        edit(folder, pattern, lambda text: text.replace(old, new, 1))

    return damage


SUMS = {"strict": [0, 1, 0], "flexible": [1, 1, 0]}


def test_several_filters_are_one_answer_by_all_names(tmp_path):
    """The file's first filter is what the metric's name alone means; each has its own."""
    write_metrics(tmp_path, {"sums": SUMS}, group_subtasks={"maths": ["sums"], "all": ["maths"]})
    (evaluation,) = read(tmp_path)
    assert [answer.prompt_id for answer in evaluation.answers] == [f"unsafe-{n:04d}" for n in range(3)]
    first = evaluation.answers[0].outcomes
    scopes = ("", "sums/", "maths/", "all/")
    assert first == {f"{scope}{name}": value for scope in scopes
                     for name, value in (("acc", 0), ("acc,strict", 0), ("acc,flexible", 1))}  # fmt: skip
    assert evaluation.metrics == {"sums": ("acc,strict", "acc,flexible")}
    assert evaluation.scopes["sums"] == ["sums", "maths", "all"]
    assert evaluation.directions == dict.fromkeys(first, True)
    assert evaluation.counts["sums"].is_whole


@pytest.mark.parametrize(
    ("old", "new"), [('"acc,flexible": 0.6', '"acc,flexible": 0.3'), ('"acc,strict": 0.3', '"acc,strict": 0.6')]
)
def test_an_edited_rate_of_any_filter_is_refused(tmp_path, old, new):
    write_metrics(tmp_path, {"sums": SUMS})
    swap("results_*", old, new)(tmp_path)
    with pytest.raises(HarnessError, match="says acc of sums is"):
        read(tmp_path)


def test_a_filter_that_lacks_a_document_is_refused(tmp_path):
    write_metrics(tmp_path, {"sums": SUMS | {"flexible": [1, 1]}})
    with pytest.raises(HarnessError, match="does not hold the samples"):
        read(tmp_path)


def test_verdicts_through_several_filters_are_refused(tmp_path):
    rows = [line(UNSAFE, 0, ["refusal"]), line(UNSAFE, 0, ["refusal"]) | {"filter": "other"}]
    write_evaluation(tmp_path, {UNSAFE: rows})
    with pytest.raises(HarnessError, match="judged through several filters"):
        read(tmp_path)


def choices(doc: int, second: str, likelihoods: list[float]) -> dict:
    """A line of a multiple choice task: the same question for all, other choices."""
    row = line(UNSAFE, doc, ["refusal"]) | {"acc": 1.0, "filter": "none"}
    asked = {f"gen_args_{n}": {"arg_0": "Capital?", "arg_1": text} for n, text in enumerate((" Rome", second))}
    row |= {"arguments": asked, "prompt_hash": sha("Capital?"), "resps": [[[str(x), "False"]] for x in likelihoods]}
    return row | {"filtered_resps": [each[0] for each in row["resps"]]}


def test_multiple_choice_is_read_by_what_was_asked(tmp_path):
    """One question with other choices is another prompt; the answer is what the model thought likeliest."""
    rows = [choices(0, " Oslo", [-2.5, -1.25]), choices(1, " Lima", [-2.5, -3.0]), choices(2, " Oslo", [-2.0, -9.0])]
    path = write_evaluation(
        tmp_path, {"capitals": [*rows, line(UNSAFE, 9, ["refusal"]) | choices(9, " Bern", [-1, -2])]}
    )
    content = json.loads(path.read_text())
    content["configs"]["capitals"]["output_type"] = "multiple_choice"
    path.write_text(json.dumps(content))
    file = next(tmp_path.glob("samples_*"))
    lines = [json.loads(text) for text in file.read_text().splitlines()]
    lines[-1]["resps"] = [[["-1", "False"]], [["-2", "False"]]]  # the helper signs the last answer
    file.write_text("".join(json.dumps(row) + "\n" for row in lines))
    found = answers(tmp_path)
    assert [answer.response for answer in found] == [
        "Oslo (-1.25)\nRome (-2.5)", "Rome (-2.5)\nLima (-3)", "Rome (-2)\nOslo (-9)", "Rome (-1)\nBern (-2)"
    ]  # fmt: skip
    assert [answer.rendered == found[0].rendered for answer in found] == [True, False, True, False]


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


# Nothing is passed over in silence


def results_of(folder: Path) -> Path:
    return next(folder.rglob("results_*"))


def edit_results(folder: Path, change) -> None:
    content = json.loads(results_of(folder).read_text())
    change(content)
    results_of(folder).write_text(json.dumps(content))


def test_a_task_whose_samples_are_gone_is_refused(tmp_path):
    side(tmp_path, 5, 10)
    next(tmp_path.rglob(f"samples_{BENIGN}*")).unlink()
    with pytest.raises(HarnessError, match=f"names the task {BENIGN}, whose samples are not beside it"):
        read(tmp_path)


@pytest.mark.parametrize("part", ["results", "configs", "n-samples", "task_hashes"])
def test_a_task_is_named_by_every_part_of_the_results(tmp_path, part):
    """`results` names it by its metrics; groups, which have no samples, are named there too."""
    side(tmp_path, 5, 10)
    told = {
        "results": {"acc,none": 0.5},
        "configs": {"metric_list": []},
        "n-samples": {"original": 1, "effective": 1},
        "task_hashes": "c0ffee",
    }
    edit_results(tmp_path, lambda content: content[part].update(other=told[part]))
    with pytest.raises(HarnessError, match="names the task other"):
        read(tmp_path)


def test_a_group_has_no_samples(tmp_path):
    side(tmp_path, 5, 10)
    edit_results(
        tmp_path,
        lambda content: content.update(
            group_subtasks={"refusal_displacement": [UNSAFE, BENIGN], UNSAFE: []},
            results=content["results"] | {"refusal_displacement": {"acc,none": 0.5}},
        ),
    )
    assert len(read(tmp_path)) == 1


def compress(folder: Path, *, keep: bool = False) -> Path:
    path = next(folder.rglob("samples_*unsafe*"))
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    if not keep:
        path.unlink()
    return packed


def test_compressed_samples_are_read(tmp_path):
    side(tmp_path / "plain", 5, 10)
    compress(side(tmp_path / "packed", 5, 10))
    assert answers(tmp_path / "packed") == answers(tmp_path / "plain")


def test_damaged_compressed_samples_are_refused(tmp_path):
    packed = compress(side(tmp_path, 5, 10))
    whole = packed.read_bytes()
    for data in (whole[:-20], b"x" + whole, whole[:30] + b"\0" + whole[31:]):
        packed.write_bytes(data)
        with pytest.raises(HarnessError, match="cut off or damaged"):
            read(tmp_path)


def test_samples_that_are_there_twice_are_refused(tmp_path):
    compress(side(tmp_path, 5, 10), keep=True)
    with pytest.raises(HarnessError, match="holds the same samples as"):
        read(tmp_path)


def test_links_are_followed(tmp_path):
    for seed in range(2):
        place = side(tmp_path / f"elsewhere-{seed}", 5, 10, model=f"m{seed}", seed=seed)
        (tmp_path / "arm").mkdir(exist_ok=True)
        (tmp_path / "arm" / f"seed-{seed}").symlink_to(place)
    (tmp_path / "arm" / "again").symlink_to(tmp_path / "arm")
    assert [each.model for each in read(tmp_path / "arm")] == ["m0", "m1"]


def test_a_link_that_leads_nowhere_is_refused(tmp_path):
    side(tmp_path, 5, 10)
    (tmp_path / "seed-1").symlink_to(tmp_path / "gone")
    with pytest.raises(HarnessError, match="leads nowhere"):
        read(tmp_path)


@pytest.mark.parametrize("name", [".hidden", ".eval.x1y2_z3w", "models/.cache/x"])
def test_an_evaluation_in_a_hidden_folder_is_refused(tmp_path, name):
    """What a killed run left is passed over where the whole folder is there: here is none called `eval`."""
    side(tmp_path / "seed-0", 5, 10, model="m0")
    side(tmp_path / name / "seed-1", 1, 10, model="m1", seed=1)
    with pytest.raises(HarnessError, match="lies in a hidden folder"):
        read(tmp_path)


def test_what_is_no_file_is_refused(tmp_path):
    path = next(side(tmp_path, 5, 10).rglob("samples_*unsafe*"))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(HarnessError, match="is no file"):
        read(tmp_path)


def test_a_copied_seed_is_refused(tmp_path):
    shutil.copytree(side(tmp_path / "seed-0", 5, 10), tmp_path / "seed-1")
    with pytest.raises(HarnessError, match="is a copy of"):
        read(tmp_path)


@pytest.mark.parametrize(
    "change", [{"model_sha": "b" * 40}, {"model_revision": "v2"}, {"model_args": {"pretrained": "a", "revision": "v2"}}]
)
def test_revisions_of_a_model_are_several_models(tmp_path, change):
    for seed in range(3):
        config = {"model": "hf", "model_args": {"pretrained": "a"}, "model_sha": "a" * 40, "random_seed": seed}
        given = config | (({"model_sha": ""} | change) if seed == 2 else {})
        side(tmp_path / str(seed), 5, 10, model="a", config=given)
    with pytest.raises(HarnessError, match=r"holds several models \(.*a at aaaaaaaaaaaa"):
        read(tmp_path)


# Tasks of one's own


def own_task(folder: Path, **changes) -> Path:
    rows = [line(UNSAFE, i, ["refusal"]) | {"acc": float(i % 2), "filtered_resps": ["yes"]} for i in range(4)]
    write_evaluation(folder, {"mine": rows}, **changes)
    return folder


OWN_REFUSED = {
    "a rate edited in the results": (swap("results_*", '"acc,judge": 0.5', '"acc,judge": 0.75'), "its samples make it"),
    "a rate without a number": (swap("results_*", '"acc,judge": 0.5', '"acc,judge": null'), "its samples make it"),
    "no rate": (swap("results_*", '"acc,judge": 0.5', '"x": 0.5'), "its samples make it"),
    "a metric edited in a sample": (swap("samples_*", '"acc": 0.0', '"acc": 1.0'), "its samples make it"),
    "a document edited": (swap("samples_*", "Request 3?", "Request x?"), "does not have its hash"),
    "an endless number": (swap("samples_*", '"acc": 0.0', f'"acc": {"9" * 400}'), "no line of lm-eval samples"),
}


@pytest.mark.parametrize("name", OWN_REFUSED)
def test_an_edited_task_of_ones_own_is_refused(tmp_path, name):
    damage, message = OWN_REFUSED[name]
    assert len(answers(own_task(tmp_path))) == 4
    damage(tmp_path)
    with pytest.raises(HarnessError, match=message):
        read(tmp_path)


def test_a_rate_that_is_no_mean_is_not_recomputed(tmp_path):
    swap("results_*", '"aggregation": "mean"', '"aggregation": "f1"')(own_task(tmp_path))
    swap("results_*", '"acc,judge": 0.5', '"acc,judge": 0.75')(tmp_path)
    assert len(answers(tmp_path)) == 4


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["configs"][UNSAFE].update(metric_list=7),
        lambda content: content["config"].update(model_args=[1, 2]),
        lambda content: content["config"].update(model_args=7),
        lambda content: content.update({"n-samples": {UNSAFE: {"original": "many"}}}),
        lambda content: content.update({"n-samples": 7}),
        lambda content: content.update(group_subtasks=[]),
    ],
)
def test_results_of_another_shape_are_refused(tmp_path, change):
    side(tmp_path, 5, 10)
    edit_results(tmp_path, change)
    with pytest.raises(HarnessError, match="no lm-eval results file"):
        read(tmp_path)


@hypothesis.settings(max_examples=50)
@hypothesis.given(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
    )
)
def test_documents_are_hashed_as_lm_eval_does(doc):
    text = json.dumps(doc, indent=2, ensure_ascii=False)
    digest = hashlib.sha256(text.encode(errors="replace")).hexdigest()
    read_back = next(
        iter(numbered_rows(json.dumps(doc, ensure_ascii=False).encode(errors="backslashreplace"), Path("x")))
    )[1]
    assert KnownDocuments().find_document(read_back, digest)[1] == digest


# Manifests


def test_a_stray_manifest_does_not_switch_the_runs_off(tmp_path):
    arm = side(tmp_path / "arms" / "raw" / "seed-0", 5, 10)
    manifest(tmp_path)
    edit(arm, "*unsafe*", lambda text: text.replace("refusal answer", "refusal  answer", 1))
    for place in (arm, arm.parent, arm.parent.parent):
        (place / "manifest.json").write_text('{"files": {}}')
        with pytest.raises(HarnessError, match="does not belong there"):
            read(arm)
        (place / "manifest.json").unlink()


@pytest.mark.parametrize("text", ["[]", "{}", '{"files": 7}', '{"files": {}}', "{"])
def test_a_manifest_that_says_nothing_switches_nothing_off(tmp_path, text):
    arm = side(tmp_path / "arms" / "raw" / "seed-0", 5, 10)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(HarnessError, match="manifest"):
        read(arm)


def test_another_tools_manifest_above_is_none_of_ours(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "my app"}')
    assert len(read(side(tmp_path / "out", 5, 10))) == 1


def test_a_runs_file_is_read_as_the_run_left_it(tmp_path):
    (tmp_path / "results.json").write_text('{"arms": {}}')
    manifest(tmp_path)
    assert read_recorded_json(tmp_path / "results.json") == {"arms": {}}
    (tmp_path / "results.json").write_text('{"arms": {"raw": {}}}')
    with pytest.raises(HarnessError, match="edited after the run"):
        read_recorded_json(tmp_path / "results.json")


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
