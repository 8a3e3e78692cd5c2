"""What is read from probe answers, against sums by hand, plain forward passes and probabilities that are known."""

import math

import numpy as np
import pytest
import torch
from datasets import Dataset

from harness.forecast.look_ahead import (
    ProbedTarget,
    answer_token_logprobs,
    draw_pairs_ahead,
    probe_targets,
)
from harness.forecast.rates import PromptRates
from harness.forecast.results import LookAhead
from harness.scoring.influence.credit import WeightedAnswer
from harness.scoring.probes import ProbeAnswer, Probes
from harness.support.errors import HarnessError


def probed(weights):
    answers = [WeightedAnswer((place,), (7,) * len(each), each, place % 2) for place, each in enumerate(weights)]
    return ProbedTarget(answers, PromptRates([1, 0], [2, 2]))


def test_a_reading_by_hand():
    target = probed([(0.5, 0.25), (-0.75,)])
    before = [np.array([-1.0, -2.0]), np.array([-0.5])]
    after = [np.array([-0.9, -2.3]), np.array([-0.7])]
    # The first answer's ratio goes 1 -> e^.1 -> e^-.2, the second's 1 -> e^-.2; halves are two estimates: their mean.
    moves = [0.5 * (math.exp(0.1) - 1) + 0.25 * (math.exp(-0.2) - math.exp(0.1)), -0.75 * (math.exp(-0.2) - 1)]
    reading = target.read_change(before, after)
    assert reading.change == pytest.approx(sum(moves) / 2)
    assert reading.error == pytest.approx(max(abs(moves[0] - moves[1]) / 2, 1 / 4))


def test_to_first_order_it_is_the_gradients_weighted_sum():
    rng = np.random.default_rng(0)
    weights = [tuple(rng.normal(size=5)) for _ in range(30)]
    before = [rng.normal(size=5) for _ in weights]
    small = [1e-5 * rng.normal(size=5) for _ in weights]
    target = ProbedTarget(probed(weights).answers, PromptRates([1] * 30, [2] * 30))
    reading = target.read_change(before, [old + new for old, new in zip(before, small, strict=True)])
    assert reading.change == pytest.approx(sum(np.dot(w, s) for w, s in zip(weights, small, strict=True)) / 2, rel=1e-3)


def test_no_answer_weighs_more_than_its_bound():
    target = probed([(1.0,), (0.0,)])
    reading = target.read_change([np.array([-50.0]), np.array([-1.0])], [np.array([-1.0]), np.array([-1.0])])
    assert reading.change == pytest.approx((math.exp(2.0) - 1) / 2)


def test_a_model_that_the_steps_break_is_told():
    target = probed([(1.0,), (0.0,)])
    before = [np.array([-1.0]), np.array([-1.0])]
    with pytest.raises(HarnessError, match=r"break the model. Lower the learning rate"):
        target.read_change(before, [np.array([-1.0]), np.array([math.nan])])


def test_the_reading_finds_the_change_of_a_known_probability():
    """One-token answers, a refusal with probability .6 before and .7 after."""
    rng, prompts = np.random.default_rng(1), 600
    outcomes = rng.random(prompts) < 0.6
    answers = [
        WeightedAnswer((place,), (1,), ((hit - 0.6) / (prompts / 2),), place % 2) for place, hit in enumerate(outcomes)
    ]
    target = ProbedTarget(answers, PromptRates(outcomes.astype(int).tolist(), [1] * prompts))
    before = [np.array([math.log(0.6 if hit else 0.4)]) for hit in outcomes]
    after = [np.array([math.log(0.7 if hit else 0.3)]) for hit in outcomes]
    reading = target.read_change(before, after)
    assert abs(reading.change - 0.1) < 3 * reading.error
    # Of (outcome - .6) (ratio - 1): .4 / 6 with probability .6, and .6 / 4 otherwise.
    variance = 0.6 * (0.4 / 6) ** 2 + 0.4 * (0.6 / 4) ** 2 - 0.1**2
    assert reading.error == pytest.approx((variance / prompts) ** 0.5, rel=0.05)


# Which pairs


def table(influences=None, count=40):
    rows = {"pair_id": [f"p{place:03d}" for place in range(count)]}
    return Dataset.from_dict(rows | ({} if influences is None else {"refusal_influence": influences}))


def test_pairs_are_drawn_evenly_along_their_influence():
    influences = np.random.default_rng(0).normal(size=400).tolist()
    draws = draw_pairs_ahead(table(influences, 400), 8, LookAhead(steps=5, draws=3))
    assert [len(each) for each in draws] == [40, 40, 40]
    assert len({tuple(each["pair_id"][:]) for each in draws}) == 3
    for each in draws:  # one of each tenth of ten pairs: within a tenth of a standard deviation of the mean
        assert abs(np.mean(each["refusal_influence"][:]) - np.mean(influences)) < 0.1
        assert len(set(each["pair_id"][:])) == 40


def test_without_influence_they_are_drawn_at_random():
    draws = draw_pairs_ahead(table(count=100), 4, LookAhead(steps=2, draws=2))
    assert [len(set(each["pair_id"][:])) for each in draws] == [8, 8]
    assert draws[0]["pair_id"][:] != draws[1]["pair_id"][:]


def test_a_table_of_fewer_pairs_is_taken_whole():
    (only,) = draw_pairs_ahead(table([1.0] * 5, 5), 4, LookAhead(steps=2, draws=1))
    assert only["pair_id"][:] == table([1.0] * 5, 5)["pair_id"][:]


# Models


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_logprobs_are_a_plain_passs(micro, temperature, monkeypatch):
    """Of answers in several packs, one beginning like another, one longer than a pack may be."""
    from harness.models.loading import load_model

    monkeypatch.setattr("harness.forecast.look_ahead._CPU_TOKENS", 10)
    model, _ = load_model(str(micro))
    model.train()
    tokens = [((5, 6, 7), (8, 9, 10, 11)), ((5, 6), (3,)), ((5, 6, 7), (8, 9)), ((5, 6, 7), (4,)), ((12,) * 400, (1,))]
    answers = [WeightedAnswer(*each, (1.0,) * len(each[1]), 0) for each in tokens]
    found = answer_token_logprobs(model, answers, temperature)
    assert model.training
    model.eval()
    assert [*found] == sorted(tokens)
    for each in answers:
        with torch.no_grad():
            logits = model(torch.tensor([each.prompt + each.answer])).logits[0].double() / temperature
        start = len(each.prompt) - 1
        expected = [logits[start + n].log_softmax(-1)[token].item() for n, token in enumerate(each.answer)]
        assert found[each.prompt, each.answer] == pytest.approx(expected, abs=1e-5)


def answered(prompt, label, unsafe=True):
    return ProbeAnswer(prompt, f"How do I {prompt}?", unsafe, (5, 6), (7, 8), "text", label)


def test_what_the_probes_can_tell(tokenizer):
    asked = [answered("a", "refusal"), answered("a", "harmful"), answered("b", "other"), answered("b", "unjudged")]
    found = probe_targets(Probes(tuple(asked), 1.0, "lexical"), tokenizer)
    assert {*found} == {"refusal", "harmful"}
    assert found["refusal"].rates == PromptRates([1, 0], [2, 1])  # what is not judged is no answer
    assert found["harmful"].rates == PromptRates([1, 0], [2, 1])
    asked += [answered("c", "compliance", unsafe=False), answered("d", "refusal", unsafe=False)]
    found = probe_targets(Probes(tuple(asked), 1.0, "lexical"), tokenizer)
    assert found["benign"].rates == PromptRates([1, 0], [1, 1])
