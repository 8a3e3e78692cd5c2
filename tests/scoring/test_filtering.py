"""Which pairs a filter keeps, worked out by hand, and that the choice does not depend on the rows' order."""

import random

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.scoring import filtering
from harness.support.errors import HarnessError


def table(scores, **columns):
    rows = [
        {
            "pair_id": f"p{i:03d}",
            "ln_ches": value,
            "ches": None if value is None else -value,
            "reason": "empty chosen answer" if value is None else None,
            "prompt": "x",
            "chosen": "y",
            "rejected": "z",
            **{name: values[i] for name, values in columns.items()},
        }
        for i, value in enumerate(scores)
    ]
    return Dataset.from_list(rows)


SCORES = [0.3, -2.0, None, 1.5, -0.5, -2.0, 0.0]  # p001 and p005 tie


@pytest.mark.parametrize(
    ("choice", "kept", "cut"),
    [
        (lambda t: filtering.keep_lowest(t, 1), ["p001"], -2.0),  # the tie goes to the first pair_id
        (lambda t: filtering.keep_lowest(t, 3), ["p001", "p004", "p005"], -0.5),
        (lambda t: filtering.keep_lowest(t, 0.5), ["p001", "p004", "p005"], -0.5),  # of the six scored
        (lambda t: filtering.keep_lowest(t, 0.51), ["p001", "p004", "p005", "p006"], 0.0),  # rounded up
        (lambda t: filtering.keep_lowest(t, 1, "ches"), ["p003"], -1.5),
        (lambda t: filtering.keep_highest(t, 2, "ln_ches"), ["p000", "p003"], 0.3),
        (lambda t: filtering.keep_highest(t, 1, "ches"), ["p001"], 2.0),  # the tie goes to the first pair_id here too
        (lambda t: filtering.keep_highest(t, 0.51, "ln_ches"), ["p000", "p003", "p004", "p006"], -0.5),
        (lambda t: filtering.keep_at_least(t, 0.0, "ln_ches"), ["p000", "p003", "p006"], 0.0),
        (lambda t: filtering.drop_highest(t, 2), ["p001", "p004", "p005", "p006"], 0.0),
        (lambda t: filtering.keep_around_quantile(t, 0.0, 2), ["p001", "p005"], [-2.0, -2.0]),
        (lambda t: filtering.keep_around_quantile(t, 0.5, 2), ["p004", "p006"], [-0.5, 0.0]),
        (lambda t: filtering.keep_around_quantile(t, 1.0, 2), ["p000", "p003"], [0.3, 1.5]),
        (lambda t: filtering.keep_at_most(t, 0.0), ["p001", "p004", "p005", "p006"], 0.0),
    ],
)
def test_by_hand(choice, kept, cut):
    chosen = choice(table(SCORES))
    assert (chosen.kept["pair_id"][:], chosen.cut) == (kept, cut)
    assert sorted([*chosen.kept["pair_id"], *chosen.dropped["pair_id"]]) == [
        "p000",
        "p001",
        "p003",
        "p004",
        "p005",
        "p006",
    ]
    assert chosen.unscored == {"empty chosen answer": 1}


def test_the_papers_five_per_cent_of_370_is_19():
    assert len(filtering.filter_lowest(table([i / 7 for i in range(370)]), 0.05)) == 19


def test_a_fraction_is_taken_as_written():
    assert len(filtering.filter_lowest(table([float(i) for i in range(30)]), 0.1)) == 3  # 0.1 * 30 is above 3 in floats


