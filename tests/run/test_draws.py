"""A recipe run on several draws: which runs it is made of, what they come to together, and the page."""

import json
import shutil
from statistics import fmean
from unittest import mock

import numpy as np
import pytest

from harness.experiments.any_recipe import load_any_recipe, run_any_recipe
from harness.recipes.loading import load_recipe
from harness.run import draws
from harness.run.draw_results import compute_draw_results, control_of
from harness.run.draws import list_draws, run_draws
from harness.support import stats
from harness.support.artifacts import read_json
from harness.support.errors import HarnessError
from harness.support.run_results import parse_experiment_results
from helpers.report_runs import answers, recipe, write_displacement, write_run
from helpers.run_inputs import PROMPTS, SMALL
from reports.experiments.page import render_experiment


def drawn(*overrides):
    return load_recipe("miniature", overrides)


def test_each_table_of_each_organism_is_a_run():
    found = list_draws(drawn("pair_seeds=[4,5]", "organism_seeds=[0,3]", "seeds=[7,8]"))
    assert [draw.name for draw in found] == [
        "organism-0-pairs-4",
        "organism-0-pairs-5",
        "organism-3-pairs-4",
        "organism-3-pairs-5",
    ]
    last = found[-1].recipe
    assert (last.organism_seed, last.pairs.seed, last.seeds, last.is_drawn) == (3, 5, (7, 8), False)


def test_models_take_the_place_of_the_model():
    found = list_draws(drawn("models=[a,b]", "pair_seeds=[1]"))
    assert [(draw.name, draw.recipe.model, draw.recipe.pairs.seed) for draw in found] == [
        ("model-0-pairs-1", "a", 1),
        ("model-1-pairs-1", "b", 1),
    ]
    assert [draw.name for draw in list_draws(drawn("model=a", "pair_seeds=[2]"))] == ["model-0-pairs-2"]


def test_relative_models_start_at_the_recipe(tmp_path):
    (tmp_path / "near").mkdir()
    keys = {"name": "mine", "model": "near", "models": ["near", "far/away"], "arms": {"raw": {}}}
    (tmp_path / "mine.yaml").write_text(json.dumps(keys))
    assert load_any_recipe(str(tmp_path / "mine.yaml")).models == (str(tmp_path / "near"), "far/away")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["pair_seeds=[1,1]"], "pair_seeds: each seed once"),
        (["pair_seeds=3"], "is a list"),
        (["models=[a,a]"], "models: each model once"),
        (["models=[a,b]", "organism_seeds=[1]"], "models: give these or organism_seeds"),
        (["models=[a,b]", "revision=main"], "revision: which of models is it of"),
        (["model=a", "organism_seeds=[1]"], "only `model: miniature`"),
        (["preferences=a.jsonl", "pair_seeds=[1]"], "the pairs are those of preferences"),
        (["pair_seeds=[1,2]", "pairs.seed=5"], "pairs.seed: 5 has no effect beside pair_seeds"),
        (["organism_seeds=[1,2]", "organism_seed=5"], "organism_seed: 5 has no effect"),
    ],
)
def test_draws_that_cannot_be(overrides, told):
    with pytest.raises(HarnessError, match=told):
        drawn(*overrides)


def test_the_control_keeps_as_many_at_random_and_is_else_alike():
    arms = load_recipe("miniature").arms
    assert control_of(arms, "ches_filtered") == "random"
    assert control_of(arms, "influence_filtered") == "random_half"
    assert control_of(arms, "raw") is None
    assert control_of(arms, "random") is None
    assert control_of({name: arm for name, arm in arms.items() if name != "random"}, "ches_filtered") is None


@pytest.fixture
def four_draws(tmp_path):
    """Two tables of each of two organisms, two trainings on each: runs written by hand, as `run_draws` lays them."""
    whole = recipe((0, 1), pair_seeds=(0, 1), organism_seeds=(0, 1))
    found = []
    for draw in list_draws(whole):
        root = write_run(tmp_path / "run" / "draws" / draw.name)
        for arm in draw.recipe.arms:
            write_displacement(root, arm)
        found.append((draw.name, draw.recipe, root))
    return whole, found


def test_results_over_draws_by_hand(four_draws):
    """All draws alike: the mean is that of one, the draws add nothing, and the prompts' interval is what is left."""
    whole, found = four_draws
    results = compute_draw_results(whole, found)
    one = read_json(found[0][2] / "results.json")["arms"]
    assert [draw.name for draw in results.draws] == [name for name, *_ in found]
    for name, arm in results.arms.items():
        rate, alone = arm.metrics.refusal_rate.train, one[name]["metrics"]["refusal_rate"]["train"]
        assert rate.value == pytest.approx(alone["value"])
        assert rate.per_draw == [pytest.approx(alone["per_seed"])] * 4
        assert (rate.over, rate.variance.models, rate.variance.pairs) == ("models", 0, 0)
        assert (rate.low, rate.high) == pytest.approx((rate.prompts.low, rate.prompts.high))
    change = results.arms["raw"].change_from_baseline.refusal_rate.train
    assert change.value == pytest.approx(one["raw"]["change_from_baseline"]["refusal_rate"]["train"]["value"])
    assert results.arms["raw"].trained_logprob_change.value == pytest.approx(
        one["raw"]["trained_logprob_change"]["value"]
    )
    assert results.arms["raw"].started_refusing.n == 4
    assert parse_experiment_results(results.to_json(), "results.json") == results


