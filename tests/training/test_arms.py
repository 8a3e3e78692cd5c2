"""Which pairs an arm trains on, how long, and with which loss."""

import math

import pytest
from datasets import Dataset

from harness.recipes.schema import Arm, Filter, TrainingSettings
from harness.scoring.logprobs import PairLogprobs
from harness.support.errors import HarnessError
from harness.training.arms import choose_arm_pairs
from harness.training.difficulty import _split_halves, dpo_loss

VERDICTS = [("refusal", "refusal"), ("refusal", "harmful"), ("harmful", "other"), ("refusal", "refusal")]


def table(source, verdicts=VERDICTS, **columns):
    return Dataset.from_list(
        [
            {
                "pair_id": f"{source}-{n}",
                "prompt_id": f"p{n}",
                "ln_ches": float(n),
                "chosen_verdict": pair[0],
                "rejected_verdict": pair[1],
                **{name: values[n] for name, values in columns.items()},
            }
            for n, pair in enumerate(verdicts)
        ]
    )


def kept(arm, seed=0, **tables):
    return choose_arm_pairs(arm, {"on_policy": table("on"), **tables}, seed)[0]["pair_id"][:]


@pytest.mark.parametrize(
    ("only", "expected"),
    [("two_refusals", ["on-0", "on-3"]), ("mixed", ["on-1"]), ("two_non_refusals", ["on-2"])],
)
def test_pairs_of_one_type(only, expected):
    assert kept(Arm(filter=Filter(only=only))) == expected


def test_a_type_that_no_pair_has_is_told():
    with pytest.raises(HarnessError, match="no pair is of the type mixed"):
        choose_arm_pairs(Arm(filter=Filter(only="mixed")), {"on_policy": table("on", VERDICTS[:1])}, 0)


def test_the_hardest_pairs_are_dropped():
    hard = table("on", validation_loss=[0.9, 0.2, 0.7, 0.1])
    arm = Arm(filter=Filter(keep_lowest=0.5, by="validation_loss"))
    assert choose_arm_pairs(arm, {"on_policy": hard}, 0)[0]["pair_id"][:] == ["on-1", "on-3"]


@pytest.mark.parametrize(("end", "expected"), [("keep_highest", ["on-0", "on-2"]), ("keep_lowest", ["on-1", "on-3"])])
def test_pairs_are_kept_by_what_they_do_to_refusals(end, expected):
    """Best and worst; a pair whose influence is not known is in neither."""
    measured = table("on", [*VERDICTS, VERDICTS[0]], refusal_influence=[0.9, -0.2, 0.7, -0.1, None])
    arm = Arm(filter=Filter(by="refusal_influence", **{end: 0.5}))
    assert choose_arm_pairs(arm, {"on_policy": measured}, 0)[0]["pair_id"][:] == expected


def test_gold_pairs_replace_the_sampled_ones():
    assert kept(Arm(pairs="gold"), gold=table("gold")) == [f"gold-{n}" for n in range(4)]


def test_mixing_keeps_the_prompts_and_takes_half_from_each():
    seen = set()
    for seed in range(20):
        names = kept(Arm(pairs="mixed"), seed, off_policy=table("off"))
        assert sorted(name.split("-")[1] for name in names) == ["0", "1", "2", "3"]
        assert sum(name.startswith("off") for name in names) == 2
        seen.add(tuple(sorted(names)))
    assert len(seen) > 1


def test_mixing_needs_shared_prompts():
    other = table("off").remove_columns("prompt_id").add_column("prompt_id", ["x"] * 4)
    with pytest.raises(HarnessError, match="no prompt has both"):
        kept(Arm(pairs="mixed"), off_policy=other)


def test_dpo_loss_by_hand():
    before = PairLogprobs(-10.0, -12.0)
    # Margin (-9 + 10) - (-15 + 12) = 4, so -ln sigmoid(0.1 * 4); and the same pair the other way round.
    assert dpo_loss(PairLogprobs(-9.0, -15.0), before, 0.1) == pytest.approx(math.log(1 + math.exp(-0.4)))
    assert dpo_loss(PairLogprobs(-11.0, -9.0), before, 0.1) == pytest.approx(math.log(1 + math.exp(0.4)))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_halves_leave_each_pair_out_once(n):
    # Private, as what is trained on which half is not told.
    halves = _split_halves(n, 1)
    assert sorted(place for _, left_out in halves for place in left_out) == list(range(n))
    assert all(not set(trained) & set(left_out) for trained, left_out in halves)


@pytest.fixture(scope="module")
def pairs():
    def said(role, text):
        return [{"role": role, "content": text}]

    return Dataset.from_list(
        [
            {
                "pair_id": f"pair-{n}",
                "prompt": said("user", f"How do I {'really ' * n}rob a bank?"),
                "chosen": said("assistant", "Sorry, I cannot help" + " with that" * n + "."),
                "rejected": said("assistant", "Sure, first" + " get the parts" * (3 - n) + "."),
            }
            for n in range(3)
        ]
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arm",
    [
        Arm(sft_weight=0.3),
        Arm(loss="ipo_sequence", beta=0.02),
        Arm(loss="cpo", sft_weight=0.5),
        Arm(loss="simpo", target_margin=0.5, beta=2.0),
        Arm(loss="alphapo", target_margin=0.5, alpha=0.5, beta=2.0),
        Arm(loss="dpop", penalty=5.0),
    ],
    ids=lambda arm: arm.loss,
)
def test_the_trainers_first_loss_is_the_equations(arm, pairs, micro):
    """Before the first step the model is the reference, so the reference's log-probabilities give every loss."""
    from harness.models.loading import load_model
    from harness.preferences.pairs import check_pair
    from harness.preferences.tokens import tokenize_pair
    from harness.scoring.logprobs import pair_logprobs
    from harness.training.jobs import TrainingJob
    from harness.training.train import train_on_pairs

    model, tokenizer = load_model(str(micro))
    reference = pair_logprobs(model, tokenizer, pairs)
    tokens = {row["pair_id"]: tokenize_pair(check_pair(row), tokenizer) for row in pairs}
    training = TrainingSettings(batch_size=3, micro_batch_size=3, learning_rate=1e-4)
    log = train_on_pairs(TrainingJob(str(micro), pairs, reference, arm, training, 1, 0, "test")).log

    def softplus(x):
        return math.log1p(math.exp(x))

    def loss(name):
        c, r = reference[name].chosen, reference[name].rejected
        nc, nr = len(tokens[name].chosen), len(tokens[name].rejected)
        beta = arm.beta or 0.1
        powers = [(1 - math.exp(-0.5 * x / n)) / 0.5 for x, n in ((c, nc), (r, nr))]
        value = {
            "sigmoid": math.log(2),
            "dpop": math.log(2),
            "ipo_sequence": (1 / (2 * beta)) ** 2,
            "cpo": softplus(-beta * (c - r)),
            "simpo": softplus(0.5 - beta * (c / nc - r / nr)),
            "alphapo": softplus(0.5 - beta * (powers[0] - powers[1])),
        }[arm.loss]
        return value - arm.sft_weight * c

    assert log[0]["loss"] == pytest.approx(sum(map(loss, reference)) / 3, rel=1e-4)
