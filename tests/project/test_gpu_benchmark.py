"""`benchmarks/gpu.py` on a CPU with tiny shapes: every part, the file it writes, and what comes of parts that fail."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses, and the scripts themselves, look their module up
    spec.loader.exec_module(module)
    return module


results = load_script("gpu_results")
table = load_script("gpu_table")

PARTS = {"scoring_1b", "scoring_8b", "dpo", "out_of_memory", "lora", "qlora", "fsdp", "real_model"}


def run_python(*arguments):
    path = os.pathsep.join([str(BENCHMARKS), os.environ["PYTHONPATH"]])
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)


# Every part


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """What the script writes here, read back."""
    out = tmp_path_factory.mktemp("gpu") / "tiny.json"
    done = run_python(BENCHMARKS / "gpu.py", "--tiny", "--minutes", 14, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    return results.read_gpu_results(out)


slow = pytest.mark.slow
pytestmark = pytest.mark.timeout(900)


@slow
def test_every_part_is_measured(tiny):
    assert (tiny.tiny, tiny.schema_version) == (True, 1)
    assert {*tiny.parts} == PARTS
    assert {(part.status, part.why) for part in tiny.parts.values()} == {("measured", None)}
    assert {"python", "torch", "transformers", "trl"} <= {*tiny.versions}
    assert all(part.seconds > 0 for part in tiny.parts.values())


@slow
@pytest.mark.parametrize("name", ["scoring_1b", "scoring_8b"])
def test_scoring_gives_the_scripts_scores_and_its_ratios(tiny, name):
    figures, goals = tiny.parts[name].figures, tiny.parts[name].goals
    cases = [figure for figure in figures.values() if isinstance(figure, dict)]
    assert len(cases) == 3
    for case in cases:
        assert case["worst_relative_difference"] < 1e-3
        assert case["times_reference"] == pytest.approx(case["reference_seconds"] / case["ours_seconds"])
        assert case["share_of_floor"] == pytest.approx(case["floor_seconds"] / case["ours_seconds"])
    assert [(goal.relation, goal.bound) for goal in goals] == [(">=", 10.0), (">=", 0.7)] * 3
    assert figures["pass"] == "trie_pass"


@slow
def test_dpo_compares_speed_and_memory_with_what_is_expected(tiny):
    figures = tiny.parts["dpo"].figures
    assert figures["times_trl"] == pytest.approx(figures["tokens_per_second"] / figures["trl_tokens_per_second"])
    assert figures["expected_off_by"] == pytest.approx(abs(figures["expected_gib"] / figures["peak_gib"] - 1))
    [goal] = tiny.parts["dpo"].goals
    assert (goal.figure, goal.relation, goal.bound) == ("expected_off_by", "<=", 0.15)


@slow
def test_what_does_not_fit_is_scored_in_smaller_passes(tiny):
    figures = tiny.parts["out_of_memory"].figures
    assert figures["budget_after"] < figures["budget"] == 4096
    assert all(goal.met for goal in tiny.parts["out_of_memory"].goals)


@slow
@pytest.mark.parametrize("name", ["lora", "qlora", "fsdp"])
def test_losses_start_at_ln_2_and_fall(tiny, name):
    figures = tiny.parts[name].figures
    assert figures["first_loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert figures["last_loss"] < figures["first_loss"] - 0.01
    assert all(goal.met for goal in tiny.parts[name].goals)


@slow
def test_the_recipe_goes_through_with_its_two_arms(tiny):
    assert {*tiny.parts["real_model"].figures["refusal_rate"]} == {"baseline", "raw", "ches_filtered"}


# What fails, and what there is no time for

CHILDREN = """
import json, math, multiprocessing, os, time
import gpu_children
gpu_children._choose_context = lambda: multiprocessing.get_context("spawn")
told = [gpu_children.run_in_child(math.sqrt, 9.0, limit=60)]
for work, argument, limit in ((int, "seven", 60), (os._exit, 3, 60), (time.sleep, 900, 1)):
    try:
        gpu_children.run_in_child(work, argument, limit=limit)
    except gpu_children.ChildError as error:
        told.append(str(error).strip().splitlines()[-1])
print(json.dumps([told, len(multiprocessing.active_children())]))
"""


@slow
def test_a_child_that_fails_crashes_or_hangs_says_so():
    done = run_python("-c", CHILDREN)
    assert json.loads(done.stdout) == [
        [
            3.0,
            "ValueError: invalid literal for int() with base 10: 'seven'",
            "its process ended with exit code 3 and no answer",
            "not done after 1 s",
        ],
        0,
    ]


FAILING = """
import sys
import gpu

def measure(work, name, *arguments, limit):
    if name == "lora":
        raise gpu.ChildError("CUDA error: an illegal memory access")
    return gpu.PartResult("measured", figures={"loss": float("nan") if name == "qlora" else 0.5})

