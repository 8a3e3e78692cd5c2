"""Influence against inner products of gradients, pair by pair in float64; and that nothing of a model stays changed."""

import random

import peft
import pytest
import torch
from peft.tuners.lora import LoraModel
from transformers import Qwen3Config

from harness.preferences.tokens import Tokens
from harness.scoring.influence.credit import HALVES, WeightedAnswer, weigh_preferred
from harness.scoring.influence.directions import Directions, find_direction
from harness.scoring.influence.shifting import (
    Direction,
    difference_quotients,
    in_float32,
    quotients_of_halves,
)
from harness.scoring.influence.subspace import Subspace, weights_in_play
from harness.scoring.scorer import Scorer
from harness.support.errors import HarnessError
from helpers.preference_rows import CONFIGS, GROUPED, make

pytestmark = pytest.mark.slow

TEMPERATURE = 0.7
SHAPES = {name: CONFIGS[name] for name in ("llama", "gemma2", "qwen2")} | {"qwen3": Qwen3Config(**GROUPED, head_dim=12)}


def varied(config):
    """A model that is not certain of nothing: larger weights than those a configuration begins with."""
    model = make(config, "eager")
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(3)
    return model


def drawn_tokens(draw, shortest, longest):
    return tuple(draw.randrange(6, 250) for _ in range(draw.randint(shortest, longest)))


def probe_answers(draw, count=16):
    answers = [(drawn_tokens(draw, 3, 8), drawn_tokens(draw, 2, 9)) for _ in range(count)]
    return [
        WeightedAnswer(prompt, answer, tuple(draw.uniform(-1, 1) for _ in answer), i % HALVES)
        for i, (prompt, answer) in enumerate(answers)
    ]


