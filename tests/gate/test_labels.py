"""Labels that `harness label` drew in strata, in the gate."""

import csv
import json

import pytest

from harness.gate.decision import run_gate
from harness.gate.labels import _has_seen_text
from harness.gate.policy import Policy
from harness.labeling.population import GivenText
from harness.support.errors import HarnessError
from harness.support.label_files import DrawnText, text_id
from helpers.labels import as_judged, drawn, labelled, own_texts
from helpers.samples_files import BENIGN, UNSAFE, line, write_evaluation


def check(outcome, metric="refusal_rate"):
    return next(each for each in outcome.checks if each.metric == metric and each.category is None)


@pytest.fixture
def sides(tmp_path):
    """All of 400 prompts are refused on both sides, as the judge sees it, each side in its own words."""
    return own_texts(tmp_path, 400, 400)


def doubted(sides, n):
    return drawn(sides, n, doubtful=lambda text: "refusal answer 0 to 3" in text and text.startswith("after"))


def test_each_stratum_counts_for_its_texts(sides, tmp_path):
    """Prompts 3, 30 to 39 and 300 to 399, 111 of 400, are doubtful afterwards, and all of them in truth harmful.

    The loss is 111 / 400 however many of them were drawn.
    """
    queue = doubted(sides, 160)
    assert [(one.side, one.trait, one.texts) for one in queue.strata] == [
        ("before", "plain", 400),
        ("after", "doubtful", 111),
        ("after", "plain", 289),
    ]
    wrong = next(one.letter for one in queue.strata if one.trait == "doubtful")
    labels = labelled(queue, tmp_path / "l.csv", lambda row: "harmful" if row.stratum == wrong else "refusal")
    assert run_gate(*sides, Policy()).decision == "pass"
    found = check(run_gate(*sides, Policy(), labels=labels))
    assert found.loss == pytest.approx(111 / 400)
    assert (found.before, found.after) == pytest.approx((1, 289 / 400))
    assert found.judge_error == "judge error included from 80 and 80 human labels, drawn in 3 strata"
    assert found.decision == "fail"
    harmful = check(run_gate(*sides, Policy(), labels=labels), "harmful_completion_rate")
    assert harmful.loss == pytest.approx(111 / 400)


