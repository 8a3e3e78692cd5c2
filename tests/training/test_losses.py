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
    ccpo_loss,
    cpo_loss,
    dpo_loss,
    dpo_shift_loss,
    dpop_loss,
    ipo_sequence_loss,
    pipa_loss,
    pro_loss,
    reward_distillation_loss,
    sft_loss,
    sgdpo_loss,
    simpo_loss,
)

PAIRS = {
    "chosen": [-3.0, -12.5, -40.0, -0.25],
    "rejected": [-2.0, -30.0, -38.5, -60.0],
    "reference_chosen": [-2.5, -14.0, -35.0, -0.5],
    "reference_rejected": [-2.75, -25.0, -40.0, -20.0],
    "chosen_tokens": [2, 10, 31, 1],
    "rejected_tokens": [3, 7, 30, 12],
    "chosen_pilot": [-0.5, 1.0, -3.5, 0.125],
    "rejected_pilot": [0.25, -4.0, 2.0, -30.0],
    "reward_difference": [1.0, 0.0, 0.5, -2.0],
}


def softplus(x):
    return math.log1p(math.exp(-abs(x))) + max(x, 0.0)


def alpha_reward(logprob, tokens, alpha):
    return (1 - math.exp(logprob / tokens) ** -alpha) / alpha


def margin(c, r, rc, rr):
    return (c - rc) - (r - rr)


def coin(logit):
    """KL of a coin with this logit from a fair one: half the surprise at each of its sides, less ln 2."""
    return 0.5 * (softplus(logit) + softplus(-logit)) - math.log(2)


def pro(c, r, rc, rr, beta, alpha):
    left, reference_left = (1 - math.exp(a) - math.exp(b) for a, b in ((c, r), (rc, rr)))
    rewards = [beta * (c - rc), beta * (r - rr), beta * math.log(left / reference_left)]
    gaps = [rewards[0] - rewards[1], rewards[0] - rewards[2], rewards[1] - rewards[2]]
    return alpha * sum(map(coin, gaps)) - 0.5 * gaps[0]


def ccpo(c, r, nc, nr, beta):
    p, q = math.exp(c / nc), math.exp(r / nr)
    return math.log(1 + (p / ((1 - p) * q)) ** -beta)


