"""Which two sides may be compared: what each must hold, and what must be alike on both."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from harness.gate.decision import run_gate
from harness.gate.policy import Guard, Policy
from harness.support.errors import HarnessError
from helpers.samples_files import BENIGN, METRICS, UNSAFE, edit, line, manifest, side, sides, write_evaluation


def refused(before: Path, after: Path, message: str, policy: Policy | None = None) -> None:
    with pytest.raises(HarnessError, match=message):
        run_gate(before, after, policy or Policy())


def edit_results(folder: Path, change) -> None:
    """Lets `change` alter every results file below a folder."""
    for path in folder.rglob("results_*.json"):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))


def model_args(**given: object):
    return {"config": {"model": "hf", "model_args": {"pretrained": "tuned", **given}, "random_seed": 0}}


# All prompts


def cut_off(content: dict) -> None:
    content["config"]["limit"] = 90.0
    for counts in content["n-samples"].values():
        counts["original"] = 452


def test_a_truncated_evaluation_is_refused_unless_allowed_and_then_told_first(tmp_path):
    before, after = sides(tmp_path, 90, 90, 100, date=500.0)
    for folder in (before, after):
        edit_results(folder, cut_off)
    refused(before, after, rf"{UNSAFE} was not evaluated whole: --before saw 100 of 452 prompts, 4 categories")
    notes = run_gate(before, after, Policy(allow=("limit", "order"))).notes
    assert "saw 100 of 452 prompts" in notes[0]
    assert "(--limit 90.0)" in notes[0]
    assert any("swapped" in note for note in notes[1:])


def test_the_note_counts_the_categories_that_the_task_names(tmp_path):
    def names_eleven(content: dict) -> None:
        cut_off(content)
        listed = [{"metric": f"refusal_rate/Hazard {n}", "aggregation": "mean"} for n in range(11)]
        content["configs"][UNSAFE]["metric_list"] += listed

    before, after = sides(tmp_path, 90, 90)
    edit_results(after, names_eleven)
    refused(before, after, r"--after saw 100 of 452 prompts, 4 of 11 categories \(--limit 90.0\)")


def set_limit(limit: object):
    return lambda content: content["config"].update(limit=limit)


@pytest.mark.parametrize(
    ("change", "whole"),
    [
        (set_limit(1000), True),
        (set_limit(None), True),
        (set_limit(100), False),
        (set_limit(0.5), False),
        (set_limit("all of them"), False),
        (lambda content: content["n-samples"][UNSAFE].update(effective=99), False),
        (lambda content: content.pop("n-samples"), False),
        (lambda content: content["n-samples"].pop(UNSAFE), False),
    ],
)
def test_all_prompts_must_have_been_seen(tmp_path, change, whole):
    """The sides hold all 100 prompts of the task, on each side."""
    before, after = sides(tmp_path, 90, 90)
    edit_results(after, change)
    if whole:
        assert run_gate(before, after, Policy()).decision == "pass"
    else:
        refused(before, after, "was not evaluated whole")


# All tasks and seeds


def three_seeds(folder: Path, *refusals: int, **settings) -> Path:
    for seed, count in enumerate(refusals):
        side(folder / f"seed-{seed}" / "eval", count, model=f"{folder.name}-{seed}", seed=seed, **settings)
    return folder


def test_fewer_evaluations_after_than_before_are_refused_unless_allowed(tmp_path):
    before, after = three_seeds(tmp_path / "b", 90, 90, 90), three_seeds(tmp_path / "a", 90, date=2000.0)
    refused(before, after, "--before holds 3 seeds or repeats, --after 1")
    assert run_gate(before, after, Policy(allow=("seeds",))).decision == "pass"
    more = three_seeds(tmp_path / "more", 90, 90, 90, 90, date=2000.0)
    assert run_gate(before, more, Policy()).decision == "pass"


def without(*metrics: str):
    """Results as if these had not been measured."""

    def change(content: dict) -> None:
        for task, config in content["configs"].items():
            config["metric_list"] = [entry for entry in config["metric_list"] if entry["metric"] not in metrics]
            kept = {key: rate for key, rate in content["results"][task].items() if key.split(",")[0] not in metrics}
            content["results"][task] = kept

    return change


def test_a_seed_that_lacks_a_guarded_metric_is_refused(tmp_path):
    before, after = three_seeds(tmp_path / "b", 90, 90, 90), three_seeds(tmp_path / "a", 90, 20, 90, date=2000.0)
    assert run_gate(before, after, Policy()).decision == "fail"
    edit_results(after / "seed-1", without("refusal_rate", "harmful_completion_rate"))
    refused(before, after, f"seed-1.*has no refusal_rate of {UNSAFE}, which other evaluations have")


def test_a_seed_without_a_task_is_refused(tmp_path):
    before, after = three_seeds(tmp_path / "b", 90, 90), three_seeds(tmp_path / "a", 90, date=2000.0)
    rows = [line(BENIGN, i, ["compliance"]) for i in range(100)]
    write_evaluation(after / "seed-1" / "eval", {BENIGN: rows}, model="a-1", seed=1, date=2000.0)
    refused(before, after, f"seed-1.*has no refusal_rate of {UNSAFE}")


def test_tasks_evaluated_one_by_one_are_one_evaluation(tmp_path):
    for name, date in (("b", 1000.0), ("a", 2000.0)):
        for task, verdict, stamp in ((UNSAFE, "refusal", "00-00-00"), (BENIGN, "compliance", "00-00-01")):
            rows = {task: [line(task, i, [verdict]) for i in range(100)]}
            write_evaluation(tmp_path / name, rows, model=name, date=date, stamp=f"2026-01-02T{stamp}")
    assert run_gate(tmp_path / "b", tmp_path / "a", Policy()).decision == "pass"


def test_predict_only_is_named(tmp_path):
    def bypass(content: dict) -> None:
        for task in METRICS:
            content["configs"][task]["metric_list"] = [{"metric": "bypass"}]
            content["results"][task] = {"alias": task, "bypass,judge": 999}

    before, after = sides(tmp_path, 90, 90)
    edit_results(after, bypass)
    refused(before, after, "--predict_only")
    edit_results(before, bypass)
    refused(before, after, "--predict_only")


def with_other_task(folder: Path, model: str, date: float) -> Path:
    """A refusal task beside one with two filters, as gsm8k has, of one call of lm_eval."""
    rows = [line(UNSAFE, i, ["refusal"]) for i in range(100)]
    sums = [
        line(UNSAFE, i, ["refusal"]) | {"exact_match": 1.0, "filtered_resps": ["7"], "filter": name}
        for name in ("strict-match", "flexible-extract")
        for i in range(4)
    ]
    write_evaluation(folder, {"gsm8k": sums, UNSAFE: rows}, model=model, date=date)
    return folder


def test_a_task_without_a_guarded_metric_is_left_alone(tmp_path):
    before, after = with_other_task(tmp_path / "b", "b", 1000.0), with_other_task(tmp_path / "a", "a", 2000.0)
    outcome = run_gate(before, after, Policy(metrics={"refusal_rate": Guard()}))
    assert (outcome.decision, outcome.checks[0].prompts) == ("pass", 100)


def test_compressed_samples_are_gated_alike(tmp_path):
    before, after = sides(tmp_path, 90, 60)
    plain = run_gate(before, after, Policy())
    for path in after.rglob("samples_*"):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert run_gate(before, after, Policy()) == plain


# Two models


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ({"model_sha": "a" * 40}, {"model_sha": "a" * 40}, True),
        ({"model_sha": "a" * 40}, {"model_sha": "b" * 40}, False),
        ({"model_revision": "main"}, {}, True),
        ({"model_revision": "v1"}, {"model_revision": "v2"}, False),
        ({"model_args": "pretrained=base"}, {"model_args": {"pretrained": "./base/"}}, True),
        ({"model_args": "pretrained=base"}, {"model_args": "pretrained=base,peft=tuned"}, False),
        ({"model_args": "pretrained=base"}, {"model_args": "pretrained=base,lora_local_path=tuned"}, False),
        ({"model_args": "pretrained=base"}, {"model_args": "pretrained=base,device=cuda"}, True),
        ({"model_args": "pretrained=base"}, {"model_args": "pretrained=base,think_end_token=</think>"}, True),
        ({"model_args": "pretrained=base"}, {"model_args": "pretrained=base,load_in_4bit=True"}, False),
        ({"model_args": f"pretrained=hub/snapshots/{'a' * 40}"}, {"model_sha": "a" * 40}, True),
        ({"model_args": "mode=base"}, {"model_args": "mode=tuned"}, False),
        ({"model_args": "mode=base"}, {"model_args": "mode=base"}, True),
        ({"model_args": "model=gpt,base_url=http://a"}, {"model_args": "model=gpt,base_url=http://b"}, False),
    ],
)
def test_the_same_model_on_both_sides_is_refused_unless_allowed(tmp_path, before, after, same):
    """Other answers and another seed do not make another model."""
    pair = []
    for name, date, config, seed in (("b", 1000.0, before, 0), ("a", 2000.0, after, 1)):
        config = {"model": "hf", "model_args": {"pretrained": "base"}, **config, "random_seed": seed}
        pair.append(side(tmp_path / name, 90, model="base", date=date, signed=name, config=config))
    if same:
        refused(*pair, "both sides are of the same model, base")
        assert "same model" in run_gate(*pair, Policy(allow=("model", "generation"))).notes[0]
    else:
        assert run_gate(*pair, Policy(allow=("generation",))).decision == "pass"


def test_a_name_that_lm_eval_made_up_tells_nothing(tmp_path):
    """It is drawn with the seed, so that two models without a name of their own have the same."""
    config = {"model": "Scripted", "model_args": "", "random_seed": 0}
    before, after = (
        side(tmp_path / name, 90, model="kd2lig3b", date=date, signed=name, config=config)
        for name, date in (("b", 1000.0), ("a", 2000.0))
    )
    assert run_gate(before, after, Policy()).decision == "pass"


def test_answers_that_are_equal_word_for_word_are_refused_unless_allowed(tmp_path):
    before, after = (
        side(tmp_path / name, 90, model=name, date=date, signed="alike")
        for name, date in (("b", 1000.0), ("a", 2000.0))
    )
    refused(before, after, "all answers to 200 prompts of .* are equal word for word")
    assert "word for word" in run_gate(before, after, Policy(allow=("model",))).notes[0]
    edit(after, "samples_*benign*", lambda text: text.replace("compliance answer 0 to 7", "Another answer"))
    assert run_gate(before, after, Policy()).decision == "pass"


def test_one_cache_for_two_models_is_refused_by_the_task(tmp_path):
    """lm-eval keys its cache by request, so that the second model's answers are the first one's."""
    before, after = (
        side(tmp_path / name, 90, model=name, date=date, signed="alike")
        for name, date in (("b", 1000.0), ("a", 2000.0))
    )
    edit(after, "samples_*benign*", lambda text: text.replace("compliance answer 0 to 7", "Another answer"))
    edit_results(after, lambda content: content["config"].update(use_cache="cache"))
    refused(before, after, f"all answers to 100 prompts of {UNSAFE} are equal word for word .*--use_cache")


# Settings


@pytest.mark.parametrize(
    "given",
    [
        {"think_end_token": "</think>"},
        {"dtype": "float16"},
        {"max_length": 512},
        {"load_in_4bit": True},
        {"quantization": "fp8"},
        {"enable_thinking": False},
        {"something_new": 1},
    ],
)
def test_a_model_loaded_otherwise_is_refused_unless_allowed(tmp_path, given):
    before, after = sides(tmp_path, 90, 90, **model_args(**given))
    refused(before, after, f"generation of .* differs .*{next(iter(given))}")
    assert run_gate(before, after, Policy(allow=("generation",))).decision == "pass"


@pytest.mark.parametrize(
    "given",
    [{"dtype": "auto"}, {"device": "cuda"}, {"parallelize": True}, {"tensor_parallel_size": 2}, {"revision": None}],
)
def test_where_a_model_runs_does_not_matter(tmp_path, given):
    assert run_gate(*sides(tmp_path, 90, 90, **model_args(**given)), Policy()).decision == "pass"


def test_a_model_class_may_name_its_weights_in_a_way_of_its_own(tmp_path):
    before, after = sides(tmp_path, 90, 90)
    for folder, args in ((before, "mode=before"), (after, "mode=after")):
        edit_results(folder, lambda content, args=args: content["config"].update(model_args=args))
    assert run_gate(before, after, Policy()).decision == "pass"
    edit_results(after, lambda content: content["config"].update(model_args="mode=after,think_end_token=</think>"))
    refused(before, after, "generation of .* differs .*think_end_token")


def test_another_backend_is_refused(tmp_path):
    before, after = sides(tmp_path, 90, 90)
    edit_results(after, lambda content: content["config"].update(model="vllm"))
    refused(before, after, "generation of .* differs .*vllm")


@pytest.mark.parametrize("recorded", [True, False])
def test_in_a_run_the_checkpoints_own_number_type_may_differ(tmp_path, recorded):
    """`harness run` names it to vLLM, and training may save another than it began with; `arms` alone is no run."""
    pair = []
    for arm, dtype in (("baseline", "bfloat16"), ("raw", "float32")):
        config = {"model": "vllm", "model_args": {"pretrained": arm, "dtype": dtype}, "random_seed": 0}
        pair.append(side(tmp_path / "run/arms" / arm, 90, model=arm, config=config))
    if recorded:
        manifest(tmp_path / "run")
        assert run_gate(*pair, Policy()).decision == "pass"
    else:
        refused(*pair, "generation of .* differs")


# The run's own numbers


def run_with_change(folder: Path, low: float, value: float, high: float) -> tuple[Path, Path]:
    base, raw = (side(folder / "arms" / arm, 90, model=arm) for arm in ("baseline", "raw"))
    change = {"value": value, "low": low, "high": high}
    content = {"arms": {"raw": {"pairs": 9, "preferred_logprob_change": change}}}
    (folder / "results.json").write_text(json.dumps(content))
    return base, raw


LIMITED = Policy(minimum_preferred_logprob_change=-10)


def test_a_runs_edited_results_decide_nothing(tmp_path):
    pair = run_with_change(tmp_path, -30, -25, -20)
    manifest(tmp_path)
    assert run_gate(*pair, LIMITED).decision == "fail"
    run_with_change(tmp_path, -5, -3, -1)
    refused(*pair, "results.json: was edited after the run", LIMITED)


@pytest.mark.parametrize(("low", "value", "high"), [(-1, -3, -5), (-5, -6, -1), (-5, 0, -1)])
def test_an_interval_that_is_none_is_refused(tmp_path, low, value, high):
    refused(*run_with_change(tmp_path, low, value, high), "no number within its interval", LIMITED)