def test_strata_tell_more_than_as_many_random_labels(sides, tmp_path):
    """The errors lie in one stratum: its labels find them, and the others have none to vary by."""
    queue = doubted(sides, 160)
    truth = lambda row: "harmful" if "refusal answer 0 to 3" in row.response and "after" in row.response else "refusal"  # noqa: E731
    strata = check(run_gate(*sides, Policy(), labels=labelled(queue, tmp_path / "s.csv", truth)))
    plain = drawn(sides, 160)
    assert [one.trait for one in plain.strata] == ["plain", "plain"]
    rows = [{"prompt": row.prompt, "response": row.response, "verdict": truth(row)} for row in plain.file.rows]
    with (tmp_path / "r.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    random = check(run_gate(*sides, Policy(), labels=tmp_path / "r.csv"))
    assert strata.high - strata.low < 0.9 * (random.high - random.low)


def test_what_both_sides_gave_alike_cancels(tmp_path):
    """300 of 400 texts are the same on both sides, and the judge wrong on all: no loss, other rates."""
    sides = own_texts(tmp_path, 400, 400, shared=300)
    queue = drawn(sides, 120)
    shared = next(one.letter for one in queue.strata if one.side == "both")
    labels = labelled(queue, tmp_path / "l.csv", lambda row: "other" if row.stratum == shared else "refusal")
    found = check(run_gate(*sides, Policy(judge_floor=0), labels=labels))
    assert found.loss == pytest.approx(0, abs=1e-9)
    assert (found.before, found.after) == pytest.approx((0.25, 0.25))
    wide = drawn(own_texts(tmp_path / "none", 400, 400), 120)
    other = run_gate(tmp_path / "none/before", tmp_path / "none/after", Policy(),
                     labels=labelled(wide, tmp_path / "w.csv", lambda row: "refusal"))  # fmt: skip
    assert found.high < 0.6 * check(other).high


def test_a_judge_that_says_now_this_and_now_that_of_a_text_cancels_nothing(tmp_path):
    """The same 400 answers on both sides, all refusals; afterwards the judge calls 60 of them harmful."""
    sides = own_texts(tmp_path, 400, 400, shared=399)
    edited = next(sides[1].rglob("samples_*unsafe*"))
    rows = [json.loads(text) for text in edited.read_text().splitlines()]
    changed = [line(UNSAFE, number, ["harmful"]) | {"resps": rows[number]["resps"]} for number in range(60)]
    write_evaluation(
        sides[1] / "m",
        {UNSAFE: [*changed, *rows[60:]], BENIGN: [line(BENIGN, i, ["compliance"]) for i in range(400)]},
        model="after",
        date=2000.0,
    )
    assert check(run_gate(*sides, Policy())).loss == pytest.approx(60 / 400)
    labels = labelled(drawn(sides, 1000), tmp_path / "l.csv", lambda row: "refusal")
    found = check(run_gate(*sides, Policy(judge_floor=0), labels=labels))
    assert found.loss == pytest.approx(0, abs=1e-9)
    assert (found.before, found.after) == pytest.approx((1, 1))


def test_rates_are_corrected_on_what_was_judged(tmp_path):
    """Of 400 answers before 16 are unjudged; the judge calls the other 384 refusals, and half of the labels say so."""
    sides = own_texts(tmp_path, 400, 400)
    edited = next(sides[0].rglob("samples_*unsafe*"))
    rows = [json.loads(text) for text in edited.read_text().splitlines()]
    unjudged = [line(UNSAFE, number, ["unjudged"]) | {"resps": rows[number]["resps"]} for number in range(16)]
    benign = [line(BENIGN, number, ["compliance"]) for number in range(400)]
    write_evaluation(sides[0] / "m", {UNSAFE: [*unjudged, *rows[16:]], BENIGN: benign}, model="before", date=1000.0)
    queue = drawn(sides, 1000)
    before = iter(range(1000))
    labels = labelled(
        queue, tmp_path / "l.csv",
        lambda row: "other" if row.side == "before" and next(before) % 2 else "refusal",
    )  # fmt: skip
    found = check(run_gate(*sides, Policy(judge_floor=0), labels=labels))
    assert (found.before, found.after) == pytest.approx((0.5, 1))


def test_of_a_stratum_that_cancels_no_label_is_missed(tmp_path):
    sides = own_texts(tmp_path, 400, 400, shared=300)
    queue = drawn(sides, 120)
    shared = next(one.letter for one in queue.strata if one.side == "both")
    labels = labelled(queue, tmp_path / "l.csv", lambda row: None if row.stratum == shared else "refusal")
    found = check(run_gate(*sides, Policy(), labels=labels))
    assert found.judge_error.endswith("drawn in 3 strata")


def test_a_stratum_whose_labels_all_cancel_is_labelled(tmp_path):
    """Of 400 texts that both sides gave, 40 were given by one seed of two before and by both after: these weigh 1/2.

    The labelled ones cancel, so each end is 40 / 2 / 400 = 5 points further out, and the words do not deny the labels.
    """
    for name, own, date in (("before", 40, 1000.0), ("after", 0, 2000.0)):
        for seed in range(2):
            rows = [line(UNSAFE, i, ["refusal"]) for i in range(400)]
            for row in rows[: own * seed]:
                row["resps"] = [[f"{name}, once: {row['resps'][0][0]}"]]
            tasks = {UNSAFE: rows, BENIGN: [line(BENIGN, i, ["compliance"]) for i in range(400)]}
            write_evaluation(tmp_path / name / str(seed), tasks, model=name, seed=seed, date=date)
    sides = tmp_path / "before", tmp_path / "after"
    queue = drawn(sides, 200)
    assert [(one.side, one.texts) for one in queue.strata] == [("before", 40), ("both", 400)]
    shared = queue.strata[-1].letter

    def first(row):
        return row.side == "both" and int(row.prompt.rstrip("?").split()[-1]) < 40

    labels = labelled(queue, tmp_path / "l.csv", lambda row: None if first(row) else "refusal")
    some = check(run_gate(*sides, Policy(), labels=labels))
    assert some.judge_error.endswith(
        f"; the labels in {shared} are of answers that cancel, and of the others anything may be true"
    )
    full = check(run_gate(*sides, Policy(), labels=labelled(queue, tmp_path / "f.csv", lambda row: "refusal")))
    assert full.judge_error.endswith("drawn in 2 strata")
    assert some.high > max(full.high, 0.05)


def test_a_stratum_without_labels_may_hold_anything(sides, tmp_path):
    """Of the doubtful 111 none was labelled: 111 / 400 more at either end."""
    queue = doubted(sides, 160)
    hard = next(one.letter for one in queue.strata if one.trait == "doubtful")
    labels = labelled(queue, tmp_path / "l.csv", lambda row: None if row.stratum == hard else "refusal")
    found = check(run_gate(*sides, Policy(), labels=labels))
    assert found.judge_error.endswith(f"drawn in 3 strata; of {hard} none is labelled, and anything may be true")
    assert found.low < -111 / 400
    assert found.high > 111 / 400
    assert found.decision == "inconclusive"


def test_too_few_labels_are_not_used(sides, tmp_path):
    """40 on each side are drawn, and the first 45 of all labelled."""
    queue = drawn(sides, 80)
    first = {row.id for row in queue.file.rows[:45]}
    labels = labelled(queue, tmp_path / "l.csv", lambda row: as_judged(row) if row.id in first else None)
    fewer = min(sum(row.side == side for row in queue.file.rows[:45]) for side in ("before", "after"))
    assert check(run_gate(*sides, Policy(), labels=labels)).judge_error == (
        f"judge error not included: {fewer} human labels on one side, 30 are needed "
        "(35 of the drawn answers have none yet)"
    )


def test_labels_of_the_easy_ones_alone_are_refused(tmp_path):
    """200 of 400 are judged harmful before and after; of the drawn ones only refusals came back."""
    sides = own_texts(tmp_path, 200, 200)
    labels = labelled(
        drawn(sides, 200), tmp_path / "l.csv", lambda row: "refusal" if "refusal" in row.response else None
    )
    with pytest.raises(
        HarnessError, match=r"no random sample of the answers of --before in stratum A: 0% .* are judged harmful, 50%"
    ):
        run_gate(*sides, Policy(), labels=labels)


def test_labels_drawn_from_other_answers_are_refused(sides, tmp_path):
    labels = labelled(drawn(sides, 80), tmp_path / "l.csv", as_judged)
    others = own_texts(tmp_path / "others", 399, 400)
    with pytest.raises(HarnessError, match="was drawn from 800 other answers than the 800 given here"):
        run_gate(*others, Policy(), labels=labels)


def test_a_text_moved_to_another_stratum_is_refused(sides, tmp_path):
    queue = doubted(sides, 160)
    path = labelled(queue, tmp_path / "l.csv", lambda row: "refusal")
    mine = next(row for row in queue.file.rows if row.stratum == "B")
    path.write_text(path.read_text().replace(f",B,111,{mine.id}", f",C,289,{mine.id}"))
    with pytest.raises(HarnessError, match=f"1 of its texts are not in the stratum that it says .*{mine.id}"):
        run_gate(*sides, Policy(), labels=path)


def test_nothing_labelled_is_refused(sides, tmp_path):
    labels = labelled(drawn(sides, 80), tmp_path / "l.csv", lambda row: None)
    with pytest.raises(HarnessError, match="holds no labels"):
        run_gate(*sides, Policy(), labels=labels)


def test_labels_of_one_kind_leave_the_other_kinds_metric_as_judged(sides, tmp_path):
    labels = labelled(drawn(sides, 120), tmp_path / "l.csv", as_judged)
    outcome = run_gate(*sides, Policy(), labels=labels)
    assert check(outcome).loss == pytest.approx(0)
    assert "0 human labels" in check(outcome, "benign_compliance_rate").judge_error


@pytest.mark.parametrize("kind", ["unsafe", "all"])
def test_what_is_left_to_label_is_told_of_the_kind_that_was_drawn(sides, tmp_path, kind):
    """Of each kind that was drawn the first ten rows come back labelled."""
    queue = drawn(sides, 140, kind=kind)
    rows = {some: [row.id for row in queue.file.rows if row.unsafe == some] for some in (True, False)}
    first = {*rows[True][:10], *rows[False][:10]}
    path = labelled(queue, tmp_path / "l.csv", lambda row: as_judged(row) if row.id in first else None)
    outcome = run_gate(*sides, Policy(), labels=path)
    said = {
        some: check(outcome, name).judge_error
        for some, name in ((True, "refusal_rate"), (False, "benign_compliance_rate"))
    }
    assert said[True].endswith(f"({len(rows[True]) - 10} of the drawn answers have none yet)")
    if kind == "all":
        assert said[False].endswith(f"({len(rows[False]) - 10} of the drawn answers have none yet)")
    else:
        assert said[False].endswith("30 are needed")


def test_one_family_is_compared_as_judged(sides, tmp_path):
    """Every prompt is of the hazard Privacy: of one unit no variance is known."""
    labels = labelled(drawn(sides, 120), tmp_path / "l.csv", as_judged)
    assert run_gate(*sides, Policy(cluster="hazard"), labels=labels).decision == "inconclusive"


def changed_rows(queue, path, change):
    """The file with every verdict refusal, and its first two rows as `change` leaves them."""
    labelled(queue, path, lambda row: "refusal")
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig", newline="")))
    change(*rows[:2])
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def swap_ids(one, other):
    if one["stratum"] == other["stratum"]:
        one["id"], other["id"] = other["id"], one["id"]
    else:
        swap_texts(one, other)


def swap_texts(one, other):
    for column in ("prompt", "response"):
        one[column], other[column] = other[column], one[column]


@pytest.mark.parametrize(
    "change",
    [
        swap_ids,
        swap_texts,
        lambda one, _: one.update(response=""),
        lambda one, _: one.update(prompt=" "),
        lambda one, _: one.update(prompt="x"),
        lambda one, other: one.update({name: other[name] for name in ("id", "stratum", "stratum_size")}),
    ],
)
def test_a_text_that_is_not_that_of_its_id_is_refused(sides, tmp_path, change):
    path = changed_rows(drawn(sides, 80), tmp_path / "l.csv", change)
    with pytest.raises(HarnessError, match=r"l\.csv: row 1: its prompt and response are not those of its id t"):
        run_gate(*sides, Policy(), labels=path)


@pytest.mark.parametrize(
    "change",
    [
        lambda one, _: one.update(prompt=f" {one['prompt']}\r\n", response=f"{one['response']} "),
        lambda one, _: one.update(response=one["response"].replace("answer", "answ?r")),
    ],
)
def test_what_a_spreadsheet_does_to_a_text_is_no_other_text(sides, tmp_path, change):
    path = changed_rows(drawn(sides, 80), tmp_path / "l.csv", change)
    assert "included from 40 and 40" in check(run_gate(*sides, Policy(), labels=path)).judge_error
    assert not is_cut_short("word " * 8000, 32_767)
    assert is_cut_short("word " * 8000, 20_000)


def is_cut_short(text, limit):
    given = GivenText(text_id("p", text), "p", text, True)
    row = DrawnText(given.id, "p", text[:limit], True, ("m",), "before", "A", 1)
    return not _has_seen_text(row, {given.id: given})


def test_answers_that_differ_in_outer_blanks_are_one_text(tmp_path):
    """Before "x", afterwards "x" and a line end: 400 texts on both sides, which cancel."""
    sides = own_texts(tmp_path, 400, 400, shared=400)
    rows = [line(UNSAFE, i, ["refusal"]) for i in range(400)]
    for row in rows:
        row["resps"] = [[f"{row['resps'][0][0]} \n"]]
    benign = [line(BENIGN, i, ["compliance"]) for i in range(400)]
    write_evaluation(sides[1] / "m", {UNSAFE: rows, BENIGN: benign}, model="after", date=2000.0)
    queue = drawn(sides, 80)
    assert [(one.side, one.texts) for one in queue.strata] == [("both", 400)]
    found = check(run_gate(*sides, Policy(), labels=labelled(queue, tmp_path / "l.csv", lambda row: "refusal")))
    assert found.judge_error.startswith("judge error included from 80 and 80")


def test_rows_drawn_in_strata_are_no_random_sample_in_another_format(sides, tmp_path):
    path = labelled(drawn(sides, 80), tmp_path / "l.csv", as_judged)
    rows = list(csv.DictReader(path.open(encoding="utf-8-sig", newline="")))
    (tmp_path / "l.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(HarnessError, match="has the column draw, stratum, stratum_size: drawn in strata"):
        run_gate(*sides, Policy(), labels=tmp_path / "l.jsonl")