def test_the_draws_are_in_the_interval(four_draws):
    """One draw loses the refusals that the others keep: the interval is Student's on the organisms' means, and more."""
    whole, found = four_draws
    before = compute_draw_results(whole, found).arms["raw"].metrics.refusal_rate.train
    for _, _, root in found[:2]:
        shutil.rmtree(root)
    write_run(found[0][2], given=lambda arm, seed, judge="lexical": answers("raw", seed, judge=judge))
    write_run(found[1][2], given=lambda arm, seed, judge="lexical": answers("baseline", seed, judge=judge))
    for _, recipe_of_draw, root in found[:2]:
        for arm in recipe_of_draw.arms:
            write_displacement(root, arm)
    after = compute_draw_results(whole, found).arms["raw"].metrics.refusal_rate.train
    nested = np.array(after.per_draw).reshape(2, 2, 2)
    reach = stats.nested_mean(nested, stats.Interval(after.value, after.value))
    assert after.value == pytest.approx(nested.mean())
    assert nested[0, 1].mean() > nested[0, 0].mean()
    assert after.high - after.low > before.high - before.low
    assert after.high >= min(1.0, reach.high)
    assert after.same_models.high <= after.high
    assert after.variance.pairs > 0


def test_the_page_and_the_print(four_draws, tmp_path, capsys):
    from harness.cli.printing.results import print_results

    whole, found = four_draws
    results = compute_draw_results(whole, found)
    root = tmp_path / "run"
    (root / "results.json").write_text(json.dumps(results.to_json()))
    machine = {"platform": "Linux", "threads": 1}
    (root / "manifest.json").write_text(json.dumps({"versions": {"torch": "2"}, "machine": machine}))
    page = render_experiment(root)
    assert "over 4 draws" in page
    assert "2 starting models, 2 tables of pairs of each, 2 trainings on each table" in page
    assert 'href="draws/organism-1-pairs-1/report.html"' in page
    assert "<script" not in page
    print_results(results)
    printed = capsys.readouterr().out
    assert "2 starting models, 2 tables of pairs of each" in printed
    assert max(map(len, printed.splitlines())) <= 120


@pytest.mark.parametrize(
    ("folder", "overrides", "told"), [("arms", ["pair_seeds=[0]"], "one draw"), ("draws", [], "several")]
)
def test_two_layouts_in_one_directory_are_refused(tmp_path, folder, overrides, told):
    (tmp_path / folder).mkdir()
    with pytest.raises(HarnessError, match=f"holds a run on {told}"):
        run_any_recipe(drawn(*overrides), tmp_path)


def test_a_draw_that_fails_is_named(tmp_path):
    def fails(recipe, out, most):
        raise HarnessError("the training diverged", place="arm raw")

    with mock.patch.object(draws, "run_regression", fails), pytest.raises(HarnessError) as told:
        run_draws(drawn("pair_seeds=[0,1]"), tmp_path / "run")
    assert told.value.place == "draw organism-0-pairs-0, arm raw"
    assert read_json(tmp_path / "run" / "manifest.json")["finished"] is False


@pytest.mark.slow
def test_two_tables_of_a_tiny_model(tmp_path, micro, command):
    """The whole of it: two tables, two trainings; again it has nothing to do; a further table is one more run."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(PROMPTS)
    keys = [f"model={micro}", f"prompts={file}", *SMALL, "arms={raw: {}}", "pair_seeds=[3,4]"]
    out = tmp_path / "run"
    results = run_any_recipe(load_any_recipe("miniature", keys, seeds=2), out)
    raw = results.arms["raw"].metrics.refusal_rate.train
    assert [draw.pair_seed for draw in results.draws] == [3, 4]
    assert raw.over == "pairs"
    alone = [read_json(out / f"draws/model-0-pairs-{seed}/results.json")["arms"]["raw"] for seed in (3, 4)]
    assert raw.value == pytest.approx(fmean(each["metrics"]["refusal_rate"]["train"]["value"] for each in alone))
    assert (out / "report.html").is_file()
    with mock.patch("harness.run.work.train_arm", side_effect=AssertionError):
        assert run_any_recipe(load_any_recipe("miniature", keys, seeds=2), out) == results
    page = command("report", out, "--out", tmp_path / "page.html")
    assert page.returncode == 0, page.stderr
    told = json.loads(command("run", "miniature", "--out", out, "--dry-run", "--json", *with_sets(keys)).stdout)
    assert (told["draws"], told["draws_left"]) == (2, 0)


def with_sets(keys):
    return [part for key in keys for part in ("--set", key)]
