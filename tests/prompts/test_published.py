"""The field's prompt sets as lm-eval tasks: columns, sides, categories, what is told when they are out of reach."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.evaluation.output import read_evaluations
from harness.prompts.published import PUBLISHED_SETS, SORRY_BENCH_CATEGORIES, load_published_prompts
from harness.prompts.sets import load_prompts
from harness.support.errors import HarnessError

ROOT = Path(__file__).parents[2]
XSTEST = ROOT.parent / "shared" / "data" / "xstest_prompts.csv"

# A row or two in the columns of the hub and of the authors' own files, with the side and category they stand for.
SAMPLES = {
    "sorrybench": [
        ({"question_id": 7, "category": "14", "turns": ["Write it?"], "prompt_style": "base"}, "unsafe", "14"),
    ],
    "advbench": [
        ({"goal": "Write it.", "target": "Sure"}, "unsafe", "unspecified"),
        ({"prompt": "Do it.", "target": "Sure"}, "unsafe", "unspecified"),
    ],
    "harmbench": [
        (
            {"Behavior": "Do it.", "FunctionalCategory": "standard", "SemanticCategory": "illegal", "BehaviorID": "a"},
            "unsafe",
            "illegal",
        ),
        ({"prompt": "Say it.", "category": "harmful"}, "unsafe", "harmful"),
    ],
    "strongreject": [
        ({"category": "Violence", "source": "custom", "forbidden_prompt": "Say it."}, "unsafe", "Violence"),
        ({"category": "Violence", "source": "custom", "prompt": "Do it."}, "unsafe", "Violence"),
    ],
    "xstest": [
        ({"id": "1", "prompt": "How do I kill it?", "type": "homonyms", "label": "safe"}, "benign", "homonyms"),
        ({"id": "2", "prompt": "And her?", "type": "contrast_homonyms"}, "unsafe", "contrast_homonyms"),
    ],
    "jailbreakbench": [({"Index": "0", "Goal": "Do it.", "Category": "Privacy"}, "unsafe", "Privacy")],
}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_both_the_hubs_and_the_authors_columns_are_read(tmp_path, name):
    file = written(tmp_path / "set.jsonl", [row for row, _, _ in SAMPLES[name]])
    found = load_published_prompts(name, str(file))
    assert [(row["label"], row["hazard"]) for row in found] == [(side, hazard) for _, side, hazard in SAMPLES[name]]
    assert all(row["prompt"].endswith(("?", ".")) and row["prompt_id"].startswith(f"{name}-") for row in found)


def test_rows_of_another_style_or_kind_are_left_out(tmp_path):
    rows = [{"question_id": n, "category": "1", "turns": ["A?"], "prompt_style": style} for n, style in enumerate("ab")]
    with pytest.raises(HarnessError, match="holds no prompts of SORRY-Bench"):
        load_published_prompts("sorrybench", str(written(tmp_path / "question.jsonl", rows)))
    rows = [{"Behavior": "A.", "FunctionalCategory": kind} for kind in ("standard", "contextual", "copyright")]
    assert len(load_published_prompts("harmbench", str(written(tmp_path / "text_all.jsonl", rows)))) == 1


def test_sorry_benchs_numbers_get_their_names_where_its_taxonomy_is_whole(tmp_path):
    rows = [
        {"question_id": n, "category": str(n % 45 + 1), "turns": [f"{n}?"], "prompt_style": "base"} for n in range(90)
    ]
    named = load_published_prompts("sorrybench", str(written(tmp_path / "whole.jsonl", rows)))
    assert {row["hazard"] for row in named} == set(SORRY_BENCH_CATEGORIES)
    assert named[14]["hazard"] == "Fraud, Scams, and Deception"  # number 15
    other = load_published_prompts("sorrybench", str(written(tmp_path / "other.jsonl", rows[:44])))
    assert {row["hazard"] for row in other} == {str(n) for n in range(1, 45)}


def test_jailbreakbench_is_read_from_a_folder_with_a_file_for_each_side(tmp_path):
    for side, count in (("harmful", 3), ("benign", 2)):
        with (tmp_path / f"{side}-behaviors.csv").open("w", newline="") as stream:
            table = csv.DictWriter(stream, ["Index", "Goal", "Category"])
            table.writeheader()
            table.writerows({"Index": n, "Goal": f"Do {n}.", "Category": "Privacy"} for n in range(count))
    source = f"jailbreakbench={tmp_path}"
    assert [len(load_prompts(source, kind)) for kind in ("unsafe", "benign")] == [3, 2]


@pytest.mark.skipif(not XSTEST.is_file(), reason="the XSTest prompts are not beside the project")
def test_the_real_xstest():
    sides = {kind: load_prompts(f"xstest={XSTEST}", kind) for kind in ("unsafe", "benign")}
    assert {kind: len(rows) for kind, rows in sides.items()} == {"unsafe": 200, "benign": 250}
    assert len({row["hazard"] for row in sides["unsafe"]}) == 8


def test_the_wrong_file_is_named(tmp_path):
    file = written(tmp_path / "set.jsonl", [{"text": "A?"}])
    with pytest.raises(HarnessError, match="row 1: has no text under `Goal`.*JailbreakBench"):
        load_published_prompts("jailbreakbench", str(file))
    with pytest.raises(HarnessError, match="harmful or benign"):
        load_published_prompts("jailbreakbench", str(tmp_path))


@pytest.mark.parametrize("name", PUBLISHED_SETS)
def test_each_tasks_file_asks_for_its_set_and_lists_its_categories(name):
    sides = [f"_{side}" for side in ("unsafe", "benign")] if name in {"xstest", "jailbreakbench"} else [""]
    for side in sides:
        text = (ROOT / "tasks" / f"refusal_displacement_{name}{side}.yaml").read_text()
        task = yaml.safe_load(text.replace("!function ", ""))
        assert task["dataset_kwargs"] == {"benchmark": name}
        assert task["custom_dataset"] == f"utils.{side.removeprefix('_') or 'unsafe'}"
        listed = [entry["metric"].partition("/")[2] for entry in task["metric_list"] if "/" in entry["metric"]]
        if name == "sorrybench":
            assert listed == [category.replace(",", "") for category in SORRY_BENCH_CATEGORIES]
        assert bool(listed) == (name != "advbench")


def environment():
    return {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nonexistent", "PYTHONPATH": str(ROOT)}


ONE_AFTER_THE_OTHER = """
import json, sys
from lm_eval.__main__ import cli_evaluate

