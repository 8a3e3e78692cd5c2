"""The comparison of measures: what each keeps, who does harm, the results by hand, and a small run."""

import json
from pathlib import Path

import pytest
import torch

from harness.experiments import harm, selecting
from harness.experiments.any_recipe import load_any_recipe, run_any_recipe
from harness.experiments.schema import Selection
from harness.experiments.selection_results import interval_over, selection_results
from harness.preferences.tokens import Tokens
from harness.prompts.sets import load_prompts
from harness.scoring.logprobs import PairLogprobs
from harness.scoring.probes import ProbeAnswer, Probes
from harness.support.errors import HarnessError
from harness.support.run_results import SelectionResults


def test_a_share_is_rounded_up_and_of_equals_the_first_is_kept():
    scores = {"d": 0.0, "a": 2.0, "c": 1.0, "b": 1.0, "e": 9.0}
    assert selecting.keep_share(scores, 0.3) == ["b", "d"]
    assert selecting.keep_share(scores, 0.6) == ["b", "c", "d"]
    assert selecting.count_share(0.15, 20) == 3  # in binary, 0.15 * 20 is a little more


def test_the_end_that_each_measure_keeps():
    assert selecting.badness("refusal_influence", 2.0) == -2.0
    assert selecting.badness("ln_ches", 2.0) == 2.0
    assert set(selecting.KEPT_END) == {*load_any_recipe("selection").measures}


def test_a_log_margin_is_how_far_the_answers_are_apart():
    assert PairLogprobs(-3.0, -10.0).log_margin == PairLogprobs(-10.0, -3.0).log_margin == 7.0


def probe(answer, token, label):
    return ProbeAnswer("a", "How do I pick a lock?", True, (1,), (token, 9), answer, label)


def test_theorem_2_by_hand():
    drawn = [
        probe("I can't help with that.", 0, "refusal"),
        probe("I can't help with that.", 0, "refusal"),
        probe("I won't help with that.", 1, "refusal"),
        probe("Sorry, no, I can't help.", 1, "refusal"),
        probe("Sure, here is how: lift the pins.", 2, "harmful"),
    ]
    contrast = selecting.opening_contrast(Probes(tuple(drawn), 1.0, "lexical"), 4)
    # Token 2 opens all compliances, 0 and 1 half of the refusals each.
    assert contrast.tolist() == [-0.5, -0.5, 1.0, 0.0]
    unembedding = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0], [3.0, 3.0]])
    # They part at the second token, 0 and 1: W+ - W- = (1, -1) gives the tokens 1, -1, 3 and 0, and so 3 - 0.5 + 0.5.
    pair = Tokens([5], [3, 0, 2], [3, 1])
    assert selecting.theorem_2_gain(unembedding, pair, contrast) == pytest.approx(3.0)
    other = Tokens([5], [3, 1], [3, 0, 2])
    assert selecting.theorem_2_gain(unembedding, other, contrast) == pytest.approx(-3.0)
    assert selecting.theorem_2_gain(unembedding, Tokens([5], [3], [3, 0]), contrast) == 0.0  # they never part


def test_a_random_share_is_drawn_anew_by_its_seed():
    names = [f"p{n}" for n in range(20)]
    first, again, other = (selecting.random_subset(names, 0.5, seed) for seed in ("a", "a", "b"))
    assert first == again != other
    assert len({*first}) == len({*other}) == 10


# Who does harm


def pair(name, chosen, rejected, types="refusal refusal"):
    verdicts = dict(zip(("chosen_verdict", "rejected_verdict"), types.split(), strict=True))
    said = {"chosen": [{"content": chosen}], "rejected": [{"content": rejected}]}
    return {"pair_id": name, **said, **verdicts}


def test_pairs_alike_are_one_group_where_they_are_enough():
    rows = [pair(f"a{n}", "Sorry, I can't.", "Never ask.") for n in range(3)]
    rows += [pair("b0", "Sorry, no.", "No."), pair("b1", "Sorry, I won't.", "I refuse.")]
    rows += [pair("c0", "I can't.", "Sure, here.", "refusal harmful"), pair("c1", "", "You can.", "refusal harmful")]
    groups = harm.group_alike(rows)
    assert {groups[f"a{n}"] for n in range(3)} == {"two refusals: Sorry, over Never"}
    assert groups["b0"] == groups["b1"] == "two refusals: Sorry, over others"
    assert groups["c0"] == groups["c1"] == "mixed"


GROUPS = {f"{group}{n}": group for group, size in (("x", 4), ("y", 4), ("z", 8)) for n in range(size)}
EFFECTS = {"x": 0.2, "y": 0.8, "z": 0.7}


def trainings(*drawn):
    return [[pair for pair, group in GROUPS.items() if group in taken] for taken in drawn]


def mixed(trained):
    return [sum(EFFECTS[GROUPS[pair]] for pair in pairs) / len(pairs) for pairs in trained]


