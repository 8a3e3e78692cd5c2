"""The equations, against values worked out by hand and against gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.scoring import ches


def test_ches_by_hand():
    # h+ = (1, 0), (2, 1), so S+ = (3, 1); h- = (0, 4), so S- = (0, 4). <S+, S-> = 4, ||S+||^2 = 10.
    sums = ches.hidden_sums(torch.tensor([[1.0, 0.0], [2.0, 1.0], [0.0, 4.0]]), torch.tensor([2, 1]))
    assert sums.tolist() == [[3.0, 1.0], [0.0, 4.0]]
    assert ches.ches(sums[0], sums[1]).item() == -6.0


def test_ln_ches_by_hand():
    # <S+, S-> / (2 * 1) - ||S+||^2 / 2^2 = 4 / 2 - 10 / 4.
    plus, minus = torch.tensor([3.0, 1.0]), torch.tensor([0.0, 4.0])
    assert ches.ln_ches(plus, minus, torch.tensor(2), torch.tensor(1)).item() == -0.5


def test_last_hidden_inner_product_by_hand():
    assert ches.last_hidden_inner_product(torch.tensor([2.0, 3.0]), torch.tensor([5.0, -1.0])).item() == 7.0


def test_measures_take_batches():
    plus, minus = torch.randn(4, 3), torch.randn(4, 3)
    one_by_one = [ches.ches(p, m).item() for p, m in zip(plus, minus, strict=True)]
    assert ches.ches(plus, minus).tolist() == pytest.approx(one_by_one)


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        ([1, 2, 3], [1, 2, 3], 0.0),
        ([1, 2, 3], [4, 5, 6], -1.0),
        ([1, 2, 3, 4], [1, 3, 4], -1 / 4),  # one deletion over the longer length
        ([1], [2, 1, 3, 5], -3 / 4),
    ],
)
def test_neg_edit_distance_by_hand(chosen, rejected, expected):
    assert ches.neg_edit_distance(chosen, rejected) == pytest.approx(expected)


def _levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


tokens = st.lists(st.integers(0, 5), min_size=1, max_size=12)


@given(tokens, tokens)
def test_neg_edit_distance_is_levenshtein_over_the_longer_length(chosen, rejected):
    assert ches.neg_edit_distance(chosen, rejected) == pytest.approx(
        -_levenshtein(chosen, rejected) / max(len(chosen), len(rejected))
    )


def test_half_precision_does_not_overflow():
    hidden = torch.full((400, 64), 200.0, dtype=torch.float16)  # the sum alone is 80,000, past float16's 65,504
    sums = ches.hidden_sums(hidden, torch.tensor([250, 150]))
    plus, minus = 250 * 200.0, 150 * 200.0
    assert ches.ches(sums[0], sums[1]).item() == 64 * (plus * minus - plus * plus)
    assert math.isfinite(ches.last_hidden_inner_product(hidden[0], hidden[1]).item())


def test_identical_answers_score_zero():
    sums = torch.randn(1, 16)
    assert ches.ches(sums, sums).item() == 0.0


def test_coefficients_by_hand():
    # Two tokens, logits (0, ln 3) give pi = (1/4, 3/4). r+ for token 0 is (3/4, -3/4), r- for token 1 is (-1/4, 1/4).
    logits = torch.tensor([[0.0, math.log(3)]])
    plus, minus = ches.token_residuals(logits, torch.tensor([0])), ches.token_residuals(logits, torch.tensor([1]))
    assert plus.tolist()[0] == pytest.approx([0.75, -0.75])
    spread = ches.alpha_coefficients(plus, minus)
    assert spread == pytest.approx((2 * 0.75**2, -2 * 0.75 / 4, 1.0, 0.0))


def test_coefficients_are_the_weights_of_the_gradient():
    """<grad_W ln p+, grad_W (ln p+ - ln p-)> = sum a+ <h+, h+> - sum a- <h+, h->, the identity behind Theorem 3."""
    torch.manual_seed(0)
    plus, minus = torch.randn(5, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    y_plus, y_minus = torch.randint(11, (5,)), torch.randint(11, (3,))
    weights = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)

    def gradient(hidden, answer):
        likelihood = (hidden @ weights.T).log_softmax(-1).gather(1, answer[:, None]).sum()
        return torch.autograd.grad(likelihood, weights)[0]

    up, down = gradient(plus, y_plus), gradient(minus, y_minus)
    r_plus = ches.token_residuals((plus @ weights.T).detach(), y_plus).double()
    r_minus = ches.token_residuals((minus @ weights.T).detach(), y_minus).double()
    weighted = ((r_plus @ r_plus.T) * (plus @ plus.T)).sum() - ((r_plus @ r_minus.T) * (plus @ minus.T)).sum()
    assert weighted.item() == pytest.approx((up * (up - down)).sum().item(), rel=1e-5)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 99))
def test_coefficients_stay_in_their_bounds(n, m, seed):
    torch.manual_seed(seed)
    spread = ches.alpha_coefficients(
        *(ches.token_residuals(9 * torch.randn(k, 5), torch.randint(5, (k,))) for k in (n, m))
    )
    assert -2.001 <= spread.alpha_minus_mean <= 2.001
    assert 0 <= spread.alpha_plus_mean <= 2.001  # a Gram matrix's mean
    assert 1 / n <= spread.alpha_plus_positive + 1e-6
    assert 0 <= spread.alpha_minus_positive <= 1
