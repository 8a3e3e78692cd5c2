"""Forecasts: what is put together by hand, and that real first steps foretell a training of the miniature."""

import math
from dataclasses import replace

import pytest
from datasets import Dataset

from harness.forecast.extrapolation import Shift
from harness.forecast.forecasting import (
    Anchor,
    forecast_table,
    forecast_training,
    keep_best,
    shifts_between,
    usable_pairs,
)
from harness.forecast.forecasting import _push_by_column as push_by_column
from harness.forecast.forecasting import _push_by_type as push_by_type
from harness.forecast.look_ahead import answer_token_logprobs
from harness.forecast.results import GroupPush, LookAhead
from harness.support.errors import HarnessError

REFUSAL, COMPLIANCE, NAN = "refusal", "harmful", float("nan")


def table(influences, **columns):
    rows = {
        "pair_id": [f"p{place}" for place in range(len(influences))],
        "refusal_influence": influences,
        "refusal_influence_se": [0.5] * len(influences),
    }
    return Dataset.from_dict(rows | columns)


# Which pairs


def test_the_best_share_is_rounded_up_and_ties_go_to_the_first():
    assert keep_best(table([1.0, 3.0, 2.0, 2.0, -1.0]), 0.5)["pair_id"][:] == ["p1", "p2", "p3"]
    assert keep_best(table([1.0, 3.0, 2.0, 2.0, -1.0]), 0.4)["pair_id"][:] == ["p1", "p2"]


def test_pairs_without_an_influence_are_counted_by_reason():
    usable, reasons = usable_pairs(table([1.0, None, NAN], reason=[None, "empty chosen answer", None]))
    assert usable["pair_id"][:] == ["p0"]
    assert reasons == {"empty chosen answer": 1, "no score": 1}


@pytest.mark.parametrize("given", [table([None, NAN]), Dataset.from_dict({"pair_id": ["p0"], "ln_ches": [1.0]})])
def test_a_table_without_influences_is_told(given):
    with pytest.raises(HarnessError, match="refusal_influence"):
        usable_pairs(given)


# Groups


@pytest.mark.parametrize("name", ["pair_id", "refusal_influence", "refusal_influence_se"])
def test_a_table_that_lacks_a_column_is_told_at_once(name):
    with pytest.raises(HarnessError, match=f"no column '{name}'"):
        usable_pairs(table([1.0, 2.0]).remove_columns(name))


def test_only_pairs_with_finite_influences_on_every_target_are_used():
    nulls = [0.1, 0.1, None, 0.1]
    given = table([1.0, math.inf, 2.0, 3.0], benign_influence=nulls, benign_influence_se=[0.1] * 4)
    usable, reasons = usable_pairs(given)
    assert usable["refusal_influence"][:] == [1.0, 3.0]
    assert reasons == {"no score": 2}


def test_an_influence_that_is_text_is_none():
    with pytest.raises(HarnessError, match="no pair has a refusal_influence"):
        usable_pairs(table(["high", "low"]))


def test_groups_have_the_mean_of_their_pairs():
    verdicts = {
        "chosen_verdict": [REFUSAL, REFUSAL, REFUSAL, COMPLIANCE, "unjudged"],
        "rejected_verdict": [REFUSAL, REFUSAL, COMPLIANCE, COMPLIANCE, REFUSAL],
    }
    found = push_by_type(table([-1.0, -3.0, 5.0, 0.25, 9.0], **verdicts))
    assert [(each.name, each.pairs, each.influence["refusal"]) for each in found] == [
        ("two_refusals", 2, (-2.0, 0.5)),
        ("mixed", 1, (5.0, 0.5)),
        ("two_non_refusals", 1, (0.25, 0.5)),
    ]
    assert [each.direction("refusal") for each in found] == ["falls", "rises", "either way"]


def test_hazards_come_with_the_worst_first_and_unnamed_ones_in_none():
    found = push_by_column(table([1.0, -1.0, 3.0, 7.0], hazard=["Hate", "Privacy", "Hate", None]), "hazard")
    assert [(each.name, each.influence["refusal"][0]) for each in found] == [("Privacy", -1.0), ("Hate", 2.0)]
    assert push_by_column(table([1.0]), "hazard") == []
    assert push_by_type(table([1.0])) == []


def test_every_scored_target_is_there():
    columns = {"harmful_influence": [2.0, 4.0], "harmful_influence_se": [1.0, 2.0], "hazard": ["Hate"] * 2}
    (group,) = push_by_column(table([1.0, 0.0], **columns), "hazard")
    assert group == GroupPush("Hate", 2, {"refusal": (0.5, 0.5), "harmful": (3.0, 1.5)})


# Between two look-aheads


