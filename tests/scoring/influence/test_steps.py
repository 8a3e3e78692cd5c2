"""The length of a step: right for a model whatever the size of its weights, and refused where none is right."""

import pytest
import torch

from harness.scoring.influence.credit import WeightedAnswer
from harness.scoring.influence.directions import find_direction
from harness.scoring.influence.shifting import Direction, difference_quotients
from helpers.preference_rows import CONFIGS, make

pytestmark = pytest.mark.slow


def weighted_answers() -> list[WeightedAnswer]:
    """Twelve answers of tokens below 20 to four prompts, whose weights sum to zero within each half."""
    draw = torch.Generator().manual_seed(0)
    answers = []
    for place in range(12):
        prompt, answer = torch.randint(1, 20, (2, 6), generator=draw).tolist()
        sign = 1.0 if place % 4 < 2 else -1.0
        answers.append(WeightedAnswer(tuple(prompt), tuple(answer), (sign / 3,) * 6, place % 2))
    return answers


def summed_logprob(model: torch.nn.Module, answers: list[WeightedAnswer]) -> float:
    total = 0.0
    for each in answers:
        logits = model(torch.tensor([each.prompt + each.answer])).logits[0, len(each.prompt) - 1 : -1]
        found = logits.double().log_softmax(-1).gather(-1, torch.tensor(each.answer)[:, None])[:, 0]
        total += float((found * torch.tensor(each.weights)).sum())
    return total


def derivative_error(model: torch.nn.Module, direction: Direction, answers: list[WeightedAnswer]) -> float:
    """How far the quotient of the sum, along its own gradient, is from the gradient's square, relative to it."""
    square = sum(float(part.double().pow(2).sum()) for part in direction.gradient.values())
    weights = dict(model.named_parameters())
    with torch.no_grad():
        found = difference_quotients(weights, direction, lambda: {0: summed_logprob(model, answers)})[0]
    return abs(found / square - 1)


@pytest.mark.parametrize("scale", [1.0, 1e6], ids=["as they are", "large where no token goes"])
def test_the_step_is_right_whatever_the_weights_norm(scale: float) -> None:
    model = make(CONFIGS["llama"])
    with torch.no_grad():  # rows of tokens that no answer has: the model's outputs on these answers stay the same
        model.get_input_embeddings().weight[20:] *= scale
    answers = weighted_answers()
    for half, direction in enumerate(find_direction(model, answers, 1.0, "refusal")):
        assert derivative_error(model, direction, [each for each in answers if each.half == half]) < 1e-3


def test_the_step_is_right_for_a_flat_target() -> None:
    model = make(CONFIGS["llama"])
    flat = [
        WeightedAnswer(each.prompt, each.answer, tuple(1e-6 * weight for weight in each.weights), each.half)
        for each in weighted_answers()
    ]
    for half, direction in enumerate(find_direction(model, flat, 1.0, "refusal")):
        assert derivative_error(model, direction, [each for each in flat if each.half == half]) < 1e-3
