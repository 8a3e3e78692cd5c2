"""The largest choice whose sums stay at or above zero, against every choice there is and the relaxed problem."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from harness.scoring.guarding import choose_most

GAINS = st.integers(1, 3).flatmap(
    lambda rows: st.integers(1, 8).flatmap(
        lambda n: st.lists(st.lists(st.integers(-6, 4), min_size=n, max_size=n), min_size=rows, max_size=rows)
    )
)


@given(GAINS)
@settings(max_examples=150, deadline=None)
def test_no_larger_choice_is_there(gains):
    gains = np.array(gains, dtype=float)
    choices = itertools.product([False, True], repeat=gains.shape[1])
    most = max(sum(choice) for choice in choices if (gains[:, np.array(choice)].sum(axis=1) >= 0).all())
    taken = choose_most(gains)
    assert (gains[:, taken].sum(axis=1) >= 0).all()
    assert taken.sum() == most


def test_with_one_row_the_highest_are_taken():
    # By hand: 5, 3, -2, -3 and -4 sum to -1, the first four to 3.
    assert choose_most(np.array([[-4.0, 3.0, -2.0, 5.0, -3.0, -9.0]])).tolist() == [
        False,
        True,
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("seed", range(3))
def test_of_thousands_it_takes_as_many_as_the_relaxed_problem(seed):
    draw = np.random.default_rng(seed)
    gains = draw.standard_t(3, size=(3, 3000)) - np.array([[0.5], [0.3], [0.6]])
    relaxed = linprog(-np.ones(3000), A_ub=-gains, b_ub=np.zeros(3), bounds=(0, 1), method="highs-ipm")
    taken = choose_most(gains)
    assert (gains[:, taken].sum(axis=1) >= 0).all()
    assert taken.sum() == int(-relaxed.fun)
    assert (choose_most(gains) == taken).all()


def test_what_no_choice_helps_is_left():
    assert not choose_most(np.array([[-1.0, -2.0], [3.0, 4.0]])).any()
    assert choose_most(np.zeros((2, 3))).all()
