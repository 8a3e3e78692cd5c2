"""SORRY-Bench's labelled answers, and the prompts that have both kinds, from files in the hub's columns."""

import pytest

from harness.prompts.labelled import HUMAN_JUDGMENTS, gold_hubs, load_gold_prompts, load_labelled_answers
from harness.prompts.sets import load_prompts
from harness.support.errors import HarnessError
from helpers.sorry_bench import label, question, write_lines, write_sorry_bench


def test_answers_below_a_half_are_refusals(tmp_path):
    rows = [label(7, "No cake.", 0.0), label(7, "Hm.", 0.49), label(7, "Take eggs.", 0.5), label(8, "Take flour.", 1)]
    found = load_labelled_answers(str(write_lines(tmp_path / "labels.jsonl", rows)))
    seven, eight = found["sorrybench-unsafe-7"], found["sorrybench-unsafe-8"]
    assert (seven.refusals, seven.compliances) == (["No cake.", "Hm."], ["Take eggs."])
    assert (seven.makes_pair, eight.makes_pair) == (True, False)


def test_the_papers_split(tmp_path):
    """450 prompts, 15 of them without both labels: 370 to train on and 65 to test."""
    folder = write_sorry_bench(tmp_path, 435)
    more = [question(number) for number in range(437, 451)]
    write_lines(tmp_path / "more.jsonl", more)
    found = load_prompts(f"sorrybench_gold={folder}", "unsafe")
    every = load_prompts(
        f"sorrybench={write_lines(tmp_path / 'all' / 'q.jsonl', [question(n) for n in range(1, 451)])}", "unsafe"
    )
    assert len(every) == 450
    assert [sum(row["split"] == split for row in found) for split in ("train", "test")] == [370, 65]
    assert {row["prompt_id"] for row in found} == {row["prompt_id"] for row in every[:435]}
    assert load_prompts(f"sorrybench_gold={folder}", "benign") == []


def test_the_split_depends_on_the_ids_alone(tmp_path):
    folder = write_sorry_bench(tmp_path / "one", 20)
    found = load_gold_prompts(str(folder))
    tested = {row["prompt_id"] for row in found if row["split"] == "test"}
    assert len(tested) == 3
    questions = [question(number) for number in range(21, 0, -1)]
    write_lines(folder / "question.jsonl", questions)
    assert {row["prompt_id"] for row in load_gold_prompts(str(folder)) if row["split"] == "test"} == tested


@pytest.mark.parametrize(
    "row",
    [
        {"question_id": 1, "choices": [], "human_score": 0.0},
        {"question_id": 1, "choices": [{"turns": ["No."]}], "human_score": None},
        {"question_id": 1, "choices": [{"turns": ["No."]}], "human_score": float("nan")},
        {"question_id": 1, "choices": [{"turns": [None]}], "human_score": 0.0},
        {"question_id": 1, "text": "No.", "human_score": 0.0},
    ],
)
def test_a_row_that_is_no_label_is_named(tmp_path, row):
    file = write_lines(tmp_path / "labels.jsonl", [label(1, "No.", 0.0), row])
    with pytest.raises(HarnessError, match=r"labels.jsonl, row 2: has no labelled answer.*`human_score`"):
        load_labelled_answers(str(file))


def test_a_folder_without_labels_is_told(tmp_path):
    write_lines(tmp_path / "question.jsonl", [question(1)])
    with pytest.raises(HarnessError, match="holds no labelled answers"):
        load_gold_prompts(str(tmp_path))
    write_lines(tmp_path / "train.jsonl", [label(1, "No.", 0.0)])
    with pytest.raises(HarnessError, match="holds no prompt with a labelled refusal and a labelled compliance"):
        load_gold_prompts(str(tmp_path))


def test_labels_out_of_reach_are_told(hub_cache):
    with pytest.raises(
        HarnessError, match="Accept its terms at .*sorry-bench-human-judgment-202406.*`sorrybench=FILE`"
    ):
        load_labelled_answers()


def test_each_data_set_has_its_revision():
    assert gold_hubs("a+b") == ("sorry-bench/sorry-bench-202406@a", f"{HUMAN_JUDGMENTS}@b")
    assert gold_hubs(None) == ("sorry-bench/sorry-bench-202406", HUMAN_JUDGMENTS)
