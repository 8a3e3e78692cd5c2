"""The gradient of a rate against the exact rate, on a model whose answers can all be listed."""

import math

import pytest
import torch

from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange
from harness.preferences.tokens import Tokens
from harness.scoring.influence.credit import HALVES, WeightedAnswer, weigh_probes
from harness.scoring.influence.directions import Directions, find_direction
from harness.scoring.probes import draw_probes
from harness.scoring.scorer import Scorer
from helpers.sentence_model import (
    PROMPTS,
    all_answers,
    prompt_tokens,
    sentence_model,
    sentence_tokenizer,
    token_logprobs,
)

pytestmark = pytest.mark.slow

TEMPERATURE = 0.7
PAIRS = [Tokens(list(prompt_tokens(PROMPTS[i % 2])), chosen, rejected) for i, (chosen, rejected) in enumerate([
    ([8, 1], [9, 1]), ([9, 1], [8, 10, 1]), ([8, 8, 1], [8, 1]), ([10, 1], [9, 9, 1]), ([3, 7, 1], [6, 1]),
])]  # fmt: skip


def outcomes(answers):
    """Which answers are refusals; the same to either prompt, as the test of it asserts."""
    made = sentence_tokenizer()
    texts = made.batch_decode([list(answer) for answer in answers], skip_special_tokens=True)
    judged = [judge_exchanges("lexical", [Exchange(prompt, text) for text in texts]) for prompt in PROMPTS]
    found = [[float(verdict.label == "refusal") for verdict in verdicts] for verdicts in judged]
    assert found[0] == found[1]
    return torch.tensor(found[0], dtype=torch.float64)


def exact_rate(model, answers, refused):
    """The probability that an answer is a refusal, mean over the prompts."""
    rates = []
    for prompt in PROMPTS:
        found = token_logprobs(model, prompt_tokens(prompt), answers, TEMPERATURE)
        likelihood = torch.stack([each.sum() for each in found]).exp()
        assert float(likelihood.sum()) == pytest.approx(1, abs=1e-9)
        rates.append(float((likelihood * refused).sum()))
    return sum(rates) / len(rates)


def rate_change(model, pair, answers, refused, step=1e-5):
    """How fast the exact rate moves as the weights move along the gradient of the pair's margin."""
    weights = [*model.parameters()]
    chosen, rejected = token_logprobs(model, pair.prompt, [tuple(pair.chosen), tuple(pair.rejected)])
    moves = torch.autograd.grad(chosen.sum() - rejected.sum(), weights)
    found = []
    with torch.no_grad():
        for sign in (1, -2):
            for weight, move in zip(weights, moves, strict=True):
                weight.add_(move, alpha=sign * step)
            found.append(exact_rate(model, answers, refused))
        for weight, move in zip(weights, moves, strict=True):
            weight.add_(move, alpha=step)
    return (found[0] - found[1]) / (2 * step)


@torch.no_grad()
def test_influence_is_how_fast_the_exact_rate_moves():
    baseline = 0.8
    model = sentence_model().double()
    answers = all_answers(3)
    refused = outcomes(answers)
    weighted = []
    for prompt in map(prompt_tokens, PROMPTS):
        for answer, found, outcome in zip(
            answers, token_logprobs(model, prompt, answers, TEMPERATURE), refused, strict=True
        ):
            # As many of each answer as its probability says: what is subtracted may then be anything.
            weight = float(found.sum().exp() * (outcome - baseline)) / len(PROMPTS)
            weighted += [WeightedAnswer(prompt, answer, (weight,) * len(answer), half) for half in range(HALVES)]
    with torch.enable_grad():
        directions = Directions({"refusal": find_direction(model, weighted, TEMPERATURE, "refusal")})
        expected = [rate_change(model, pair, answers, refused) for pair in PAIRS]
    scores = Scorer(model, directions=directions)(PAIRS)
    size = math.sqrt(sum(each**2 for each in expected) / len(expected))
    assert size > 1  # none of it is rounding
    assert [score["refusal_influence"] for score in scores] == pytest.approx(expected, abs=1e-3 * size)


def test_drawn_answers_give_the_exact_gradient_on_average():
    """Drawn, judged, weighed and differentiated as `harness score` does, against listing all answers."""
    model, made = sentence_model(seed=2), sentence_tokenizer()
    answers = all_answers(3)
    refused = outcomes(answers)
    exact = sentence_model(seed=2).double()
    expected = [rate_change(exact, pair, answers, refused) for pair in PAIRS]
    prompts = {True: [{"prompt_id": prompt, "prompt": prompt} for prompt in PROMPTS]}
    draws = []
    for seed in range(6):
        probes = draw_probes(model, made, prompts, samples=150, temperature=TEMPERATURE, max_new_tokens=3, seed=seed)
        found = find_direction(model, weigh_probes(probes, "refusal", made), TEMPERATURE, "refusal")
        scores = Scorer(model, directions=Directions({"refusal": found}))(PAIRS)
        draws.append([score["refusal_influence"] for score in scores])
    means = torch.tensor(draws).mean(0)
    errors = torch.tensor(draws).std(0) / math.sqrt(len(draws))
    largest = max(map(abs, expected))
    for mean, error, truth in zip(means.tolist(), errors.tolist(), expected, strict=True):
        assert abs(mean - truth) < 5 * error + 0.02 * largest
    assert errors.max() < 0.2 * largest