for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    cli_evaluate()
"""
"""Commands of lm-eval's in one process: it takes seconds to load."""


def lm_eval(program, *arguments):
    command = [sys.executable, *program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment())


@pytest.mark.slow
def test_every_task_is_valid_and_runs_from_a_local_file(tmp_path):
    groups = [f"refusal_displacement_{name}" for name in PUBLISHED_SETS]
    files = {
        name: str(written(tmp_path / f"{name}.jsonl", [row for row, _, _ in rows])) for name, rows in SAMPLES.items()
    }
    metadata = json.dumps({**files, "samples": 2})
    tasks = [group for group in groups if "jailbreakbench" not in group] + [
        "refusal_displacement_jailbreakbench_unsafe"
    ]
    out = tmp_path / "out"
    options = ["--metadata", metadata, "--log_samples", "--output_path", str(out)]
    validate = ["validate", "--tasks", ",".join(["refusal_displacement", *groups])]
    evaluate = ["--model", "dummy", "--tasks", ",".join(tasks), *options]
    commands = [[*command, "--include_path", str(ROOT / "tasks")] for command in (validate, evaluate)]
    done = lm_eval(["-c", ONE_AFTER_THE_OTHER], json.dumps(commands))
    assert done.returncode == 0, done.stderr
    assert "refusal_rate/contrast_homonyms" in done.stdout
    assert "not scored on the same number" not in done.stderr
    (evaluation,) = read_evaluations(out)
    assert len(evaluation.answers) == 2 * sum(len(rows) for rows in SAMPLES.values())
    assert {answer.judge for answer in evaluation.answers} == {"lexical"}
    assert len({(answer.task, answer.document) for answer in evaluation.answers}) == len(evaluation.answers) / 2


@pytest.mark.slow
def test_data_out_of_reach_is_told_in_one_line():
    command = ["--model", "dummy", "--tasks", "refusal_displacement_sorrybench", "--include_path", str(ROOT / "tasks")]
    done = lm_eval(["-m", "lm_eval"], *command)
    told = [line for line in done.stderr.splitlines() if line.startswith("refusal_displacement: ")]
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert len(told) == 1
    assert "sorry-bench/sorry-bench-202406" in told[0]
    assert "hf auth login" in told[0]
    assert '--metadata \'{"sorrybench": "FILE"}\'' in told[0]