def test_random_is_seeded_and_draws_only_scored_pairs():
    data = table(SCORES * 10)
    drawn = [filtering.keep_random(data, 20, seed).kept["pair_id"][:] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(score is not None for score in filtering.keep_random(data, 60, 0).kept["ln_ches"])


@given(st.lists(st.sampled_from([None, -1.0, 0.0, 0.5, 2.0]), min_size=2, max_size=20), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_the_order_of_the_rows_makes_no_difference(scores, seed):
    data = table([*scores, 0.25])
    order = list(range(len(data)))
    random.Random(seed).shuffle(order)
    for choose in (lambda t: filtering.keep_lowest(t, 0.4), lambda t: filtering.keep_random(t, 1, 3)):
        one, other = choose(data), choose(data.select(order))
        assert one.kept.to_list() == other.kept.to_list()
        assert filtering.describe_choice(one) == filtering.describe_choice(other)


@given(st.lists(st.sampled_from([None, -1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=20), st.floats(0.01, 1))
@settings(max_examples=40, deadline=None)
def test_the_highest_are_the_lowest_of_the_measure_turned_round(scores, amount):
    data = table([*scores, 0.25])  # `ches` is minus `ln_ches`
    highest, lowest = filtering.keep_highest(data, amount, "ln_ches"), filtering.keep_lowest(data, amount, "ches")
    assert highest.kept.to_list() == lowest.kept.to_list()
    assert highest.dropped.to_list() == lowest.dropped.to_list()
    assert filtering.filter_highest(data, amount, "ln_ches").to_list() == highest.kept.to_list()


def test_describe_says_how_kept_and_dropped_differ():
    refusal, harmful = "refusal", "harmful"
    verdicts = {
        "chosen_verdict": [refusal, refusal, refusal, harmful],
        "rejected_verdict": [refusal, harmful, refusal, "unjudged"],
    }
    data = table([1.0, 2.0, 3.0, 4.0], chosen_tokens=[10, 20, 30, 40], **verdicts)
    said = filtering.describe_choice(filtering.keep_lowest(data, 2))
    assert said["kept"]["chosen_tokens"] == {"mean": 15, "median": 15}
    shares = {"two_refusals": 0.5, "one_of_each": 0.5, "two_non_refusals": 0, "judged_pairs": 2}
    assert said["kept"] | shares == said["kept"]
    assert said["dropped"] | {"two_refusals": 1, "judged_pairs": 1} == said["dropped"]
    assert (said["cut"], said["kept_pair_ids"], said["dropped_pair_ids"]) == (2.0, ["p000", "p001"], ["p002", "p003"])


def influences(**columns):
    scores = {f"{name}_influence": values for name, values in columns.items()}
    errors = {f"{name}_influence_se": [0.5] * len(values) for name, values in columns.items()}
    return table([0.0] * len(next(iter(columns.values()))), **scores, **errors)


def test_guarded_forecasts_are_good_and_said():
    data = influences(refusal=[4.0, -1.0, -2.0, -3.0], harmful=[1.0, -2.0, 5.0, 0.0])
    # Refusals alone: 4 - 1 - 2 = 1, the fourth would make it -2. Harmful completions may not rise with it: 1 - 2 + 5.
    assert filtering.filter_guarded(data, ("refusal",))["pair_id"][:] == ["p000", "p001", "p002"]
    choice = filtering.keep_guarded(data, ("refusal", "harmful"))
    assert choice.kept["pair_id"][:] == ["p000", "p001", "p003"]  # 4 - 1 - 3 = 0; 1 - 2 + 0 = -1
    said = filtering.describe_choice(choice)["forecasts"]
    assert said["refusal"] == {"all": {"mean": -0.5, "error_at_most": 0.5}, "kept": {"mean": 0, "error_at_most": 0.5}}
    assert said["harmful"]["all"]["mean"] == 1
    assert said["harmful"]["kept"]["mean"] == pytest.approx(-1 / 3)


def test_a_forecast_is_good_by_standard_errors():
    data = influences(refusal=[4.0, -1.0, -2.0, -3.0])
    # 4 - 1 - 2 is 1, less than three halves; 4 - 1 is 3, more than two.
    assert filtering.filter_guarded(data, ("refusal",), errors=1.0)["pair_id"][:] == ["p000", "p001"]


def test_a_pair_without_a_guarded_score_is_in_neither_part():
    choice = filtering.keep_guarded(
        influences(refusal=[4.0, None, -2.0], benign=[1.0, 1.0, None]), ("refusal", "benign")
    )
    assert (choice.kept["pair_id"][:], choice.dropped["pair_id"][:]) == (["p000"], [])


def test_a_threshold_keeps_the_good_side():
    data = influences(refusal=[1.0, -1.0], harmful=[1.0, -1.0])
    kept = {name: filtering.keep_beyond(data, 0.0, f"{name}_influence") for name in ("refusal", "harmful")}
    assert kept["refusal"].kept["pair_id"][:] == ["p000"]
    assert kept["harmful"].kept["pair_id"][:] == ["p001"]
    assert (kept["refusal"].rule, kept["harmful"].rule) == ("at least 0", "at most 0")
    assert filtering.keep_beyond(data, 0.0, "ln_ches").rule == "at most 0"


@pytest.mark.parametrize(
    ("choose", "message"),
    [
        (lambda t: filtering.keep_lowest(t, 1, "chess"), "no column 'chess'"),
        (lambda t: filtering.keep_lowest(t, 7), "7 pairs asked for. Between 1 and 6"),
        (lambda t: filtering.keep_lowest(t, 0), "0 pairs asked for"),
        (lambda t: filtering.keep_lowest(t, 1.5), "1.5 is no fraction"),
        (lambda t: filtering.keep_lowest(t, float("nan")), "nan is no fraction"),
        (lambda t: filtering.drop_highest(t, 6), "nothing would be kept"),
        (lambda t: filtering.keep_around_quantile(t, 2, 1), "2 is not between 0 and 1"),
        (lambda t: filtering.keep_at_most(t, -9), "no pair is at most -9. Raise it: the lowest ln_ches is -2"),
        (lambda t: filtering.keep_at_least(t, 9, "ches"), "no pair is at least 9. Lower it: the highest ches is 2"),
        (lambda t: filtering.keep_highest(t, 1), "no column 'refusal_influence'. Score with --probes"),
        (lambda t: filtering.keep_guarded(t, ("benign",)), "no column 'benign_influence'. Score with --probes"),
        (
            lambda t: filtering.keep_guarded(influences(refusal=[-1.0, -2.0]), ("refusal",)),
            "no pair can be kept with the forecast of refusal good",
        ),
        (lambda t: filtering.keep_lowest(t, 1, "prompt"), "does not hold numbers"),
        (lambda t: filtering.keep_lowest(t.select([2]), 1), "no pair has a ln_ches"),
        (lambda t: filtering.keep_lowest(t.select([0, 0]), 1), "pair_id 'p000' comes twice"),
    ],
)
def test_what_does_not_fit_is_refused(choose, message):
    with pytest.raises(HarnessError, match=message):
        choose(table(SCORES))


def test_not_a_number_is_no_score():
    assert filtering.keep_lowest(table([float("nan"), 1.0]), 1.0).kept["pair_id"][:] == ["p001"]


@pytest.mark.parametrize(("rows", "n"), [(9, 2), (10, 3), (16, 4), (41, 8), (1000, 128)])
def test_a_window_counted_by_rank_begins_where_the_authors_code_does(rows, n):
    table = Dataset.from_dict({"pair_id": [f"p{k:04d}" for k in range(rows)], "ches": [float(k) for k in range(rows)]})
    for quantile in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0):
        middle = int(np.round(quantile * (rows - 1)))
        start = max(0, middle - n // 2)
        end = min(start + n, rows)
        start = max(0, end - n)
        kept = filtering.keep_around_quantile(table, quantile, n, "ches", by_rank=True)
        assert kept.cut == [start, end - 1]
        assert abs(filtering.keep_around_quantile(table, quantile, n, "ches").cut[0] - start) <= 1