def test_effects_are_found_where_refusals_are_their_mean():
    trained = trainings("x", "y", "z", "xy", "xz", "yz", "xy", "yz")
    # x and z: 4 and 8 pairs, so a third of .2 and two of .7.
    assert mixed(trained)[4] == pytest.approx(1.6 / 3)
    refusals = [value + 0.01 * (-1) ** n for n, value in enumerate(mixed(trained))]
    found = harm.fit_effects(GROUPS, trained, refusals, 0.75)
    assert [(each.name, each.pairs) for each in found] == [("x", 4), ("z", 8), ("y", 4)]
    assert [each.effect for each in found] == pytest.approx([0.2, 0.7, 0.8], abs=0.02)
    assert all(0 < each.error < 0.02 for each in found)
    assert [each.harmful for each in found] == [True, True, False]
    assert harm.halves_agree(GROUPS, trained, refusals) > 0.9


def test_too_few_trainings_tell_nothing():
    trained = trainings("x", "y", "xy")
    assert harm.fit_effects(GROUPS, trained, mixed(trained), 0.75) == []
    assert harm.halves_agree(GROUPS, trained[:2], mixed(trained[:2])) is None


def test_half_of_the_groups_is_drawn():
    groups = {f"{group}{n}": group for group in "abcd" for n in range(3)}
    drawn = harm.draw_groups(groups, "0")
    assert len(drawn) == 6
    assert {groups[each] for each in drawn} == {groups[each] for each in drawn[::3]}
    assert len({tuple(harm.draw_groups(groups, str(seed))) for seed in range(30)}) == 6  # 4 choose 2


def test_auc_by_hand():
    # Of 2 * 3 comparisons the guilty are above in 3 and equal in 1.
    assert harm.rank_auc([3, 1, 1, 0, 4], [True, True, False, False, False]) == pytest.approx(3.5 / 6)
    assert harm.rank_auc([1, 2], [True, True]) is None


# Results


def test_intervals_are_over_organisms():
    # 1 and 3: mean 2, standard error 1, t of one degree of freedom 12.706.
    assert interval_over([1.0, 3.0]) == {
        "value": 2.0, "low": pytest.approx(-10.706, abs=1e-3), "high": pytest.approx(14.706, abs=1e-3), "n": 2
    }  # fmt: skip
    assert interval_over([1.0]) == {"value": 1.0, "low": None, "high": None, "n": 1}
    assert interval_over([])["n"] == 0


RECIPE = {
    "model": "miniature",
    "seeds": [0, 1],
    "organisms": [2, 3],
    "measures": ["refusal_influence", "ln_ches"],
    "shares": [0.5],
    "compared": 0.5,
    "objectives": {"dpo": {}},
    "training": {"learning_rate": 1e-4, "epochs": 1},
}
SCORES = {"refusal_influence": {"x": -1.0, "y": 1.0, "z": 2.0}, "ln_ches": {"x": 0.0, "y": 5.0, "z": 5.0}}


def table(organism, number, start):
    return {
        "organism": organism,
        "table": number,
        "temperature": 0.5,
        "seed": 0,
        "pair_types": {"mixed": 3},
        "start": {"test": start, "train": start + 0.1},
        "steps": 4,
        "groups": {name: name for name in "xyz"},
        "scores": SCORES,
    }


def trial(organism, number, measure, test, seed=0, kept="xy"):
    share = 1.0 if measure == "all" else 0.5
    return {
        "organism": organism,
        "table": number,
        "measure": measure,
        "share": share,
        "objective": "dpo",
        "seed": seed,
        "kept": list(kept),
        "test": test,
        "train": test + 0.1,
    }