CASES = {
    "sft": (sft_loss, lambda c, r, rc, rr, nc, nr, *_: -c),
    "ipo_sequence": (
        partial(ipo_sequence_loss, beta=0.01),
        lambda c, r, rc, rr, nc, nr, *_: (margin(c, r, rc, rr) - 50) ** 2,
    ),
    "cpo": (partial(cpo_loss, beta=0.1), lambda c, r, rc, rr, nc, nr, *_: softplus(-0.1 * (c - r))),
    "dpop": (
        partial(dpop_loss, beta=0.1, penalty=5.0),
        lambda c, r, rc, rr, nc, nr, *_: softplus(-0.1 * (margin(c, r, rc, rr) - 5 * max(0, rc - c))),
    ),
    "simpo": (
        partial(simpo_loss, beta=2.0, target_margin=0.5),
        lambda c, r, rc, rr, nc, nr, *_: softplus(-(2 * (c / nc - r / nr) - 0.5)),
    ),
    "alphapo": (
        partial(alphapo_loss, beta=2.0, target_margin=0.5, alpha=0.25),
        lambda c, r, rc, rr, nc, nr, *_: softplus(-(2 * (alpha_reward(c, nc, 0.25) - alpha_reward(r, nr, 0.25)) - 0.5)),
    ),
    "dpo": (partial(dpo_loss, beta=0.1), lambda c, r, rc, rr, *_: softplus(-0.1 * margin(c, r, rc, rr))),
    "dpo_shift": (
        partial(dpo_shift_loss, beta=0.1, rejected_weight=0.75),
        lambda c, r, rc, rr, *_: softplus(-0.1 * (c - rc) + 0.075 * (r - rr)),
    ),
    "sgdpo": (
        partial(sgdpo_loss, beta=0.1),
        lambda c, r, rc, rr, nc, nr, pc, pr, _: (
            0.5 * softplus(-0.1 * (c - rc - pr)) + 0.5 * softplus(-0.1 * (pc - r + rr))
        ),
    ),
    "pro": (
        partial(pro_loss, beta=0.3, alpha=0.7),
        lambda c, r, rc, rr, *_: pro(c, r, rc, rr, 0.3, 0.7),
    ),
    "reward_distillation": (
        partial(reward_distillation_loss, beta=0.1),
        lambda c, r, rc, rr, nc, nr, pc, pr, d: (d - 0.1 * margin(c, r, rc, rr)) ** 2,
    ),
    "pipa": (
        partial(pipa_loss, beta=0.5),
        lambda c, r, rc, rr, *_: softplus(-0.5 * (c - rc)) + softplus(0.5 * (r - rr)),
    ),
    "ccpo": (partial(ccpo_loss, beta=0.8), lambda c, r, rc, rr, nc, nr, *_: ccpo(c, r, nc, nr, 0.8)),
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
    # DPO-Shift, first pair: y+ has moved by -0.5, y- by +0.75, of which three quarters: -0.5 - 0.5625 = -1.0625.
    assert dpo_shift_loss(batch(), 0.1, 0.75)[0].item() == pytest.approx(math.log(1 + math.exp(0.10625)))
    # SGDPO, second pair: y+ has moved by 1.5, y- by -5; against the others' pilots 1.5 + 4 = 5.5 and 1 + 5 = 6.
    expected = (math.log(1 + math.exp(-0.55)) + math.log(1 + math.exp(-0.6))) / 2
    assert sgdpo_loss(batch(), 0.1)[1].item() == pytest.approx(expected)
    # Distillation, second pair: margin 1.5 + 5 = 6.5, and the rewards are alike, so (0 - 0.65)^2.
    assert reward_distillation_loss(batch(), 0.1)[1].item() == pytest.approx(0.4225)
    # PIPA, first pair: y+ is half as likely to be good again by e^-0.5 : 1, y- to be bad by 1 : e^0.75.
    expected = -math.log(math.exp(-0.5) / (1 + math.exp(-0.5))) - math.log(1 / (1 + math.exp(0.75)))
    assert pipa_loss(batch(), 1.0)[0].item() == pytest.approx(expected)
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


def of(chosen, rejected, reference_chosen, reference_rejected, tokens=1):
    """One pair of answers that have these probabilities, and as many tokens."""
    logs = (
        torch.tensor([math.log(p)], dtype=torch.float64)
        for p in (chosen, rejected, reference_chosen, reference_rejected)
    )
    return LogprobBatch(*logs, torch.tensor([tokens]), torch.tensor([tokens]))


def test_pro_by_hand():
    # p+ 1/8 to 1/4, p- 1/2 to 1/4: the others had 3/8 and have 1/2. With beta 1 the odds between the three are
    # 2 : 1/2 = 4, 2 : 4/3 = 3/2 and 1/2 : 4/3 = 3/8, and a coin of odds o is ln ((1 + o) / (2 sqrt o)) from a fair one.
    coins = sum(math.log((1 + odds) / (2 * math.sqrt(odds))) for odds in (4, 1.5, 0.375))
    loss = pro_loss(of(0.25, 0.25, 0.125, 0.5), 1.0, 1.0).item()
    assert loss == pytest.approx(coins - 0.5 * math.log(4))


def test_pro_is_dpo_where_the_two_answers_move_as_all_others_do_not():
    """With the hyper-response left out, the optimizer and the coin of y+ and y- are DPO's loss less ln 2."""
    moved = of(0.2, 0.1, 0.1, 0.2)
    left = math.log(0.7 / 0.7)
    rewards = math.log(2), -math.log(2)
    rest = sum(coin(reward - left) for reward in rewards)
    assert pro_loss(moved, 1.0, 1.0).item() - rest == pytest.approx(dpo_loss(moved, 1.0).item() - math.log(2))


def test_pro_pays_where_both_answers_fall():
    """DPO's loss falls from the first to the second, where y- fell e times and y+ half as far; PRO's rises."""
    start, fallen = of(0.3, 0.3, 0.3, 0.3), of(0.3 * math.exp(-6), 0.3 * math.exp(-7), 0.3, 0.3)
    assert dpo_loss(fallen, 1.0).item() < dpo_loss(start, 1.0).item()
    assert pro_loss(fallen, 1.0, 1.0).item() > pro_loss(start, 1.0, 1.0).item()


def test_answers_that_leave_no_probability_have_a_finite_loss():
    certain = of(0.5, 0.5, 0.5, 0.25)
    certain.chosen.requires_grad_(True)
    for loss in (pro_loss(certain, 0.1, 1.0), ccpo_loss(replace(certain, chosen=0 * certain.chosen), 1.0)):
        loss.sum().backward()
        assert math.isfinite(loss.item())
    assert torch.isfinite(certain.chosen.grad).all()


def test_ccpo_by_hand():
    # Two tokens: p+ = sqrt(1/4) = 1/2, p- = sqrt(1/16) = 1/4, so odds (1/2) / ((1/2) (1/4)) = 4.
    assert ccpo_loss(of(1 / 4, 1 / 16, 1, 1, tokens=2), 1.0).item() == pytest.approx(math.log(1 + 1 / 4))


def test_a_pilot_stands_still():
    free = torch.tensor(PAIRS["rejected_pilot"], dtype=torch.float64, requires_grad=True)
    moving = torch.tensor(PAIRS["chosen"], dtype=torch.float64, requires_grad=True)
    sgdpo_loss(batch(chosen=moving, rejected_pilot=free), 0.1).sum().backward()
    assert free.grad is None
    assert moving.grad.abs().min() > 0


def test_a_shift_of_one_is_dpo_and_pilots_of_whole_answers_are_too():
    pairs = batch()
    whole = replace(pairs, chosen_pilot=pairs.chosen_change, rejected_pilot=pairs.rejected_change)
    expected = dpo_loss(pairs, 0.1).tolist()
    assert dpo_shift_loss(pairs, 0.1, 1.0).tolist() == pytest.approx(expected)
    assert sgdpo_loss(whole, 0.1).tolist() == pytest.approx(expected)