gpu.run_in_child = measure
sys.exit(gpu.main())
"""


@slow
def test_a_part_that_fails_is_recorded_and_the_others_go_on(tmp_path):
    out = tmp_path / "gpu.json"
    done = run_python("-c", FAILING, "--tiny", "--parts", "lora,qlora,dpo", "--out", out)
    assert done.returncode == 1
    parts = results.read_gpu_results(out).parts
    assert [(name, part.status, part.why) for name, part in parts.items()] == [
        ("lora", "failed", "CUDA error: an illegal memory access"),
        ("qlora", "failed", "not all of its figures are numbers: {'loss': nan}"),
        ("dpo", "measured", None),
    ]
    # without failures, and with what is there already
    done = run_python("-c", FAILING, "--tiny", "--parts", "fsdp", "--out", out)
    assert done.returncode == 0
    assert {*results.read_gpu_results(out).parts} == {"lora", "qlora", "dpo", "fsdp"}


@slow
def test_a_part_for_which_there_is_no_time_is_skipped(tmp_path):
    out = tmp_path / "gpu.json"
    done = run_python(BENCHMARKS / "gpu.py", "--tiny", "--parts", "dpo,lora", "--minutes", 0, "--out", out)
    assert done.returncode == 0
    assert "dpo: skipped" in done.stdout
    parts = results.read_gpu_results(out).parts
    assert {part.status for part in parts.values()} == {"skipped"}
    assert parts["lora"].why.startswith("expected to take 40 s, and ")


@slow
def test_the_plan_is_within_eight_minutes_and_tiny_figures_are_no_results():
    done = run_python(BENCHMARKS / "gpu.py", "--plan")
    seconds = [int(line.split()[-2]) for line in done.stdout.splitlines()[:-1]]
    assert len(seconds) == 8
    assert sum(seconds) <= 480
    assert done.stdout.splitlines()[-1].split()[2] == str(sum(seconds))
    refused = run_python(BENCHMARKS / "gpu.py", "--tiny")
    assert refused.returncode == 2
    assert "--tiny needs --out" in refused.stderr


# The file and the page


def card(**parts):
    versions = {"python": "3.11.7", "torch": "2.13.0"}
    return results.GpuResults(False, "NVIDIA H100", 79.2, "570.1", "12.8", versions, "2026-01-31T12:00:00+00:00", parts)


def test_what_is_written_is_read_again(tmp_path):
    part = results.PartResult("measured", 4.5, None, {"loss": 0.5}, (results.set_goal("loss", 0.5, "<", 0.6931),))
    results.GpuResults.write(card(lora=part), tmp_path / "gpu.json")
    assert results.read_gpu_results(tmp_path / "gpu.json") == card(lora=part)
    assert json.loads((tmp_path / "gpu.json").read_text())["parts"]["lora"]["goals"] == [
        {"figure": "loss", "relation": "<", "bound": 0.6931, "value": 0.5, "met": True}
    ]


@pytest.mark.parametrize(
    ("value", "relation", "met"),
    [(10.0, ">=", True), (9.9, ">=", False), (10.0, "<=", True), (10.0, "<", False), (10.0, "==", True)],
)
def test_a_goal_is_met_or_not(value, relation, met):
    assert results.set_goal("figure", value, relation, 10.0).met is met


def test_the_table_has_a_column_a_card_and_says_what_is_not_measured():
    case = {"times_reference": 12.345, "share_of_floor": 0.8}
    scored = results.PartResult("measured", figures=dict.fromkeys(table._CASES, case))
    loss = results.PartResult("measured", figures={"first_loss": 0.6931, "last_loss": 0.25})
    failed, absent = results.PartResult("failed", why="boom"), results.PartResult("not measured", why="no weights")
    drawn = table.draw_gpu_table([card(scoring_1b=scored, lora=loss, fsdp=failed, real_model=absent), card()])
    lines = {line.split(" | ")[0].strip("| "): line.split(" | ")[2:] for line in drawn.splitlines()}
    assert lines["figure"] == ["NVIDIA H100, 2026-01-31", "NVIDIA H100, 2026-01-31 |"]
    assert lines["scoring, 1B: times the script"] == ["12.35, 12.35, 12.35", "not measured |"]
    assert lines["LoRA, 1B: loss"] == ["0.693 to 0.250", "not measured |"]
    assert lines["FSDP2 with one process, 1B: loss"][0] == "not measured (failed)"
    assert lines["the recipe of SmolLM2, small: seconds"][0] == "not measured"


def test_every_row_can_be_drawn_of_what_a_script_measures():
    assert {part for _, _, part, _ in table.ROWS} == PARTS
    assert table.draw_gpu_table([]).count("not measured") == 1 + len(table.ROWS)


@slow
def test_the_table_is_drawn_of_what_the_script_writes(tiny):
    drawn = table.draw_gpu_table([tiny])
    assert "not measured" not in drawn


def test_the_page_shows_the_committed_results():
    page = table.PAGE.read_text()
    cards = table.read_cards()
    assert not any(each.tiny for each in cards)
    assert page == table.with_gpu_table(page, cards), "run `make gpu-table`"
