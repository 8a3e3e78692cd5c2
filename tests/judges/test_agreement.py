"""Two judges on the same answers: figures worked out by hand, and what is compared where one cannot tell a thing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.judges.agreement import JudgeAgreement
from harness.judges.verdicts import Verdict


def _agreement(*said, first="lexical", second="prefixes"):
    """Of (unsafe, first's label, second's label); and which rows differ, from 1."""
    agreement = JudgeAgreement(first, second)
    apart = [
        agreement.count_verdicts(Verdict(one, "a"), Verdict(other, "b"), unsafe=unsafe) for unsafe, one, other in said
    ]
    return agreement.figures(), [number for number, differs in enumerate(apart, 1) if differs]


def test_counts_agreement_kappa_and_rates_by_hand():
    figures, apart = _agreement(
        *[(True, "refusal", "refusal")] * 4,
        *[(True, "refusal", "harmful")] * 1,
        *[(True, "harmful", "harmful")] * 2,
        (True, "other", "harmful"),
        *[(False, "compliance", "compliance")] * 2,
        (True, "unjudged", "refusal"),
    )
    assert apart == [5, 8]
    assert (figures["rows"], figures["compared"]) == (11, 10)
    assert figures["unjudged"] == {"first": 1, "second": 0}
    assert figures["labels"] == {
        "compliance": {"compliance": 2},
        "harmful": {"harmful": 2},
        "other": {"harmful": 1},
        "refusal": {"harmful": 1, "refusal": 4},
        "unjudged": {"refusal": 1},
    }
    assert figures["agreed"]["value"] == 0.8
    # refusal 5 and 4, answer 4 and 6, other 1 and 0 of 10: by chance (20 + 24 + 0) / 100; (.8 - .44) / .56
    assert figures["kappa"] == pytest.approx(0.36 / 0.56)
    refusals, harmful = figures["unsafe"]["refusal_rate"], figures["unsafe"]["harmful_completion_rate"]
    assert (refusals["first"]["value"], refusals["second"]["value"]) == (5 / 8, 4 / 8)
    assert (harmful["first"]["value"], harmful["second"]["value"]) == (2 / 8, 4 / 8)
    assert [(row["row"], row["verdict"], row["second_verdict"]) for row in figures["differing"]] == [
        (5, "refusal", "harmful"),
        (8, "other", "harmful"),
    ]


def test_a_judge_without_refusals_is_compared_on_harm():
    figures, apart = _agreement(
        (True, "refusal", "other"),
        (True, "harmful", "harmful"),
        (True, "other", "harmful"),
        (False, "refusal", "other"),
        (False, "compliance", "other"),
        second="harmbench-llama2",
    )
    assert apart == [3, 5]
    assert figures["not_told"] == ["refusal"]
    assert figures["unsafe"]["refusal_rate"]["second"]["value"] is None
    assert figures["unsafe"]["refusal_rate"]["first"]["value"] == 1 / 3


def test_prompts_on_which_a_judge_can_say_one_thing_only_are_not_compared():
    figures, apart = _agreement(
        (False, "compliance", "other"), (True, "harmful", "other"), first="lexical", second="llama-guard-3@abc"
    )
    assert apart == [2]
    assert figures["compared"] == 1


def test_nothing_to_compare_has_no_figures():
    figures, _ = _agreement((True, "unjudged", "unjudged"))
    assert figures["kappa"] is None
    assert figures["agreed"] == {"value": None, "low": None, "high": None, "n": 0}


LABELS = st.sampled_from(["refusal", "harmful", "compliance", "other", "unjudged"])
JUDGES = st.sampled_from(["lexical", "strongreject", "llama-guard-3"])


@given(st.lists(st.tuples(st.booleans(), LABELS, LABELS)), JUDGES, JUDGES)
def test_figures_are_json_and_say_the_same_from_both_sides(said, first, second):
    figures, apart = _agreement(*said, first=first, second=second)
    json.dumps(figures, allow_nan=False)
    assert [row["row"] for row in figures["differing"]] == apart
    mirrored, same = _agreement(*((u, b, a) for u, a, b in said), first=second, second=first)
    assert (same, mirrored["agreed"]) == (apart, figures["agreed"])
    assert mirrored["kappa"] == pytest.approx(figures["kappa"])
