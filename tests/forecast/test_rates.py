"""Rates over prompts: what a shift of all logits does, against the logistic curve and prompts whose rates are known."""

import numpy as np
import pytest
from scipy.special import expit, logit

from harness.forecast import rates
from harness.forecast.rates import PromptRates

ALIKE = PromptRates([1600] * 40, [2000] * 40)
"""All prompts at 80 %, and known to be."""


@pytest.mark.parametrize("shift", [-3.0, -0.5, 0.0, 0.7, 2.0])
def test_prompts_all_alike_move_along_the_logistic_curve(shift):
    assert ALIKE.change_at(shift) == pytest.approx(expit(logit(0.8) + shift) - 0.8, abs=0.002)


def test_prompts_that_are_always_or_never_refused_move_less():
    split, mixed = PromptRates([8] * 10 + [0] * 10, [8] * 20), PromptRates([4] * 20, [8] * 20)
    assert split.observed == mixed.observed == 0.5
    assert 0 < split.change_at(0.5) < mixed.change_at(0.5) / 2


@pytest.mark.parametrize("given", [ALIKE, PromptRates([8, 8, 8, 5, 0, 1], [8] * 6), PromptRates([0, 0], [3, 4])])
def test_the_shift_to_a_change_makes_it(given):
    room = given.change_at(rates._FARTHEST)
    for change in (0.3 * room, -0.2 * given.observed):
        assert given.change_at(given.shift_to(change)) == pytest.approx(change, abs=1e-4)


def test_a_change_beyond_all_or_nothing_counts_as_up_to_it():
    assert ALIKE.change_at(ALIKE.shift_to(5.0)) == pytest.approx(0.2, abs=4e-3)
    assert ALIKE.change_at(ALIKE.shift_to(-5.0)) == pytest.approx(-0.8, abs=4e-3)


def test_every_prompt_counts_alike_however_many_answers_it_has():
    assert PromptRates([1, 0], [1, 9]).observed == 0.5


def test_the_spread_of_prompts_is_found_from_few_answers_each():
    """Two kinds of prompts, at 95 % and at 5 %: eight answers each say how they move."""
    rng = np.random.default_rng(0)
    truth = np.where(np.arange(400) < 300, 0.95, 0.05)
    found = PromptRates(rng.binomial(8, truth).tolist(), [8] * 400)
    for shift in (-3.0, -1.0, 1.0):
        assert found.change_at(shift) == pytest.approx((expit(logit(truth) + shift) - truth).mean(), abs=0.03)
