"""The whole run, on models small enough to finish in seconds."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.gate.power import PowerPlan, estimate_power
from harness.judges.registry import JUDGES
from harness.judges.verdicts import Verdict
from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.preferences.tables import load_training_rows
from harness.recipes.loading import load_recipe
from harness.recipes.schema import Recipe
from harness.run import checks
from harness.run.checks import _warn_of_few_prompts
from harness.run.cost.dry_run import dry_run
from harness.run.regression import run_regression
from harness.run.state import Run
from harness.scoring.logprobs import tokenize_pairs
from harness.scoring.probes import Probes
from harness.support.errors import HarnessError
from helpers.models import save_random
from helpers.run_inputs import PROMPTS, SMALL

XSTEST = Path(__file__).parents[3] / "shared" / "data" / "xstest_prompts.csv"


def small(model, prompts, *more) -> Recipe:
    return load_recipe("miniature", [f"model={model}", f"prompts={prompts}", *SMALL, *more], seeds=2)


@pytest.fixture(scope="module")
def prompt_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    file.write_text(PROMPTS)
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory, micro, prompt_file):
    out = tmp_path_factory.mktemp("run") / "run"
    return out, run_regression(small(micro, prompt_file), out).to_json()


@pytest.mark.slow
def test_the_run_directory_is_the_contracts(finished):
    out, results = finished
    for name in (
        "manifest.json",
        "results.json",
        "report.html",
        "preferences.jsonl",
        "scores.parquet",
        "arms/raw/seed-0/model/model.safetensors",
        "arms/random/seed-1/model/config.json",
    ):
        assert (out / name).is_file()
    for arm in ("baseline", "raw", "ches_filtered", "random"):
        for seed in (0, 1):
            (results_file,) = (out / f"arms/{arm}/seed-{seed}/eval").rglob("results_*.json")
            assert len([*results_file.parent.glob("samples_*.jsonl")]) == 2
    assert results == json.loads((out / "results.json").read_text())
    assert results["schema_version"] == 1
    assert list(results["arms"]) == ["baseline", "raw", "ches_filtered", "random"]


@pytest.mark.slow
def test_the_results_follow_from_the_samples(finished):
    """Recounted from lm-eval's files by other code than the harness's own."""
    out, results = finished
    for arm, content in results["arms"].items():
        for split in ("train", "test"):
            by_prompt: dict[str, list[float]] = {}
            for file in (out / f"arms/{arm}").rglob("samples_refusal_displacement_unsafe_*.jsonl"):
                for line in file.read_text().splitlines():
                    row = json.loads(line)
                    if row["doc"]["split"] == split and "refusal_rate" in row:  # not where unjudged
                        by_prompt.setdefault(row["doc"]["prompt_id"], []).append(row["refusal_rate"])
            expected = sum(sum(each) / len(each) for each in by_prompt.values()) / len(by_prompt)
            found = content["metrics"]["refusal_rate"][split]
            assert found["value"] == pytest.approx(expected)
            assert found["n"] == len(by_prompt) <= (11 if split == "train" else 3)
            assert found["low"] <= found["value"] <= found["high"]
            assert len(found["per_seed"]) == 2


@pytest.mark.slow
def test_displacement_follows_from_the_log_probabilities(finished):
    out, _ = finished
    before = json.loads((out / "reference.json").read_text())
    for arm in ("raw", "ches_filtered", "random"):
        for seed in (0, 1):
            after = json.loads((out / f"arms/{arm}/seed-{seed}/training.json").read_text())["logprobs"]
            chosen, rejected = ([after[pair][side] - before[pair][side] for pair in before] for side in (0, 1))
            content = json.loads((out / f"arms/{arm}/seed-{seed}/displacement.json").read_text())
            assert content["pairs"]["n"] == len(before)
            assert content["pairs"]["chosen_change"] == pytest.approx(sum(chosen) / len(before))
            assert content["pairs"]["rejected_change"] == pytest.approx(sum(rejected) / len(before))
            for side in ("before", "after"):
                assert sum(way[side] for way in content["starts"].values()) == pytest.approx(1, abs=1e-4)
            assert set(content) == {
                "schema_version",
                "pairs",
                "positions",
                "gaining_tokens",
                "losing_tokens",
                "mass_floor",
                "mass",
                "starts",
                "spread",
                "refusal",
            }


@pytest.mark.slow
def test_the_divergence_at_the_first_token_is_that_of_both_models_side_by_side(finished, micro):
    import torch

    out, _ = finished
    scored = json.loads((out / "reference.json").read_text())
    rows = [row for line in (out / "preferences.jsonl").open() if (row := json.loads(line))["pair_id"] in scored]
    tokens = tokenize_pairs(rows, load_model(str(micro))[1]).values()
    before, after = (load_model(str(path))[0].double() for path in (micro, out / "arms/raw/seed-1/model"))
    divergences, entropies = [], []
    for pair in tokens:
        ids = torch.tensor([pair.prompt])
        with torch.inference_mode():
            was, now = (model(input_ids=ids).logits[0, -1].log_softmax(-1) for model in (before, after))
        divergences.append(float((now.exp() * (now - was)).sum()))
        entropies.append(-float((now.exp() * now).sum()))
    content = json.loads((out / "arms/raw/seed-1/displacement.json").read_text())
    for side in ("chosen", "rejected"):
        first = content["spread"][side]["positions"][0]
        assert first["kl_n"] == first["n"] == len(rows)
        assert first["kl"] == pytest.approx(np.mean(divergences), rel=1e-3, abs=1e-6)
        assert first["entropy"]["after"] == pytest.approx(np.mean(entropies), rel=1e-5)
    (turn,) = content["refusal"]["direction"]
    assert turn["layer"] == 1
    assert 0 < turn["cosine"] <= 1 + 1e-9


@pytest.mark.slow
def test_every_unsafe_prompt_has_its_nearest_pairs(finished):
    out, _ = finished
    pairs = {row["pair_id"]: row for row in map(json.loads, (out / "preferences.jsonl").read_text().splitlines())}
    nearest = json.loads((out / "nearest_pairs.json").read_text())["nearest"]
    assert set(nearest) == {f"p{n}" for n in range(14)}
    for prompt_id, found in nearest.items():
        similarities = [each["similarity"] for each in found]
        assert similarities == sorted(similarities, reverse=True)
        if prompt_id in {row["prompt_id"] for row in pairs.values()}:
            assert pairs[found[0]["pair_id"]]["prompt_id"] == prompt_id


@pytest.mark.slow
def test_pairs_and_steps(finished):
    _, results = finished
    raw, filtered, control = (results["arms"][name] for name in ("raw", "ches_filtered", "random"))
    assert filtered["pairs"] == control["pairs"] == round(raw["pairs"] / 2)
    assert control["steps"] == raw["steps"] == -(-raw["pairs"] // 4)
    assert raw["preferred_logprob_change"]["value"] != 0


@pytest.mark.slow
def test_a_finished_stage_is_not_run_again_and_a_damaged_one_is(finished, capsys, micro, prompt_file):
    out, results = finished
    before = (out / "results.json").read_bytes()
    seconds = json.loads((out / "manifest.json").read_text())["stages"]
    (out / "arms/raw/seed-1/training.json").write_text("{}")
    assert run_regression(small(micro, prompt_file), out).to_json() == results
    assert (out / "results.json").read_bytes() == before
    told = capsys.readouterr().err
    assert "16 stages done before" in told
    assert "train raw seed 1: again, because arms/raw/seed-1/training.json is not as it was left" in told
    assert "train raw seed 0" not in told
    after = json.loads((out / "manifest.json").read_text())["stages"]
    assert after["train raw seed 0"] == seconds["train raw seed 0"]


@pytest.mark.slow
def test_a_dry_run_names_the_stages_that_the_run_had(finished, micro, prompt_file):
    out, _ = finished
    before = {file: file.stat().st_mtime_ns for file in out.rglob("*")}
    found = dry_run(small(micro, prompt_file), out)
    assert {file: file.stat().st_mtime_ns for file in out.rglob("*")} == before
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(cost.stage.name for cost in found.costs) == sorted(manifest["stages"])
    assert {cost.reason for cost in found.costs} == {None}
    assert found.seconds == 0
    pairs = len((out / "preferences.jsonl").read_text().splitlines())
    work = {cost.stage.name: cost.at_most for cost in found.costs}
    for name in ("raw", "ches_filtered", "random"):
        training = json.loads((out / f"arms/{name}/seed-0/training.json").read_text())
        assert (work[f"train {name} seed 0"].pairs, work[f"train {name} seed 0"].steps) == (
            training["pairs"],
            training["steps"],
        )
    scores = pq.read_table(out / "scores.parquet").to_pydict()
    tokens = sum(sum(scores[f"{part}_tokens"]) for part in ("prompt", "chosen", "rejected"))
    assert (work["scores"].pairs, work["scores"].read) == (pairs, tokens)


@pytest.mark.slow
def test_a_dry_run_says_what_would_run_again_and_why(finished, micro, prompt_file, monkeypatch):
    out, _ = finished
    monkeypatch.setattr("harness.models.paths.has_weights", lambda _: False)
    file = out / "arms/raw/seed-1/training.json"
    content = file.read_bytes()
    try:
        file.write_text("{}")
        costs = dry_run(small(micro, prompt_file), out).costs
    finally:
        file.write_bytes(content)
    assert {cost.stage.name: cost.reason for cost in costs if cost.reason} == {
        "train raw seed 1": "arms/raw/seed-1/training.json is not as it was left",
        "evaluate raw seed 1": "after train raw seed 1",
    }
    costs = dry_run(small(micro, prompt_file, "arms.raw.beta=0.2"), out).costs
    assert [cost.stage.name for cost in costs if cost.reason == "arms.raw changed"] == [
        "train raw seed 0",
        "train raw seed 1",
    ]


@pytest.mark.slow
def test_where_all_is_done_torch_is_not_loaded(finished, micro, prompt_file):
    out, _ = finished
    (out / "report.html").unlink()
    code = (
        "import sys; from pathlib import Path; from harness.recipes.loading import load_recipe\n"
        "from harness.run.regression import run_regression\n"
        "model, prompts, out, *more = sys.argv[1:]\n"
        "chosen = load_recipe('miniature', [f'model={model}', f'prompts={prompts}', *more], seeds=2)\n"
        "run_regression(chosen, Path(out))\n"
        "print([name for name in ('torch', 'transformers', 'trl', 'lm_eval') if name in sys.modules])\n"
    )
    command = [sys.executable, "-c", code, str(micro), str(prompt_file), str(out), *SMALL]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert (out / "report.html").is_file()


@pytest.mark.slow
def test_the_same_seeds_give_the_same_numbers(finished, tmp_path, micro, prompt_file):
    run_regression(small(micro, prompt_file), tmp_path / "again")
    assert (tmp_path / "again" / "results.json").read_bytes() == (finished[0] / "results.json").read_bytes()


@pytest.mark.slow
def test_plain_lm_eval_agrees_with_the_harness(finished, tmp_path, prompt_file):
    out, _ = finished
    model = out / "arms/raw/seed-1/model"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "lm_eval",
            "--model",
            "hf",
            "--model_args",
            f"pretrained={model}",
            "--tasks",
            "refusal_displacement",
            "--apply_chat_template",
            "--seed",
            "1",
            "--batch_size",
            "128",
            "--device",
            "cpu",
            "--gen_kwargs",
            "temperature=0.7,max_gen_toks=8",
            "--metadata",
            json.dumps({"prompts": str(prompt_file)}),
            "--output_path",
            str(tmp_path),
            "--log_samples",
        ],
        check=True,
        capture_output=True,
    )
    plain, ours = (
        json.loads(next(place.rglob("results_*.json")).read_text())["results"]
        for place in (tmp_path, out / "arms/raw/seed-1/eval")
    )
    assert plain == ours


@pytest.mark.slow
def test_arms_on_other_pairs_and_on_the_easy_ones(tmp_path, micro, prompt_file):
    arms = (
        "{raw: {}, gold: {pairs: gold}, mixed: {pairs: mixed}, easy: {filter: {keep_lowest: 0.5, by: validation_loss}}}"
    )
    chosen = small(micro, prompt_file, "seeds=[0]", "gold=bundled", "off_policy=bundled", f"arms={arms}")
    results = run_regression(chosen, tmp_path / "run").arms
    training = {
        name: json.loads((tmp_path / f"run/arms/{name}/seed-0/training.json").read_text()) for name in chosen.arms
    }
    sources = {
        name: {"-".join(pair.split("-")[:-1]) for pair in content["trained_pair_ids"]}
        for name, content in training.items()
    }
    assert sources == {"raw": {""}, "gold": {"gold"}, "mixed": {"", "off_policy"}, "easy": {""}}
    named = [cost.stage.name for cost in dry_run(chosen, tmp_path / "run").costs]
    assert sorted(named) == sorted(json.loads((tmp_path / "run/manifest.json").read_text())["stages"])
    losses = json.loads((tmp_path / "run/difficulty.json").read_text())
    easy = set(training["easy"]["trained_pair_ids"])
    assert len(easy) == -(-len(losses) // 2)
    assert max(losses[pair] for pair in easy) <= min(losses[pair] for pair in losses.keys() - easy)
    reference = json.loads((tmp_path / "run/gold_reference.json").read_text())
    after = training["gold"]["other_logprobs"]
    change = sum(after[pair][0] - reference[pair][0] for pair in after) / len(after)
    assert results["gold"].trained_logprob_change.per_seed[0] == pytest.approx(change)
    assert results["raw"].change_from_raw.refusal_rate.train.value == 0


@pytest.mark.slow
def test_arms_of_other_methods(tmp_path, micro, prompt_file):
    """A filter with a loss that reads the start by token, and an order with one that reads rewards."""
    arms = (
        "{far: {loss: nthr, filter: {keep_highest: 0.5, by: log_margin}}, "
        "in_order: {loss: reward_distillation, rewards: verdicts, order: easy_first}}"
    )
    chosen = small(micro, prompt_file, "seeds=[0]", f"arms={arms}")
    with mock.patch.dict(JUDGES, lexical=refuse_odd_answers):
        results = run_regression(chosen, tmp_path / "run", max_processes=1).arms
    assert {*results} == {"baseline", *chosen.arms}
    trained = {
        name: json.loads((tmp_path / f"run/arms/{name}/seed-0/training.json").read_text())["trained_pair_ids"]
        for name in chosen.arms
    }
    reference = json.loads((tmp_path / "run/reference.json").read_text())
    margins = {name: abs(chosen - rejected) for name, (chosen, rejected) in reference.items()}
    far = {*trained["far"]}
    assert len(far) == -(-len(margins) // 2)
    assert min(margins[pair] for pair in far) >= max(margins[pair] for pair in margins.keys() - far)
    losses = json.loads((tmp_path / "run/difficulty.json").read_text())
    assert [losses[pair] for pair in trained["in_order"]] == sorted(losses.values())


@pytest.mark.slow
def test_rewards_that_a_table_has_not_are_told_before_anything_is_trained(tmp_path, micro, prompt_file):
    table = tmp_path / "pairs.jsonl"
    table.write_text("".join(json.dumps({"prompt": f"{n}?", "chosen": "No.", "rejected": "Yes."}) + "\n" for n in "ab"))
    arms = "arms={bare: {loss: reward_distillation, rewards: columns}}"
    with pytest.raises(HarnessError, match="arm bare: the pairs have no column chosen_reward"):
        run_regression(small(micro, prompt_file, f"preferences={table}", arms), tmp_path / "run")
    assert not (tmp_path / "run/arms/bare").exists()


def refuse_odd_answers(exchanges):
    """A judge that a random model's answers to a prompt are told apart by."""
    return [Verdict("refusal" if len(each.response) % 2 else "harmful", "its length") for each in exchanges]