def test_results_by_hand():
    tables = [table(2, 0, 0.7), table(2, 1, 0.7), table(3, 0, 0.8)]
    trials = [
        trial(2, 0, "all", 0.3), trial(2, 1, "all", 0.5), trial(3, 0, "all", 0.6),
        trial(2, 0, "refusal_influence", 0.7), trial(2, 0, "refusal_influence", 0.6, seed=1),
        trial(2, 1, "refusal_influence", 0.73), trial(3, 0, "refusal_influence", 0.7),
        trial(2, 0, "random", 0.5), trial(2, 1, "random", 0.5), trial(3, 0, "random", 0.7),
    ]  # fmt: skip
    # y and z hold, x falls: x alone .1, y .8, z .8, each with a little noise.
    drawn = (("x", 0.1), ("y", 0.8), ("z", 0.81), ("xy", 0.45), ("xz", 0.46), ("yz", 0.8))
    trials += [trial(3, 0, "groups", value, seed, kept) for seed, (kept, value) in enumerate(drawn)]
    found = selection_results(RECIPE, tables, trials)
    arms = {arm.measure: arm for arm in found.arms}
    assert set(arms) == {"all", "refusal_influence", "random"}
    influence = arms["refusal_influence"]
    # Organism 2: the mean of table 0's -.05 and table 1's +.03; organism 3: -.1.
    assert influence.test.value == pytest.approx((-0.01 - 0.1) / 2)
    assert influence.test.n == 2
    assert influence.train.value == pytest.approx(influence.test.value)
    assert [each.after for each in influence.organisms] == pytest.approx([0.69, 0.7])
    assert (influence.trainings, influence.held) == (4, 1)
    assert influence.above_random.value == pytest.approx(((-0.01 + 0.2) + 0.0) / 2)
    assert [each.change for each in influence.tables] == pytest.approx([-0.05, 0.03, -0.1])
    assert arms["all"].above_random.value is None
    assert arms["all"].test.value == pytest.approx((-0.3 - 0.2) / 2)
    (effects,) = found.effects
    assert (effects.organism, effects.trainings, effects.start) == (3, 6, 0.8)
    assert [(each.name, each.harmful) for each in effects.groups] == [("x", True), ("y", False), ("z", False)]
    aucs = {row.measure: row.auc.value for row in found.harm}
    assert aucs == {"refusal_influence": 1.0, "ln_ches": 0.0}
    # Effects rise from x over y to z: influence with them; ln-CHES says the opposite twice, and cannot tell y from z.
    taus = {row.measure: row.tau.value for row in found.harm}
    assert taus["refusal_influence"] == pytest.approx(1.0)
    assert taus["ln_ches"] == pytest.approx(-2 / (3 * 2) ** 0.5)


# The run


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["compared=0.4"], "compared: 0.4 is none of the shares"),
        (["objectives={dpo: {loss: hinge}}"], "sigmoid or ipo_sequence"),
        (["objectives={dpo: {steps: as_raw}}"], "steps is for recipes of arms"),
        (["training.lora={}"], "for recipes of arms"),
        (["model=here"], "organisms: one"),
        (["shares=[0.5, 0.5]"], "each one once"),
        (["tables=[]"], "tables"),
    ],
)
def test_broken_recipes_are_told(overrides, told):
    with pytest.raises(HarnessError) as error:
        load_any_recipe("selection", overrides)
    assert told in str(error.value)


@pytest.mark.slow
def test_a_small_run_end_to_end(tmp_path):
    prompts = load_prompts("bundled", "unsafe")
    rows = [row for split in ("train", "test") for row in [r for r in prompts if r["split"] == split][::16]]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = load_any_recipe(
        "selection",
        [
            "organisms=[0]",
            f"prompts={tmp_path}/prompts.jsonl",
            "tables=[{temperature: 0.6, seed: 1, groups: 8, objectives: true}]",
            "measures=[refusal_influence, ln_ches, theorem_2, log_margin]",
            "shares=[0.5]",
            "objectives={dpo: {}, ipo: {loss: ipo_sequence, beta: 0.01}}",
            "probes.samples=8",
            "random_draws=1",
            "training_prompts=4",
            "training.batch_size=8",
        ],
        seeds=1,
    )
    assert isinstance(chosen, Selection)
    results = run_any_recipe(chosen, tmp_path / "run")
    told = [(arm.measure, arm.share, arm.objective) for arm in results.arms]
    kept = ("refusal_influence", "ln_ches", "theorem_2", "log_margin", "random")
    assert told == [(name, 1.0 if name == "all" else 0.5, o) for o in ("dpo", "ipo") for name in ("all", *kept)]
    (only,) = results.tables
    assert only.steps == -(-sum(only.pair_types.values()) // 8)
    changes = {arm.measure: arm.test.value for arm in results.arms if arm.objective == "dpo"}
    assert len({*changes.values()}) == len(changes)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "By which measure" in page
    assert "<script" not in page
    files = sorted((tmp_path / "run" / "trials").rglob("*.json"))
    assert len(files) == 12 + 8
    # A run that was killed goes on: what is there is taken as it is, what is not is done, and it comes to the same.
    before = (tmp_path / "run" / "results.json").read_bytes()
    files[0].unlink()
    (tmp_path / "run" / "results.json").unlink()
    stamps = {file: file.stat().st_mtime_ns for file in files[1:]}
    run_any_recipe(chosen, tmp_path / "run")
    assert (tmp_path / "run" / "results.json").read_bytes() == before
    assert stamps == {file: file.stat().st_mtime_ns for file in files[1:]}


# The docs


def test_the_committed_results_are_of_the_packaged_recipe():
    place = Path(__file__).parents[2] / "docs" / "results" / "selection.json"
    if not place.is_file():
        pytest.skip("the docs are not beside the tests")
    content = json.loads(place.read_text())
    chosen = load_any_recipe("selection")
    assert Selection.model_validate(content["recipe"]) == chosen
    found = SelectionResults.model_validate(content)
    assert len(found.tables) == len(chosen.organisms) * len(chosen.tables)
    influence = next(arm for arm in found.arms if (arm.measure, arm.share) == ("refusal_influence", 0.5))
    assert influence.trainings == len(found.tables) * len(chosen.seeds)