def drawn_pairs(draw, count=10):
    prompts = [drawn_tokens(draw, 2, 9) for _ in range(count // 2)]
    return [
        Tokens(list(prompts[i // 2]), list(drawn_tokens(draw, 2, 12)), list(drawn_tokens(draw, 2, 12)))
        for i in range(count)
    ]


def logprobs(model, prompt, answer, temperature=1.0):
    """By the whole model, one sequence alone."""
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 : -1].double()
    return (logits / temperature).log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def margin(model, pair):
    return logprobs(model, pair.prompt, pair.chosen).sum() - logprobs(model, pair.prompt, pair.rejected).sum()


def inner_products(model, weights, target, pairs):
    ours = torch.autograd.grad(target, weights)
    found = []
    for pair in pairs:
        theirs = torch.autograd.grad(margin(model, pair), weights)
        found.append(float(sum((one * other).sum() for one, other in zip(ours, theirs, strict=True))))
    return found


def weighted_sum(model, answers):
    """Mean of the two halves' sums."""
    sums = [
        (logprobs(model, each.prompt, each.answer, TEMPERATURE) * torch.tensor(each.weights, dtype=torch.float64)).sum()
        for each in answers
    ]
    return torch.stack(sums).sum() / HALVES


def played_weights(model, subspace):
    """The weights of a subspace, chosen anew: adapters of peft as a training begins with them, or layers by name."""
    if subspace == "lora:4":
        config = peft.LoraConfig(r=4, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM")
        torch.manual_seed(0)
        LoraModel(model, config, "default")
        return [weight for name, weight in model.named_parameters() if "lora_B" in name]
    layers = ("",) if subspace is None else (".layers.1.", ".layers.2.")
    return [weight for name, weight in model.named_parameters() if any(part in name for part in layers)]


def assert_close(found, expected):
    """To a thousandth, root mean square against root mean square."""
    found, expected = torch.as_tensor(found), torch.as_tensor(expected)
    size = expected.pow(2).mean().sqrt()
    assert size > 1e-3  # far from rounding
    assert float((found - expected).pow(2).mean().sqrt()) < 1e-3 * size


@pytest.mark.parametrize("subspace", [None, "last:2", "lora:4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_influence_is_the_inner_product_of_gradients(shape, subspace):
    draw = random.Random(1)
    answers, pairs = probe_answers(draw), drawn_pairs(draw)
    model, parsed = varied(SHAPES[shape]), Subspace.parse(subspace) if subspace else None
    directions = Directions({"refusal": find_direction(model, answers, TEMPERATURE, "refusal", parsed)}, parsed)
    found = [score["refusal_influence"] for score in Scorer(model, 300, directions=directions)(pairs)]
    exact = varied(SHAPES[shape]).double()
    weights = played_weights(exact, subspace)
    assert_close(found, inner_products(exact, weights, weighted_sum(exact, answers), pairs))


def test_influence_on_the_preferred_answers_is_that_on_their_mean_likelihood():
    pairs = drawn_pairs(random.Random(2))
    model = varied(CONFIGS["llama"])
    directions = Directions({"preferred": find_direction(model, weigh_preferred(pairs), 1.0, "preferred")})
    found = [score["preferred_influence"] for score in Scorer(model, directions=directions)(pairs)]
    exact = varied(CONFIGS["llama"]).double()
    mean = torch.stack([logprobs(exact, pair.prompt, pair.chosen).sum() for pair in pairs]).mean()
    assert_close(found, inner_products(exact, [*exact.parameters()], mean, pairs))


def bits(model):
    return {name: weight.detach().clone().view(torch.uint8) for name, weight in model.named_parameters()}


def assert_untouched(model, before):
    after = bits(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("subspace", [None, "last:1", "lora:2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_is_left_as_it_was(dtype, subspace):
    model = varied(CONFIGS["llama"]).to(dtype).train()
    first, *others = model.parameters()
    first.grad = torch.full_like(first, 2)
    others[0].requires_grad_(False)
    before, draw = bits(model), random.Random(3)
    answers, pairs = probe_answers(draw), drawn_pairs(draw)
    parsed = Subspace.parse(subspace) if subspace else None
    with in_float32(model):
        directions = Directions({"refusal": find_direction(model, answers, TEMPERATURE, "refusal", parsed)}, parsed)
        Scorer(model, directions=directions)(pairs)
    assert_untouched(model, before)
    assert model.training
    assert {weight.dtype for weight in model.parameters()} == {dtype}
    assert (first.grad == 2).all()
    assert all(weight.grad is None for weight in others)
    assert [weight.requires_grad for weight in model.parameters()] == [True, False, *[True] * (len(others) - 1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("broken", [1, 2])
def test_weights_come_back_where_a_pass_breaks(dtype, broken):
    model = varied(CONFIGS["llama"]).to(dtype)
    before, passes = bits(model), []

    def measure():
        passes.append(None)
        if len(passes) == broken:
            raise KeyboardInterrupt
        return {0: 0.0}

    def move_weights():
        with in_float32(model), weights_in_play(model, None) as weights:
            gradient = {name: torch.ones_like(weight) for name, weight in weights.items()}
            difference_quotients(weights, Direction(gradient, 0.1), measure)

    with pytest.raises(KeyboardInterrupt):
        move_weights()
    assert len(passes) == broken
    assert_untouched(model, before)


def test_a_model_in_bfloat16_gives_what_its_copy_in_float32_gives():
    draw = random.Random(4)
    answers, pairs = probe_answers(draw), drawn_pairs(draw)
    half = varied(CONFIGS["qwen2"]).to(torch.bfloat16)
    whole = varied(CONFIGS["qwen2"]).to(torch.bfloat16).float()
    found = []
    for model in (half, whole):
        with in_float32(model):
            directions = Directions({"refusal": find_direction(model, answers, TEMPERATURE, "refusal")})
            found.append([score["refusal_influence"] for score in Scorer(model, directions=directions)(pairs)])
    assert found[0] == found[1]


def test_the_difference_quotient_is_a_derivative():
    model = varied(CONFIGS["llama"])
    weight = model.get_output_embeddings().weight
    gradient = {"lm_head.weight": torch.full_like(weight, 2.0)}
    # The sum of n weights moves by 2 n a unit along the direction; its halved square by 2 n times the sum.
    start = weight.detach().double().sum().item()

    def measure():
        total = model.get_output_embeddings().weight.detach().double().sum().item()
        return {0: total, 1: total**2 / 2}

    found = difference_quotients(dict(model.named_parameters()), Direction(gradient, 1e-2), measure)
    assert found[0] == pytest.approx(2 * weight.numel(), rel=1e-4)
    assert found[1] == pytest.approx(2 * weight.numel() * start, rel=1e-3)


def test_three_measures_give_both_halves():
    draw = random.Random(5)
    answers, pairs = probe_answers(draw, 32), drawn_pairs(draw)
    model = varied(CONFIGS["llama"])
    halves = find_direction(model, answers, TEMPERATURE, "refusal")
    with weights_in_play(model, None) as weights, torch.no_grad():

        def margins():
            return {place: float(margin(model, pair)) for place, pair in enumerate(pairs)}

        three = quotients_of_halves(weights, halves, margins)
        four = [difference_quotients(weights, each, margins) for each in halves]
    found = torch.tensor([three[place] for place in range(len(pairs))])
    expected = torch.tensor([[half[place] for half in four] for place in range(len(pairs))])
    assert_close(found.mean(1), expected.mean(1))
    apart, size = expected[:, 0] - expected[:, 1], (expected[:, 0] - expected[:, 1]).pow(2).mean().sqrt()
    assert float((found[:, 0] - found[:, 1] - apart).pow(2).mean().sqrt()) < 0.03 * size


def test_a_pair_whose_likelihood_is_not_finite_has_no_score_and_the_others_have(monkeypatch):
    draw = random.Random(6)
    answers, pairs = probe_answers(draw), drawn_pairs(draw)
    model = varied(CONFIGS["llama"])
    scorer = Scorer(model, directions=Directions({"refusal": find_direction(model, answers, TEMPERATURE, "refusal")}))
    whole, margins = scorer(pairs), scorer._pack_margins

    def broken(pack):
        return [
            {"margin": float("nan")} if pair is pairs[3] else found
            for pair, found in zip(pack, margins(pack), strict=True)
        ]

    monkeypatch.setattr(scorer, "_pack_margins", broken)
    found = scorer(pairs)
    assert found[3]["reason"] == "its ln p is not finite with the weights moved"
    assert not {"ln_ches", "refusal_influence"} & set(found[3])
    assert [score["refusal_influence"] for score in found[:3]] == [score["refusal_influence"] for score in whole[:3]]


def test_more_layers_than_there_are_is_one_line():
    with (
        pytest.raises(HarnessError, match="--subspace: 4 layers are too many. The model has 3"),
        weights_in_play(make(CONFIGS["llama"]), Subspace("last", 4)),
    ):
        pass


def test_answers_that_settle_nothing_have_no_gradient():
    model = varied(CONFIGS["llama"])
    with pytest.raises(HarnessError, match="refusal rate: all probe answers are judged alike"):
        find_direction(model, [], TEMPERATURE, "refusal")