@pytest.fixture(scope="module")
def influenced(tmp_path_factory, micro, prompt_file):
    """A run whose arms keep the pairs that raise refusals most and least."""
    out = tmp_path_factory.mktemp("influenced") / "run"
    best, worst = (f"{{filter: {{{end}: 0.5, by: refusal_influence}}}}" for end in ("keep_highest", "keep_lowest"))
    anew = "{filter: {keep_highest: 0.5, by: refusal_influence, refresh: 1}, steps: as_raw}"
    arms = f"arms={{raw: {{}}, best: {best}, worst: {worst}, anew: {anew}}}"
    chosen = small(micro, prompt_file, "judge=prefixes", arms).model_copy(update={"seeds": (0,)})
    with mock.patch.dict(JUDGES, prefixes=refuse_odd_answers):
        return out, chosen, run_regression(chosen, out, max_processes=1)


@pytest.mark.slow
def test_probe_answers_are_to_training_prompts_and_of_the_starting_model(influenced, micro):
    out, _, _ = influenced
    probes = Probes.load(out / "probes.json")
    asked = Counter(each.prompt_id for each in probes.answers)
    assert asked == dict.fromkeys((f"p{n}" for n in range(14) if n % 4 != 3), 4)
    assert (probes.model, probes.judge) == (ModelPath(str(micro)).content, "prefixes")
    assert {each.label for each in probes.answers} == {"refusal", "harmful"}


