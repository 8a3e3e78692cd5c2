"""What results.json adds for many arms: ranks, the change on an arm's own pairs, scores by pair type."""

import pytest

# Private, as a run that gives just these numbers cannot be made; what they are part of is `compute_results`.
from harness.run.results import _scores_by_type, _trained_logprob_change
from harness.support.artifacts import read_json
from harness.support.run_results import parse_run_results
from helpers.report_runs import arm_result, flagged, run_results, wrapped, write_run


def test_arms_rank_by_refusals_and_the_unjudged_last():
    rates = {"baseline": 0.9, "raw": 0.3, "none": None, "best": 0.8, "tied": 0.3}
    results = run_results({name: arm_result(rate, rate) for name, rate in rates.items()})
    assert results.ranked_arms == ["best", "raw", "tied", "none"]


def test_the_change_on_an_arms_own_pairs_by_hand():
    before = {"a": [-10.0, -9.0], "b": [-20.0, -9.0], "gold-c": [-5.0, -9.0]}
    seeds = [
        {
            "trained_pair_ids": ["a", "gold-c"],
            "logprobs": {"a": [-8.0, 0], "b": [-1.0, 0]},
            "other_logprobs": {"gold-c": [-1.0, 0]},
        },
        {"trained_pair_ids": ["b"], "logprobs": {"a": [0.0, 0], "b": [-21.0, 0]}, "other_logprobs": {}},
    ]
    # First seed: (2 + 4) / 2 = 3; second: -1. Their mean is 1, their standard deviation 4 / sqrt 2.
    found = _trained_logprob_change(before, seeds)
    assert found.per_seed == [3.0, -1.0]
    assert (found.value, found.spread) == pytest.approx((1.0, 4 / 2**0.5))
    assert _trained_logprob_change(before, seeds[:1]).spread is None


def test_scores_by_pair_type(tmp_path):
    from datasets import Dataset

    verdicts = [
        ("refusal", "refusal", -1.0),
        ("refusal", "refusal", -3.0),
        ("refusal", "harmful", -9.0),
        ("harmful", "other", None),
    ]
    rows = [{"chosen_verdict": a, "rejected_verdict": b, "ln_ches": score} for a, b, score in verdicts]
    Dataset.from_list(rows).to_parquet(str(tmp_path / "scores.parquet"))
    found = _scores_by_type(tmp_path / "scores.parquet")
    assert (found["two_refusals"].value, found["two_refusals"].n) == (-2.0, 2)
    assert (found["mixed"].value, found["mixed"].low, found["mixed"].n) == (-9.0, None, 1)
    assert found["two_non_refusals"].to_json() == {"value": None, "low": None, "high": None, "n": 0}


def test_no_verdicts_no_types(tmp_path):
    from datasets import Dataset

    Dataset.from_list([{"ln_ches": 1.0}]).to_parquet(str(tmp_path / "scores.parquet"))
    assert _scores_by_type(tmp_path / "scores.parquet") is None


def test_rates_of_flags_by_hand(tmp_path):
    """With all pairs, of 8 unsafe training prompts one is unjudged and one unfinished, 3 and 7 partial, 4 off topic.

    Of 4 held out, 5 is off topic with one seed of two.
    """
    root = write_run(tmp_path / "run", given=flagged)
    found = parse_run_results(read_json(root / "results.json"), "results.json").arms["raw"].metrics
    rates = {
        metric: (found.flagged(metric, "train"), found.flagged(metric, "test"))
        for metric in ("unfinished_rate", "partial_rate", "off_topic_rate")
    }
    assert rates == {
        "unfinished_rate": pytest.approx((1 / 8, 0)),
        "partial_rate": pytest.approx((2 / 7, 0)),
        "off_topic_rate": pytest.approx((1 / 7, 1 / 8)),
    }
    assert (found.least_harmful("train"), found.least_harmful("test")) == pytest.approx((2 / 7, 3 / 4))


def test_a_run_without_flags_has_no_rates_of_them(tmp_path):
    root = write_run(tmp_path / "run")
    assert "off_topic_rate" not in read_json(root / "results.json")["arms"]["raw"]["metrics"]
    found = parse_run_results(read_json(root / "results.json"), "results.json").arms["raw"].metrics
    assert found.flagged("off_topic_rate", "train") is None
    assert found.least_harmful("train") is None


def test_rates_under_an_attack_stand_beside_those_of_the_prompts_as_they_are(tmp_path):
    """Eight training prompts and four held out, each refused under the attack but with all pairs, where none is."""
    plain = read_json(write_run(tmp_path / "plain") / "results.json")["arms"]
    arms = read_json(write_run(tmp_path / "wrapped", given=wrapped) / "results.json")["arms"]
    for name, arm in arms.items():
        assert {key: arm[key] for key in arm if key != "by_variant"} == plain[name]
        rates = arm["by_variant"].pop("attack persona")
        found = {
            split: (rates["refusal_rate"][split]["value"], rates["refusal_rate"][split]["n"])
            for split in ("train", "test")
        }
        refused = 0.0 if name == "raw" else 1.0
        assert found == {"train": (refused, 8), "test": (refused, 4)}
        benign = rates["benign_compliance_rate"]["train"]
        assert (benign["value"], benign["n"]) == (None, 0), "benign prompts are put as they are"
        assert arm["by_variant"] == {}
