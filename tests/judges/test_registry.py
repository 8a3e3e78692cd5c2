"""What `judge_exchanges` promises whichever judge it calls: one verdict an answer, and no failure that spreads."""

from __future__ import annotations

import pytest

from harness.judges import registry
from harness.judges.registry import (
    JUDGE_DESCRIPTIONS,
    JUDGES,
    JudgeTally,
    find_judge,
    judge_exchanges,
    judges_version,
    refuse_failed_judge,
)
from harness.judges.verdicts import Exchange, Verdict, failed_verdict
from harness.support.errors import HarnessError


@pytest.fixture
def fragile(monkeypatch):
    """A judge that raises on one answer, drops one, and judges the rest."""

    def call(exchanges):
        if any(exchange.response == "raise" for exchange in exchanges):
            raise TimeoutError("too slow")
        return [Verdict("refusal", "r") for exchange in exchanges if exchange.response != "drop"]

    monkeypatch.setattr(registry, "JUDGES", {"fragile": call})


def _exchanges(*responses):
    return [Exchange("p", response) for response in responses]


def test_a_judge_that_raises_for_one_answer_leaves_the_others_alone(fragile):
    labels = [verdict.label for verdict in judge_exchanges("fragile", _exchanges("a", "raise", "b"))]
    assert labels == ["refusal", "unjudged", "refusal"]


def test_the_failure_is_the_reason(fragile):
    (verdict,) = judge_exchanges("fragile", _exchanges("raise"))
    assert "TimeoutError" in verdict.reason
    assert "too slow" in verdict.reason


def test_a_missing_verdict_shifts_nothing(fragile):
    labels = [verdict.label for verdict in judge_exchanges("fragile", _exchanges("a", "drop", "b"))]
    assert labels == ["refusal", "unjudged", "refusal"]


def test_a_judge_that_fails_on_every_answer_is_an_error_and_no_column(fragile):
    with pytest.raises(HarnessError, match=r"judge fragile: failed on each of 10 answers \(judge fragile failed: Time"):
        judge_exchanges("fragile", _exchanges(*["raise"] * 10, ""))
    assert [each.label for each in judge_exchanges("fragile", _exchanges(*["raise"] * 10, "a"))][-1] == "refusal"


def test_a_whole_job_may_be_one_answer():
    failed, said = failed_verdict("broke"), Verdict("unjudged", "in another language")
    with pytest.raises(HarnessError, match=r"judge x: failed on the only answer \(broke\)"):
        refuse_failed_judge("x", _exchanges("a", ""), [failed, Verdict("other", "empty")])
    refuse_failed_judge("x", _exchanges("a", "b"), [failed, said])
    refuse_failed_judge("x", _exchanges("a"), [said])
    refuse_failed_judge("x", _exchanges(""), [said])


@pytest.mark.parametrize(
    ("verdicts", "told"),
    [
        ([Verdict("unjudged", "in Thai"), failed_verdict("broke")], r"gave no verdict on any of 2 answers \(broke\)"),
        ([Verdict("unjudged", "in Thai"), Verdict("unjudged", "in Lao")], r"any of 2 answers \(in Thai\)"),
        ([failed_verdict("broke"), failed_verdict("again")], r"failed on each of 2 answers \(broke\)"),
        ([Verdict("unjudged", "in Thai"), Verdict("other", "what")], None),
    ],
)
def test_a_job_without_one_verdict_is_told_with_the_first_failure_or_reason(verdicts, told):
    tally = JudgeTally("x")
    for verdict in verdicts:
        tally.count_verdict("a", verdict)
    tally.count_verdict("", Verdict("other", "empty"))
    if told is None:
        tally.refuse_nothing_judged()
    else:
        with pytest.raises(HarnessError, match=told):
            tally.refuse_nothing_judged()


def test_answers_that_never_began_are_no_judges_failure_and_no_judges_verdict():
    tally, unfinished = JudgeTally("x"), Verdict("other", "ended", flags=("unfinished",))
    for verdict in (unfinished, Verdict("unjudged", "in Thai")):
        tally.count_verdict("a", verdict)
    tally.refuse_nothing_judged()
    tally = JudgeTally("x")
    for verdict in (unfinished, failed_verdict("broke")):
        tally.count_verdict("a", verdict)
    with pytest.raises(HarnessError, match="failed on the only answer"):
        tally.refuse_failure()


def test_what_a_judge_says_of_itself_is_passed_on(monkeypatch):
    def broken(exchanges):
        raise HarnessError("did not load", place="weights")

    monkeypatch.setattr(registry, "JUDGES", {"broken": broken})
    with pytest.raises(HarnessError, match="weights: did not load"):
        judge_exchanges("broken", _exchanges("a"))


def test_no_exchanges_no_verdicts():
    assert judge_exchanges("lexical", []) == []


def test_an_unknown_judge_is_an_error_that_names_those_there_are():
    with pytest.raises(HarnessError, match="lexical"):
        find_judge("lexcal")


def test_every_judge_has_one_line_on_it():
    assert JUDGE_DESCRIPTIONS.keys() == JUDGES.keys()
    assert all(line and "\n" not in line for line in JUDGE_DESCRIPTIONS.values())


def test_the_version_is_a_stable_hash():
    assert judges_version() == judges_version()
    assert len(judges_version()) == 16
    assert int(judges_version(), 16) >= 0
