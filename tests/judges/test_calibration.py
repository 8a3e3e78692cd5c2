"""Agreement with people: figures worked out by hand, files as people have them, the calibration file."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from harness.judges.calibration import (
    ConfusionCounts,
    LabelledAnswer,
    agreement_figures,
    calibrate_judge,
    cohen_kappa,
    count_confusion,
    judge_in_batches,
    parts_below_floor,
    rate_with_interval,
    read_labelled_answers,
    worst_mistakes,
)
from harness.judges.verdicts import Verdict
from harness.support.errors import HarnessError
from harness.support.label_files import Draw, DrawnText, LabelFile, label_file_text, text_id


def _answer(refused, model="m", unsafe=None):
    return LabelledAnswer("p", "r", refused, model, unsafe)


def test_count():
    said = [
        (True, "refusal"),
        (True, "harmful"),
        (False, "refusal"),
        (False, "compliance"),
        (False, "other"),
        (True, "unjudged"),
    ]
    assert count_confusion((_answer(refused), Verdict(label, "")) for refused, label in said) == ConfusionCounts(
        1, 1, 1, 2, 1
    )


def test_kappa_by_hand():
    # 35 of 50 agree: .7. Judge says refusal 30, people 25: chance .6*.5 + .4*.5 = .5. (.7 - .5) / (1 - .5) = .4
    assert cohen_kappa(ConfusionCounts(tp=20, fn=5, fp=10, tn=15)) == pytest.approx(0.4)


@pytest.mark.parametrize(
    "counts", [ConfusionCounts(), ConfusionCounts(tp=7), ConfusionCounts(tn=3), ConfusionCounts(unjudged=5)]
)
def test_kappa_is_undefined_where_there_is_one_class_only(counts):
    assert cohen_kappa(counts) is None


def test_unjudged_answers_are_in_no_rate():
    figures = agreement_figures(ConfusionCounts(tp=8, fn=2, unjudged=90))
    assert figures["sensitivity"]["value"] == 0.8
    assert figures["accuracy"]["n"] == 10
    assert figures["unjudged"] == 90


def test_exact_interval_by_hand():
    # All ten: the lower end p solves p^10 = .025. None of ten: the mirror image.
    assert rate_with_interval(10, 10) == pytest.approx({"value": 1.0, "low": 0.025**0.1, "high": 1.0, "n": 10})
    assert rate_with_interval(0, 10) == pytest.approx({"value": 0.0, "low": 0.0, "high": 1 - 0.025**0.1, "n": 10})


@pytest.mark.parametrize("n", [1, 2, 7, 60, 2700])
def test_the_interval_is_statsmodels_own(n):
    for hits in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        low, high = proportion_confint(hits, n, alpha=0.05, method="beta")
        found = rate_with_interval(hits, n)
        assert (found["low"], found["high"]) == pytest.approx((low, high), abs=1e-12, rel=0)


def test_a_rate_of_nothing_has_no_value():
    assert rate_with_interval(0, 0) == {"value": None, "low": None, "high": None, "n": 0}


@given(*[st.integers(0, 40)] * 5)
def test_figures_are_json_and_in_range(tp, fn, fp, tn, unjudged):
    figures = agreement_figures(ConfusionCounts(tp, fn, fp, tn, unjudged))
    json.dumps(figures, allow_nan=False)
    assert figures["kappa"] is None or -1 <= figures["kappa"] <= 1
    for share in (value for value in figures.values() if isinstance(value, dict) and value["n"]):
        assert 0 <= share["low"] <= share["value"] <= share["high"] <= 1


def test_the_floor_names_models_and_skips_undefined_ones():
    assert parts_below_floor({"kappa": 0.59}, {"a": {"kappa": 0.6}, "b": {"kappa": None}, "c": {"kappa": -0.1}}) == [
        "overall",
        "c",
    ]


def test_mistakes_come_surest_first_and_short():
    given = [
        Verdict("harmful", "a", 0.6),
        Verdict("refusal", "right", 1.0),
        Verdict("other", "b", 0.9),
        Verdict("harmful", "c"),
    ]
    pairs = [(LabelledAnswer("p" * 999, "r", True, "m", None), verdict) for verdict in given]
    assert [wrong["reason"] for wrong in worst_mistakes(pairs)] == ["b", "a", "c"]
    assert len(worst_mistakes(pairs)[0]["prompt"]) == 300


def test_a_mistake_says_its_flags_and_what_was_judged():
    said = Verdict("harmful", "a", flags=("fallback",), cut=("reasoning",), judged="x" * 999)
    (wrong,) = worst_mistakes([(LabelledAnswer("p", "r", True, "m", None), said)])
    assert (wrong["flags"], wrong["cut"], wrong["judged"]) == (["fallback"], ["reasoning"], "x" * 300)


def _csv(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_xstest_columns(tmp_path):
    rows = ('1,contrast_homonyms,p,"two\nlines",3_partial_refusal', "2,homonyms,q,r,1_full_compliance")
    text = "\n".join(("id,type,prompt,completion,final_label", *rows))
    assert read_labelled_answers(_csv(tmp_path / "gpt.csv", text)) == [
        LabelledAnswer("p", "two\nlines", True, "gpt", True),
        LabelledAnswer("q", "r", False, "gpt", False),
    ]


def test_plain_columns_with_source_and_unsafe(tmp_path):
    text = "\ufeffprompt,response,label,source,unsafe\np,r,Full refusal,a,true\np,r,harmful,b,0\np,r,compliance,,\n"
    rows = read_labelled_answers(_csv(tmp_path / "mine.csv", text))
    assert [(row.refused, row.model, row.unsafe) for row in rows] == [
        (True, "a", True),
        (False, "b", False),
        (False, "mine", None),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prompt,answer,label\np,r,refusal\n", "lacks the column response"),
        ("prompt,response,label\np,r,1\n", r"bad.csv:2: label '1' is not known"),
        ("prompt,response,label\np\n", r"bad.csv:2: has too few columns"),
        ("prompt,response,label,unsafe\np,r,refusal,maybe\n", "unsafe is 'maybe'"),
        ("prompt,response,label\n", "no labelled answers"),
        ("", "lacks the column"),
    ],
)
def test_broken_files_are_told_in_a_line(tmp_path, text, message):
    with pytest.raises(HarnessError, match=message):
        read_labelled_answers(_csv(tmp_path / "bad.csv", text))


@pytest.mark.parametrize("content", [b"prompt,response,label\n\xff,r,refusal\n", None])
def test_unreadable_files_are_told(tmp_path, content):
    path = tmp_path / "x.csv"
    if content:
        path.write_bytes(content)
    with pytest.raises(HarnessError, match=r"x\.csv: cannot be read"):
        read_labelled_answers(path)


def test_the_calibration_file(tmp_path):
    path = _csv(
        tmp_path / "a.csv",
        "prompt,response,label,unsafe\np,I refuse.,refusal,true\np,I refuse.,compliance,true\np,Sure thing.,harmful,\n",
    )
    answers = read_labelled_answers(path)
    steps: list[int] = []
    result = calibrate_judge("lexical", {path: answers}, judge_in_batches("lexical", answers, steps.append))
    assert sum(steps) == 3
    assert result["schema_version"] == 1
    assert result["data"][0]["rows"] == 3
    assert len(result["data"][0]["sha256"]) == 64
    assert {key: result["overall"][key] for key in ("tp", "fn", "fp", "tn", "unjudged")} == {
        "tp": 1,
        "fn": 0,
        "fp": 1,
        "tn": 1,
        "unjudged": 0,
    }
    assert result["unsafe"]["overall"]["judged"] == 2
    assert result["models"].keys() == {"a"}
    assert result["below_floor"] == ["overall", "a"]  # 2 of 3 agree, chance 4/9: kappa .4
    assert result["overall"]["kappa"] == pytest.approx(0.4)


# Answers that were drawn in strata


def _drawn(refused, said, stratum, weight, model="m"):
    return LabelledAnswer("p", "r", refused, model, True, stratum, weight), Verdict(said, "")


def test_effective_counts_by_hand():
    """No refusal missed: as many as the heaviest weight leaves of 4 x 5 + 2 x 20, that is 3 of 6.

    Of the others the judge is right on 5 of 10 in A (weight 5) and on 10 in B (weight 20): 225 of 250. Each of A lies
    5 x (1 - .9) / 250 or 5 x (0 - .9) / 250 off, B's and the refusals' (0) differ too, each stratum about its mean.
    """
    refusals = [_drawn(True, "refusal", "A", 5)] * 4 + [_drawn(True, "refusal", "B", 20)] * 2
    others = [_drawn(False, "harmful", "A", 5)] * 5 + [_drawn(False, "refusal", "A", 5)] * 5
    others += [_drawn(False, "harmful", "B", 20)] * 10
    right, wrong, b = 5 * 0.1 / 250, -5 * 0.9 / 250, 20 * 0.1 / 250
    a = [right] * 5 + [wrong] * 5 + [0] * 4
    of_b = [b] * 10 + [0] * 2
    variance = sum(len(z) / (len(z) - 1) * sum((x - sum(z) / len(z)) ** 2 for x in z) for z in (a, of_b))
    size = min(0.9 * 0.1 / variance, 250 / 20)
    assert size == 12.5
    assert count_confusion(refusals + others) == ConfusionCounts(tp=3, fn=0, fp=1, tn=11)


def test_equal_weights_without_strata_to_tell_apart_are_plain_counts():
    """One stratum, all labelled alike: sensitivity 9 of 10 keeps its 10 answers, by n / (n - 1) a little fewer."""
    pairs = [_drawn(True, "refusal", "A", 1)] * 9 + [_drawn(True, "harmful", "A", 1), _drawn(False, "harmful", "A", 1)]
    found = count_confusion(pairs)
    assert (found.tp, found.fn, found.tn) == (8, 1, 1)


def test_unjudged_answers_are_counted_as_they_are():
    pairs = [_drawn(True, "refusal", "A", 3), _drawn(True, "unjudged", "A", 3)]
    assert count_confusion(pairs) == ConfusionCounts(tp=1, unjudged=1)


def test_models_add_up_where_answers_were_drawn_in_strata():
    pairs = [_drawn(True, "refusal", "A", 3, "a")] * 5 + [_drawn(False, "refusal", "B", 7, "b")] * 4
    whole, a, b = (count_confusion(pair for pair in pairs if pair[0].model in models) for models in ("ab", "a", "b"))
    assert whole == a + b


@pytest.mark.slow
@pytest.mark.parametrize(("sensitivity", "specificity"), [(0.9, 0.85), (0.98, 0.95)])
@pytest.mark.parametrize("caught", [0.2, 0.7])
def test_intervals_of_effective_counts_cover(sensitivity, specificity, caught):
    """60 of 1,500 answers, a third of them from the fifth that is doubted, with `caught` of the mistakes in it."""
    rng, covered = np.random.default_rng(17), []
    for _ in range(300):
        truth = rng.random(1500) < 0.4
        right = rng.random(1500) < np.where(truth, sensitivity, specificity)
        doubted = rng.random(1500) < np.where(right, 0.2, caught)
        pairs = []
        for stratum, drawn in ((True, 20), (False, 40)):
            mine = np.flatnonzero(doubted == stratum)
            for place in rng.choice(mine, drawn, replace=False):
                said = "refusal" if truth[place] == right[place] else "harmful"
                pairs.append(_drawn(bool(truth[place]), said, str(stratum), len(mine) / drawn))
        figures = agreement_figures(count_confusion(pairs))
        for name, real in (("sensitivity", sensitivity), ("specificity", specificity)):
            covered.append(figures[name]["low"] <= real <= figures[name]["high"])
    assert np.mean(covered) >= 0.93


def test_a_file_of_the_queue_is_read_and_shared_answers_count_for_both_models(tmp_path):
    rows = [
        DrawnText(text_id("p", text), "p", text, True, models, "both", stratum, size, verdict)
        for text, models, stratum, size, verdict in (
            ("=no, never", ("a", "b"), "A", 1, "refusal"),
            ("sure", ("a",), "B", 3, "harmful"),
            ("maybe", ("a",), "B", 3, None),
            ("so", ("b",), "B", 3, None),
        )
    ]
    file = LabelFile(tuple(rows), Draw.of("unsafe", {row.id: row.stratum for row in rows}))
    (tmp_path / "l.csv").write_text(label_file_text(file), encoding="utf-8", newline="")
    assert read_labelled_answers(tmp_path / "l.csv") == [
        LabelledAnswer("p", "=no, never", True, "a", True, "A", 1),
        LabelledAnswer("p", "=no, never", True, "b", True, "A", 1),
        LabelledAnswer("p", "sure", False, "a", True, "B", 3),
    ]
    spoiled = (rows[0], replace(rows[1], response="  \r\n"), *rows[2:])
    (tmp_path / "l.csv").write_text(label_file_text(LabelFile(spoiled, file.draw)), encoding="utf-8", newline="")
    with pytest.raises(HarnessError, match=r"l\.csv: row 2: its prompt and response are not those of its id"):
        read_labelled_answers(tmp_path / "l.csv")
    padded = (rows[0], replace(rows[1], response="sure \r\n"), *rows[2:])
    (tmp_path / "l.csv").write_text(label_file_text(LabelFile(padded, file.draw)), encoding="utf-8", newline="")
    assert len(read_labelled_answers(tmp_path / "l.csv")) == 3
    bare = LabelFile(tuple(row for row in rows if row.verdict is None), file.draw)
    (tmp_path / "l.csv").write_text(label_file_text(bare), encoding="utf-8", newline="")
    with pytest.raises(HarnessError, match="holds no labels"):
        read_labelled_answers(tmp_path / "l.csv")


def test_a_calibration_says_that_its_answers_were_drawn_in_strata(tmp_path):
    (tmp_path / "l.csv").write_text("prompt,response,label\np,r,refusal\n")
    answers = read_labelled_answers(tmp_path / "l.csv")
    said = [Verdict("refusal", "")]
    assert calibrate_judge("lexical", {tmp_path / "l.csv": answers}, said)["drawn_in_strata"] is False
    answer, _ = _drawn(True, "refusal", "A", 2)
    assert calibrate_judge("lexical", {tmp_path / "l.csv": [answer]}, said)["drawn_in_strata"] is True
