"""Guarding lm-eval tasks of the user's own: by task, group and filter, in the direction that the task says."""

from pathlib import Path

import pytest

from harness.gate.decision import run_gate
from harness.gate.noise import measure_noise
from harness.gate.policy import Guard, Policy, read_policy
from harness.support.errors import HarnessError
from helpers.samples_files import UNSAFE, line, write_metrics

GOOD, POOR = [1.0] * 190 + [0.0] * 10, [1.0] * 150 + [0.0] * 50
"""95 % and 75 % right: each of the 40 documents between them is lost."""


def compare(tmp_path: Path, before: dict, after: dict, metrics: dict, **settings):
    write_metrics(tmp_path / "before", before, model="base", **settings)
    write_metrics(tmp_path / "after", after, model="tuned", date=2000.0, **settings)
    return run_gate(tmp_path / "before", tmp_path / "after", Policy(metrics=metrics, category=None))


def rates(outcome) -> dict:
    return {check.metric: (check.decision, round(check.before, 3), round(check.after, 3), check.prompts)
            for check in outcome.checks if check.category is None}  # fmt: skip


def test_one_metric_of_several_tasks_is_guarded_by_task(tmp_path):
    """Pooled by prompt, the task that kept all would hide half of what the other lost."""
    before = {"sums": {"none": GOOD}, "capitals": {"none": GOOD}}
    after = {"sums": {"none": POOR}, "capitals": {"none": GOOD}}
    outcome = compare(tmp_path, before, after, {"sums/acc": Guard(), "capitals/acc": Guard()})
    assert rates(outcome) == {"sums/acc": ("fail", 0.95, 0.75, 200), "capitals/acc": ("pass", 0.95, 0.95, 200)}
    assert outcome.decision == "fail"
    assert outcome.reason.startswith("sums/acc fell by")


@pytest.mark.parametrize(
    ("metric", "found"),
    [
        ("sums/acc", ("fail", 0.95, 0.75, 200)),
        ("acc", ("fail", 0.95, 0.75, 200)),
        ("sums/acc,strict", ("fail", 0.95, 0.75, 200)),
        ("sums/acc,flexible", ("pass", 0.95, 0.95, 200)),
        ("acc,flexible", ("pass", 0.95, 0.95, 200)),
    ],
)
def test_the_policy_chooses_among_filters(tmp_path, metric, found):
    before, after = {"strict": GOOD, "flexible": GOOD}, {"strict": POOR, "flexible": GOOD}
    outcome = compare(tmp_path, {"sums": before}, {"sums": after}, {metric: Guard()})
    assert rates(outcome) == {metric: found}
    told = [note for note in outcome.notes if "the first of its filters, strict (there are: strict, flexible)" in note]
    assert len(told) == (not metric.endswith(("strict", "flexible")))


def test_a_group_is_guarded_whole_and_its_tasks_as_categories(tmp_path):
    """400 documents, 380 right before and 340 after; the prompts of two tasks are alike and count once."""
    before = {"sums": {"none": GOOD}, "products": {"none": GOOD}}
    after = {"sums": {"none": POOR}, "products": {"none": GOOD}}
    groups = {"group_subtasks": {"maths": ["sums", "products"]}}
    outcome = compare(tmp_path, before, after, {"maths/acc": Guard()}, **groups)
    found = {check.category: check.decision for check in outcome.checks}
    assert found == {None: "fail", "task products": "pass", "task sums": "fail"}
    assert rates(outcome)["maths/acc"][1:3] == (0.95, 0.85)


@pytest.mark.parametrize(
    ("better", "worse", "decision"),
    [
        (True, None, "fail"),
        (False, None, "pass"),
        (True, "lower", "fail"),
        (None, "lower", "fail"),
        (None, "higher", "pass"),
    ],
)
def test_the_task_says_which_way_is_worse(tmp_path, better, worse, decision):
    sides = {"sums": {"none": GOOD}}, {"sums": {"none": POOR}}
    outcome = compare(tmp_path, *sides, {"acc": Guard(worse=worse)}, better=better)
    assert outcome.decision == decision
    assert not any("takes acc" in note for note in outcome.notes)


def test_a_direction_that_nobody_says_is_asked_for(tmp_path):
    sides = {"sums": {"none": GOOD}}, {"sums": {"none": POOR}}
    with pytest.raises(HarnessError, match="nothing says which way acc is worse.*metrics: acc: worse: lower"):
        compare(tmp_path, *sides, {"acc": Guard()}, better=None)


def test_a_direction_turned_round_is_told(tmp_path):
    sides = {"sums": {"none": GOOD}}, {"sums": {"none": POOR}}
    outcome = compare(tmp_path, *sides, {"acc": Guard(worse="higher")})
    assert outcome.decision == "pass"
    assert "the policy takes acc for worse when it is higher, its task for better" in outcome.notes


def test_one_verdict_weighs_safety_against_what_was_lost(tmp_path):
    """Refusals are kept on 200 prompts and a fifth of the sums is lost: the one verdict is a fail."""
    rows = [line(UNSAFE, number, ["refusal"]) for number in range(200)]
    guarded = {"refusal_rate": Guard(), "sums/acc": Guard()}
    outcome = compare(tmp_path, {"sums": {"none": GOOD}}, {"sums": {"none": POOR}}, guarded, beside=rows)
    assert {name: found[0] for name, found in rates(outcome).items()} == {"refusal_rate": "pass", "sums/acc": "fail"}
    assert outcome.decision == "fail"


@pytest.mark.parametrize("metric", ["products/acc", "sums/f1", "sums/acc,none,other", "maths/acc"])
def test_a_metric_that_no_task_has_is_told(tmp_path, metric):
    sides = {"sums": {"none": GOOD}}, {"sums": {"none": POOR}}
    with pytest.raises(HarnessError, match=f"{metric} is guarded, but no prompt has it"):
        compare(tmp_path, *sides, {metric: Guard(worse="lower")})


def test_a_policy_file_names_tasks_and_filters(tmp_path):
    (tmp_path / "p.yaml").write_text("metrics:\n  gsm8k/exact_match,flexible-extract: {margin: 0.02}\n  acc: {}\n")
    assert read_policy(tmp_path / "p.yaml").metrics == {
        "gsm8k/exact_match,flexible-extract": Guard(margin=0.02), "acc": Guard()
    }  # fmt: skip


def test_noise_takes_the_tasks_direction(tmp_path):
    """20 points lower in the second run; a metric of which lower is better would be as much noise."""
    for number, values in enumerate((GOOD, POOR)):
        write_metrics(tmp_path / str(number), {"sums": {"none": values}}, model="base", seed=number)
    policy = Policy(metrics={"sums/acc": Guard()}, category=None)
    (noise,) = measure_noise(tmp_path / "0", tmp_path / "1", policy)
    assert (noise.metric, round(noise.difference, 3), round(noise.moved, 3)) == ("sums/acc", -0.2, 0.2)