@pytest.mark.slow
def test_arms_keep_the_pairs_that_raise_refusals_most_and_least(influenced):
    out, _, results = influenced
    influence = {
        row["pair_id"]: row["refusal_influence"] for row in pq.read_table(out / "influence.parquet").to_pylist()
    }
    assert influence.keys() == {row["pair_id"] for row in map(json.loads, (out / "preferences.jsonl").open())}
    trained = {
        name: json.loads((out / f"arms/{name}/seed-0/training.json").read_text())["trained_pair_ids"]
        for name in ("raw", "best", "worst")
    }
    order, half = sorted(influence, key=lambda pair: influence[pair]), -(-len(influence) // 2)
    assert {*trained["best"]} == {*order[-half:]}
    assert {*trained["worst"]} == {*order[:half]}
    for name, pairs in trained.items():
        mean = sum(influence[pair] for pair in pairs) / len(pairs)
        assert results.arms[name].mean_influence["refusal"].value == pytest.approx(mean)
    assert results.arms["baseline"].mean_influence is None
    assert 'id="forecast"' in (out / "report.html").read_text()


@pytest.mark.slow
def test_an_arm_whose_influence_is_refreshed_tells_what_it_kept_when(influenced):
    out, _, results = influenced
    told = json.loads((out / "arms/anew/seed-0/training.json").read_text())
    best = json.loads((out / "arms/best/seed-0/training.json").read_text())["trained_pair_ids"]
    assert told["steps"] == results.arms["raw"].steps
    assert [each["step"] for each in told["refreshes"]] == [*range(told["steps"])]
    assert {*told["refreshes"][0]["kept"]} == {*best}
    assert {len(each["kept"]) for each in told["refreshes"]} == {len(best)} == {told["pairs"]}
    assert {*told["trained_pair_ids"]} <= {name for each in told["refreshes"] for name in each["kept"]}
    assert len(told["log"]) == told["steps"]
    assert "anew every 1 steps" in (out / "report.html").read_text()


@pytest.mark.slow
def test_what_is_forecast_is_told_beside_what_came(influenced):
    out, _, results = influenced
    content = json.loads((out / "forecast.json").read_text())
    assert list(content["arms"]) == ["raw", "best", "worst"]
    for name, forecast in content["arms"].items():
        assert forecast["steps"] == results.arms[name].steps
        told = results.arms[name].forecast["refusal"]
        change = forecast["changes"]["refusal"]
        assert (told.value, told.low, told.high) == (change["change"], change["low"], change["high"])
        assert told.low <= told.value <= told.high
    assert "What came lies in its interval in" in (out / "report.html").read_text()


@pytest.mark.slow
def test_every_unsafe_prompt_is_traced_to_the_scored_pairs(influenced):
    out, _, _ = influenced
    with np.load(out / "prompt_influence.npz") as kept:
        assert kept["prompts"].tolist() == [f"p{n}" for n in range(14)]
        scored = [row["pair_id"] for row in pq.read_table(out / "scores.parquet").to_pylist() if row["ln_ches"]]
        assert kept["pairs"].tolist() == scored
        assert kept["pushes"].shape == (14, len(scored))
        assert np.isfinite(kept["pushes"]).all()


@pytest.mark.slow
def test_an_arm_by_influence_leaves_the_others_as_they_are(influenced, monkeypatch):
    out, chosen, _ = influenced
    monkeypatch.setitem(JUDGES, "prefixes", refuse_odd_answers)
    monkeypatch.setattr("harness.run.cost.dry_run.has_weights", lambda _: False)
    found = dry_run(chosen, out, max_processes=1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert sorted(cost.stage.name for cost in found.costs) == sorted(manifest["stages"])
    assert {cost.reason for cost in found.costs} == {None}
    probes = chosen.model_copy(update={"probes": chosen.probes.model_copy(update={"samples": 5})})
    due = {cost.stage.name: cost.reason for cost in dry_run(probes, out, max_processes=1).costs if cost.reason}
    assert due["probes"] == "probes changed"
    again = {
        "probes",
        "influence",
        "forecast",
        *(f"{work} {arm} seed 0" for work in ("train", "evaluate") for arm in ("best", "worst", "anew")),
    }
    assert due.keys() == again


def test_all_pairs_and_those_by_influence_are_forecast_where_one_process_trains():
    def forecast(*overrides):
        return Run(load_recipe("miniature", overrides), None, None).forecast_arms

    assert forecast() == forecast("arms.also={sft_weight: 0.1}") == ["raw", "influence_filtered"]
    assert forecast("arms.influence_filtered.filter.refresh=2") == ["raw"]
    assert forecast("training.launch={config: ddp, processes: 2}") == []
    assert forecast("arms.influence_filtered=null") == []


def test_a_judge_that_tells_no_refusals_cannot_filter_by_them(monkeypatch, prompt_file):
    monkeypatch.setattr(checks, "judge_identity", str)
    arms = "arms={raw: {}, best: {filter: {keep_highest: 0.5, by: refusal_influence}}}"
    with pytest.raises(HarnessError, match="arms.best.filter: refusal_influence cannot be measured, as the judge"):
        checks.check_prerequisites(small("some/model", prompt_file, arms, "judge=llama-guard-3"))


def test_only_the_training_pairs_of_a_given_table_are_trained_on(tmp_path):
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c", "split": split} for split in ("train", "test", "train")]
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    kept = load_training_rows(str(tmp_path / "prefs.jsonl"))
    assert [row["pair_id"] for row in kept] == ["row-00000000", "row-00000002"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "qwen2"])
def test_another_model_and_other_prompts(kind, tmp_path, tokenizer):
    if not XSTEST.is_file():
        pytest.skip("XSTest's prompts are not beside the checkout")
    rows = XSTEST.read_text().splitlines(keepends=True)
    (tmp_path / "xstest.csv").write_text(rows[0] + "".join(rows[1::9]))
    model = save_random(kind, tmp_path / "model", tokenizer)
    run_regression(small(model, tmp_path / "xstest.csv", "seeds=[0]"), tmp_path / "run")
    assert "Nothing can be told" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.slow
def test_a_training_that_diverges_is_told_and_leaves_no_result(tmp_path, micro, prompt_file):
    with pytest.raises(HarnessError, match="arm raw, seed 0: the training diverged.*learning_rate"):
        run_regression(small(micro, prompt_file, "training.learning_rate=1e30"), tmp_path / "run", max_processes=1)
    assert not (tmp_path / "run" / "results.json").exists()
    assert not (tmp_path / "run" / "arms/raw/seed-0/training.json").exists()


@pytest.mark.slow
def test_an_arm_on_a_type_that_no_pair_has_is_told_before_anything_is_trained(tmp_path, micro, prompt_file):
    pairs = tmp_path / "prefs.jsonl"
    row = {"prompt": "a", "chosen": "b", "rejected": "c", "chosen_verdict": "refusal", "rejected_verdict": "refusal"}
    pairs.write_text("".join(json.dumps(row | {"prompt": name}) + "\n" for name in "abc"))
    arms = "arms={raw: {}, mixed: {filter: {only: mixed}}}"
    with pytest.raises(HarnessError, match="arm mixed: no pair is of the type mixed.*--set arms.mixed=null"):
        run_regression(small(micro, prompt_file, f"preferences={pairs}", arms), tmp_path / "run", max_processes=1)
    assert not [*(tmp_path / "run").glob("arms/*/*/training.json")]


def test_a_broken_manifest_is_told(tmp_path, micro, prompt_file):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("[]")
    with pytest.raises(HarnessError, match="is no manifest of a run"):
        run_regression(small(micro, prompt_file), tmp_path / "run")


def test_a_set_too_small_for_the_gate_is_warned_of(capsys):
    # Private, as so many prompts in a run would take minutes.
    _warn_of_few_prompts(50, 1)
    assert "50 unsafe prompts with one answer each" in capsys.readouterr().err
    _warn_of_few_prompts(800, 3)
    assert capsys.readouterr().err == ""


def test_what_so_many_prompts_pass_is_not_simulated(capsys, monkeypatch):
    enough = PowerPlan(checks.ENOUGH_PROMPTS, 1, 0.05, checks.PLANNED_RATE)
    assert estimate_power(enough, runs=1000).harmless_passes > 0.99
    monkeypatch.setattr(checks, "estimate_power", None)
    _warn_of_few_prompts(1_000_000, 1)
    assert capsys.readouterr().err == ""


def test_a_judge_that_cannot_work_is_told_before_the_first_stage(tmp_path, monkeypatch, micro, prompt_file):
    def fail(_):
        raise RuntimeError("out of order")

    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    monkeypatch.setenv("HARNESS_JUDGE_MODEL", "any")
    monkeypatch.setitem(JUDGES, "openai", fail)
    (tmp_path / "prefs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n')
    chosen = small(micro, prompt_file, "judge=openai", f"preferences={tmp_path / 'prefs.jsonl'}")
    with pytest.raises(HarnessError, match="judge openai: failed on the only answer .*out of order"):
        run_regression(chosen, tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == [".lock"]


def test_what_cannot_work_is_told_before_the_work(tmp_path, micro, prompt_file):
    cases = {
        "judge=lexcial": "no judge is called",
        f"model={tmp_path}/none": "no such model directory",
        f"prompts={tmp_path}/none.jsonl": "cannot be read",
        f"preferences={tmp_path}/none.jsonl": "no such file",
    }
    for override, told in cases.items():
        with pytest.raises(HarnessError, match=told):
            run_regression(small(micro, prompt_file, override), tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "lacks"), [("nothing", "config.json"), ("config", ".safetensors"), ("weights", ".safetensors")]
)
def test_a_directory_that_is_no_model_is_told(tmp_path, content, lacks):
    place = tmp_path / "model"
    place.mkdir()
    if content != "nothing":
        (place / "config.json").write_text('{"model_type": "llama"}' if content == "weights" else "{")
    with pytest.raises(HarnessError, match=f"holds no {lacks}"):
        load_model(str(place))


def test_pickled_weights_are_not_loaded(tmp_path, tokenizer):
    import torch
    from safetensors.torch import load_file

    place = save_random("llama", tmp_path / "model", tokenizer)
    load_model(str(place))
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    with pytest.raises(HarnessError, match="pytorch_model.bin is not read: pickled weights can run code"):
        load_model(str(place))


def test_no_chat_template_is_told(tmp_path, tokenizer):
    from copy import deepcopy

    bare = deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(HarnessError, match="no chat template"):
        load_model(str(save_random("llama", tmp_path / "model", bare)))