def test_shares_between_lie_on_the_line_of_mean_influence():
    anchors = [
        Anchor(2, -1.0, {REFUSAL: Shift(-1.0, 0.2)}),
        Anchor(1, 1.0, {REFUSAL: Shift(0.5, 0.1)}),
    ]
    assert shifts_between(-1.0, anchors)[REFUSAL] == Shift(-1.0, 0.2)
    assert shifts_between(1.0, anchors)[REFUSAL] == Shift(0.5, 0.2)
    assert shifts_between(2.0, anchors)[REFUSAL] == Shift(pytest.approx(1.25), 0.2)
    same = [anchors[1], anchors[1]]
    assert shifts_between(9.0, same)[REFUSAL] == Shift(0.5, 0.1)


# Real steps


@pytest.fixture(scope="module")
def miniature():
    """The miniature, answers to probe prompts, and pairs of a refusal over a compliance, scored."""
    from harness.models.loading import load_model
    from harness.models.paths import ModelPath
    from harness.organism.answers import gold_answers
    from harness.organism.store import ensure_miniature
    from harness.prompts.sets import load_prompts
    from harness.scoring.probes import draw_probes
    from harness.scoring.scorer import score

    path = ModelPath(str(ensure_miniature()))
    model, tokenizer = load_model(path)
    rows = [row for row in load_prompts("bundled", "unsafe") if row["split"] == "train"]
    probes = draw_probes(model, tokenizer, {True: rows[::16]}, samples=6, temperature=1.0)
    pairs = [
        {
            "pair_id": row["prompt_id"],
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "hazard": row["hazard"],
        }
        for row, (chosen, rejected) in zip(rows[1::16], gold_answers(rows[1::16]), strict=True)
    ]
    scored = score(Dataset.from_list(pairs), model, tokenizer, probes=probes)
    return path, model, tokenizer, probes, scored


def job_on(miniature, pairs, steps=6):
    from harness.recipes.schema import Arm, TrainingSettings
    from harness.scoring.logprobs import pair_logprobs
    from harness.training.jobs import TrainingJob

    path, model, tokenizer, _, _ = miniature
    settings = TrainingSettings(learning_rate=5e-5, batch_size=8, micro_batch_size=8)
    return TrainingJob(path, pairs, pair_logprobs(model, tokenizer, pairs), Arm(), settings, steps, 0, "test")


@pytest.mark.slow
def test_refusals_over_compliances_raise_refusals_and_the_other_way_round(miniature):
    """Also for harm, which goes against them; and the model is as it was."""
    _, model, tokenizer, probes, scored = miniature
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    turned = scored.rename_columns({"chosen": "rejected", "rejected": "chosen"})
    look = LookAhead(steps=3, draws=1)
    raising, lowering = (
        forecast_training(job_on(miniature, pairs), probes, tokenizer, look).changes for pairs in (scored, turned)
    )
    assert raising["refusal"].change > 0.01 > raising["refusal"].low  # 24 prompts leave it open
    assert lowering["refusal"].direction == "falls"
    assert lowering["refusal"].change < -0.1
    assert raising["harmful"].change < 0 < lowering["harmful"].change
    assert "benign" not in raising
    assert all(bool((weight == before[name]).all()) for name, weight in model.named_parameters())


@pytest.mark.slow
def test_a_table_is_forecast_whole_and_in_parts(miniature, monkeypatch):
    """The answers are read once before all steps, and after those on all pairs and on the better half."""
    _, _, tokenizer, probes, scored = miniature
    job, read = job_on(miniature, scored), []

    def counted(model, answers, temperature):
        read.append(len(answers))
        return answer_token_logprobs(model, answers, temperature)

    monkeypatch.setattr("harness.forecast.look_ahead.answer_token_logprobs", counted)
    found = forecast_table(job, probes, tokenizer, LookAhead(steps=2, draws=1), shares=(0.85, 0.5))
    assert found.whole.pairs == len(scored)
    assert [each.forecast.pairs for each in found.kept] == [math.ceil(0.85 * len(scored)), math.ceil(len(scored) / 2)]
    assert [each.looked for each in found.kept] == [False, True]
    values = sorted(scored["refusal_influence"][:])
    assert [each.influence["refusal"][0] for each in found.lowest] == values[:10]
    assert [each.influence["refusal"][0] for each in found.highest] == values[::-1][:10]
    assert found.kept[1].cut == sorted(values)[len(values) // 2]
    assert found.types == []
    assert sum(group.pairs for group in found.hazards) == len(scored)
    content = found.to_json()
    assert content["whole"]["changes"]["refusal"]["change"] > 0
    assert content["whole"]["steps"] == 6
    assert content["whole"]["look_ahead"] == {"steps": 2, "draws": 1}
    distinct = {(each.prompt_tokens, each.answer_tokens) for each in probes.answers}
    assert len(read) == 3
    assert {*read} <= {*range(1, len(distinct) + 1)}


@pytest.mark.slow
def test_it_looks_no_further_than_the_training_goes(miniature):
    _, _, tokenizer, probes, scored = miniature
    job = replace(job_on(miniature, scored.select(range(8))), steps=1)
    assert forecast_training(job, probes, tokenizer, LookAhead(steps=4, draws=1)).look_ahead.steps == 1
