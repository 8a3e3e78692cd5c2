"""Our losses in float64: values by plain arithmetic, gradients by central differences, and TRL's where it has one."""

import math
from dataclasses import fields, replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from harness.training.losses import (
    LogprobBatch,
    alphapo_loss,
    cpo_loss,
    dpop_loss,
    ipo_sequence_loss,
    sft_loss,
    simpo_loss,
)

PAIRS = {
    "chosen": [-3.0, -12.5, -40.0, -0.25],
    "rejected": [-2.0, -30.0, -38.5, -60.0],
    "reference_chosen": [-2.5, -14.0, -35.0, -0.5],
    "reference_rejected": [-2.75, -25.0, -40.0, -20.0],
    "chosen_tokens": [2, 10, 31, 1],
    "rejected_tokens": [3, 7, 30, 12],
}


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def alpha_reward(logprob, tokens, alpha):
    return (1 - math.exp(logprob / tokens) ** -alpha) / alpha


def margin(c, r, rc, rr):
    return (c - rc) - (r - rr)


CASES = {
    "sft": (sft_loss, lambda c, r, rc, rr, nc, nr: -c),
    "ipo_sequence": (
        partial(ipo_sequence_loss, beta=0.01),
        lambda c, r, rc, rr, nc, nr: (margin(c, r, rc, rr) - 50) ** 2,
    ),
    "cpo": (partial(cpo_loss, beta=0.1), lambda c, r, rc, rr, nc, nr: softplus(-0.1 * (c - r))),
    "dpop": (
        partial(dpop_loss, beta=0.1, penalty=5.0),
        lambda c, r, rc, rr, nc, nr: softplus(-0.1 * (margin(c, r, rc, rr) - 5 * max(0, rc - c))),
    ),
    "simpo": (
        partial(simpo_loss, beta=2.0, target_margin=0.5),
        lambda c, r, rc, rr, nc, nr: softplus(-(2 * (c / nc - r / nr) - 0.5)),
    ),
    "alphapo": (
        partial(alphapo_loss, beta=2.0, target_margin=0.5, alpha=0.25),
        lambda c, r, rc, rr, nc, nr: softplus(-(2 * (alpha_reward(c, nc, 0.25) - alpha_reward(r, nr, 0.25)) - 0.5)),
    ),
}


def batch(**changes) -> LogprobBatch:
    values = {name: torch.tensor(value, dtype=torch.float64) for name, value in PAIRS.items()}
    return LogprobBatch(**{field.name: changes.get(field.name, values[field.name]) for field in fields(LogprobBatch)})


@pytest.mark.parametrize("name", CASES)
def test_values(name):
    loss, by_hand = CASES[name]
    expected = [by_hand(*pair) for pair in zip(*PAIRS.values(), strict=True)]
    assert loss(batch()).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("side", "place"), [("chosen", 0), ("rejected", 1)])
def test_gradients(name, side, place):
    loss, by_hand = CASES[name]
    free = torch.tensor(PAIRS[side], dtype=torch.float64, requires_grad=True)
    (loss(batch(**{side: free})) + 0 * free).sum().backward()
    step = 1e-5
    for pair, found in zip(zip(*PAIRS.values(), strict=True), free.grad.tolist(), strict=True):
        up, down = ([*pair[:place], pair[place] + sign * step, *pair[place + 1 :]] for sign in (1, -1))
        assert found == pytest.approx((by_hand(*up) - by_hand(*down)) / (2 * step), rel=1e-6, abs=1e-8)


def test_a_pair_by_hand():
    # DPOP, first pair: margin (-3 + 2.5) - (-2 + 2.75) = -1.25, fallen 0.5, so -ln sigmoid(0.1 (-1.25 - 2.5)).
    assert dpop_loss(batch(), 0.1, 5.0)[0].item() == pytest.approx(math.log(1 + math.exp(0.375)))
    # SimPO, first pair: means -1.5 and -2/3, so -ln sigmoid(2 (-5/6) - 0.5).
    assert simpo_loss(batch(), 2.0, 0.5)[0].item() == pytest.approx(math.log(1 + math.exp(13 / 6)))


def test_alphapo_tends_to_simpo():
    near, simpo = alphapo_loss(batch(), 2.0, 0.5, 1e-7), simpo_loss(batch(), 2.0, 0.5)
    assert near.tolist() == pytest.approx(simpo.tolist(), rel=1e-5)


def test_dpop_is_dpo_where_the_chosen_answer_has_not_fallen():
    risen = replace(batch(), reference_chosen=batch().chosen - 1)
    expected = [softplus(-0.1 * value) for value in risen.margin.tolist()]
    assert dpop_loss(risen, 0.1, 50.0).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "loss_type", "alpha"), [("cpo", "sigmoid", 0), ("simpo", "simpo", 0), ("alphapo", "simpo", 0.25)]
)
def test_against_trls_cpo_trainer(name, loss_type, alpha):
    from trl.experimental.cpo import CPOTrainer

    pairs = batch()
    beta = 0.1 if name == "cpo" else 2.0
    settings = SimpleNamespace(
        alpha=alpha,
        loss_type=loss_type,
        simpo_gamma=0.5,
        beta=beta,
        label_smoothing=0,
        accelerator=SimpleNamespace(device="cpu"),
    )
    chosen, rejected = (
        (pairs.chosen, pairs.rejected)
        if loss_type == "sigmoid"
        else (pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens)
    )
    theirs, _, _ = CPOTrainer.cpo_loss(settings, chosen, rejected)
    assert CASES[name][0](pairs).tolist() == pytest.approx(theirs.tolist(), rel=1e-10)
