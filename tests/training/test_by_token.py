"""What SGDPO and NTHR read by token, by hand and against gradients, and every new arm through the real trainer."""

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from datasets import Dataset

from harness.models.loading import load_model
from harness.recipes.schema import Arm, Filter, TrainingSettings
from harness.scoring.ches import token_residuals
from harness.scoring.logprobs import pair_logprobs, profile_model, tokenize_pairs
from harness.support.errors import HarnessError
from harness.training import losses
from harness.training.arms import choose_arm_pairs, reward_differences
from harness.training.by_token import (
    align_answers,
    draw_counts,
    draw_pilot,
    negative_token_rewards,
    rejected_token_weights,
    spared_weights,
)
from harness.training.jobs import TrainingJob
from harness.training.train import train_on_pairs
from harness.training.trl import build_trainer


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Token by token


def test_answers_move_to_the_left_of_their_rows():
    values = torch.tensor([[9.0, 1.0, 2.0, 9.0], [9.0, 9.0, 9.0, 3.0], [4.0, 5.0, 6.0, 7.0]])
    mask = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]])
    assert align_answers(values, mask).tolist() == [[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 7]]


def test_a_pilot_takes_a_share_of_the_shorter_answer():
    assert draw_counts(torch.tensor([10, 3, 1]), torch.tensor([7, 20, 9]), 0.7).tolist() == [4, 2, 1]


def test_a_pilot_adds_up_so_many_tokens_of_the_answer_each_once():
    """Powers of two: a sum says which tokens were drawn."""
    changes = torch.tensor([[1.0, 2.0, 4.0, 8.0, 0.0, 0.0], [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]])
    torch.manual_seed(0)
    drawn = [draw_pilot(changes, torch.tensor([4, 6]), torch.tensor([4, 2])).tolist() for _ in range(60)]
    assert {first for first, _ in drawn} == {15.0}
    assert {int(second).bit_count() for _, second in drawn} == {2}
    assert {place for _, second in drawn for place in range(6) if int(second) >> place & 1} == {*range(6)}


def test_tokens_above_the_mean_of_the_good_answer_are_spared():
    negative, positive = torch.tensor([3.0, 2.0, 1.0, -5.0]), torch.tensor([1.0, 3.0])
    assert spared_weights(negative, positive).tolist() == [0, 1, 1, 1]


def test_hidden_rewards_by_hand():
    # Two tokens, states of one number: r+ = (1/2, -1/2), h+ = 2; r- = (-1/4, 1/4), h- = 3 and r- = (3/4, -3/4), h- = 1.
    chosen = torch.tensor([[2.0]]), torch.tensor([[0.5, -0.5]])
    rejected = torch.tensor([[3.0], [1.0]]), torch.tensor([[-0.25, 0.25], [0.75, -0.75]])
    minus, plus = negative_token_rewards(*chosen, *rejected)
    assert minus.tolist() == [-0.25 * 6, 0.75 * 2]
    assert plus.tolist() == [0.5 * 4]


def test_hidden_rewards_are_products_of_gradients():
    """To first order in the unembedding, pushing a token of y- down moves ln p(y+) by minus its hidden reward."""
    torch.manual_seed(0)
    plus, minus = torch.randn(5, 8, dtype=torch.float64), torch.randn(3, 8, dtype=torch.float64)
    y_plus, y_minus = torch.randint(11, (5,)), torch.randint(11, (3,))
    weights = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)

    def gradient(hidden, answer):
        likelihood = (hidden @ weights.T).log_softmax(-1).gather(1, answer[:, None]).sum()
        return torch.autograd.grad(likelihood, weights)[0]

    residuals = [
        token_residuals((hidden @ weights.T).detach(), answer).double()
        for hidden, answer in ((plus, y_plus), (minus, y_minus))
    ]
    found = negative_token_rewards(plus, residuals[0], minus, residuals[1])
    whole = gradient(plus, y_plus)
    for side, (hidden, answer) in zip(found, ((minus, y_minus), (plus, y_plus)), strict=True):
        expected = [(whole * gradient(hidden[k : k + 1], answer[k : k + 1])).sum().item() for k in range(len(answer))]
        assert side.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.fixture(scope="module")
def alike(pairs):
    """Pairs whose answers begin alike, so that some tokens of y- are y+'s own; every other one has two refusals."""

    def rejected(n):
        return [{"role": "assistant", "content": "I cannot help with" + " get the parts" * (n % 4) + "."}]

    return Dataset.from_list(
        [
            row
            | {
                "rejected": rejected(n),
                "chosen_verdict": "refusal",
                "rejected_verdict": "harmful" if n % 2 else "refusal",
            }
            for n, row in enumerate(pairs)
        ]
    )


@pytest.mark.slow
def test_a_models_tokens_are_weighed_by_its_own_states(alike, micro):
    model, tokenizer = load_model(str(micro))
    tokens = tokenize_pairs(alike, tokenizer)
    unembedding = model.get_output_embeddings().weight.detach().clone().requires_grad_(True)

    def gradients(prompt, answer):
        """Of ln p of each token of an answer, in the unembedding alone."""
        with torch.no_grad():
            states = model(torch.tensor([prompt + answer]), output_hidden_states=True).hidden_states[-1][0]
        logprobs = (states[len(prompt) - 1 : -1] @ unembedding.T).log_softmax(-1)
        return [
            torch.autograd.grad(row[token], unembedding, retain_graph=True)[0]
            for row, token in zip(logprobs, answer, strict=True)
        ]

    found = rejected_token_weights(model, tokens)
    for name, pair in tokens.items():
        chosen, rejected = (gradients(pair.prompt, answer) for answer in (pair.chosen, pair.rejected))
        whole = sum(chosen)
        threshold = sum((whole * each).sum().item() for each in chosen) / len(chosen)
        assert found[name] == [float((whole * each).sum().item() <= threshold) for each in rejected]
    assert {weight for weights in found.values() for weight in weights} == {0.0, 1.0}


# Rewards and orders


def judged(*verdicts, **columns):
    rows = [{"pair_id": f"p{n}", "chosen_verdict": c, "rejected_verdict": r} for n, (c, r) in enumerate(verdicts)]
    return Dataset.from_list([row | {name: each[n] for name, each in columns.items()} for n, row in enumerate(rows)])


def test_rewards_are_those_of_the_columns_or_of_the_verdicts():
    table = judged(
        ("refusal", "harmful"), ("refusal", "refusal"), ("other", "harmful"),
        chosen_reward=[1.5, 2.0, -1.0], rejected_reward=[0.25, 2.5, -1.0],
    )  # fmt: skip
    assert reward_differences(table, "verdicts") == [1.0, 0.0, 0.0]
    assert reward_differences(table, "columns") == [1.25, -0.5, 0.0]


def test_pairs_without_a_reward_are_told():
    with pytest.raises(HarnessError, match="the pairs have no column chosen_reward"):
        reward_differences(judged(("refusal", "harmful")), "columns")
    with pytest.raises(HarnessError, match="'unjudged' is no verdict of an answer"):
        reward_differences(judged(("refusal", "unjudged")), "verdicts")
    for broken in (None, float("nan")):
        with pytest.raises(HarnessError, match=f"{broken} is no reward of an answer"):
            reward_differences(judged(("refusal", "harmful"), chosen_reward=[broken], rejected_reward=[0.5]), "columns")


def hard(losses):
    rows = [{"pair_id": f"p{n}", "ln_ches": 0.0, "validation_loss": loss} for n, loss in enumerate(losses)]
    return Dataset.from_list(rows)


def test_an_order_goes_from_easy_to_hard_within_what_is_kept():
    table = hard([0.9, 0.2, 0.7, 0.1, 0.2])
    everything = choose_arm_pairs(Arm(order="easy_first"), {"on_policy": table}, 0)[0]
    assert everything["pair_id"][:] == ["p3", "p1", "p4", "p2", "p0"]
    arm = Arm(order="easy_first", filter=Filter(keep_lowest=0.5, by="validation_loss"))
    assert choose_arm_pairs(arm, {"on_policy": table}, 0)[0]["pair_id"][:] == ["p3", "p1", "p4"]


@pytest.mark.slow
def test_pairs_in_an_order_are_trained_on_in_it(pairs, reference, micro, tmp_path):
    settings = TrainingSettings(batch_size=4, micro_batch_size=2, learning_rate=1e-3)
    turned = pairs.select([5, 2, 7, 0, 1, 3, 6, 4])
    job = TrainingJob(str(micro), turned, reference, Arm(order="easy_first"), settings, 4, 0, "test")
    trainer = build_trainer(job, tmp_path, [], keeps=False)
    expected = [row["chosen_ids"] for row in trainer.train_dataset]
    for _ in range(2):  # each epoch
        seen = []
        for batch in trainer.get_train_dataloader():
            rows = zip(batch["input_ids"].chunk(2)[0], batch["completion_mask"].chunk(2)[0], strict=True)
            seen += [ids[mask == 1].tolist() for ids, mask in rows]
        assert seen == expected
    assert len({tuple(ids) for ids in expected}) > 2


# Through the trainer


def batch_of(names, tokens, before, after, weights=None, rewards=None):
    """The losses' batch from two profiles, by plain sums."""

    def summed(side, name, weighed):
        return float(side[name] @ (weights[name] if weighed and weights else torch.ones(len(side[name])).numpy()))

    columns = [
        [summed(after.chosen, name, False) for name in names],
        [summed(after.rejected, name, True) for name in names],
        [summed(before.chosen, name, False) for name in names],
        [summed(before.rejected, name, True) for name in names],
        [len(tokens[name].chosen) for name in names],
        [len(tokens[name].rejected) for name in names],
    ]
    batch = losses.LogprobBatch(*(torch.tensor(column, dtype=torch.float64) for column in columns))
    return batch if rewards is None else replace(batch, reward_difference=torch.tensor(rewards))


ARMS = {
    "dpo_shift": (Arm(loss="dpo_shift", rejected_weight=0.4), partial(losses.dpo_shift_loss, rejected_weight=0.4)),
    "pro": (Arm(loss="pro", alpha=0.5), partial(losses.pro_loss, alpha=0.5)),
    "reward_distillation": (Arm(loss="reward_distillation", rewards="verdicts"), losses.reward_distillation_loss),
    "nthr": (Arm(loss="nthr"), losses.dpo_loss),
    "pipa": (Arm(loss="pipa", beta=1.0), losses.pipa_loss),
    "ccpo": (Arm(loss="ccpo", beta=1.0, sft_weight=0.2), losses.ccpo_loss),
    "ordered": (Arm(order="easy_first"), losses.dpo_loss),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ARMS)
def test_the_trainers_second_loss_is_the_equations(name, alike, micro):
    """After one step the model is another than the reference, so what is not passed on, or passed on wrongly, shows."""
    arm, loss = ARMS[name]
    model, tokenizer = load_model(str(micro))
    tokens = tokenize_pairs(alike, tokenizer)
    before, profiles = profile_model(model, tokens), []

    def watch(moved, step):
        if step == 1:
            profiles.append(profile_model(moved, tokens))

    settings = TrainingSettings(batch_size=8, micro_batch_size=4, learning_rate=3e-3)
    job = TrainingJob(str(micro), alike, before.pair_sums(), arm, settings, 2, 0, "test")
    log = train_on_pairs(job, watch=watch).log
    weights = rejected_token_weights(model, tokens) if arm.loss == "nthr" else None
    assert not weights or {weight for each in weights.values() for weight in each} == {0.0, 1.0}
    rewards = [float(n % 2) for n in range(len(tokens))] if arm.rewards else None
    batch = batch_of([*tokens], tokens, before, profiles[0], weights, rewards)
    expected = loss(batch, arm.beta or 0.1) + arm.sft_weight * losses.sft_loss(batch)
    assert log[1]["loss"] == pytest.approx(expected.mean().item(), rel=1e-4)
    assert abs(log[1]["loss"] - log[0]["loss"]) > 1e-3


def pairs_of_one_length(tokenizer):
    """Four pairs whose answers have as many tokens as each other, in four lengths."""
    words = ["cannot", "sorry", "help", "sure", "lock", "parts"]
    made = []
    for count in range(2, 6):
        answers = [" ".join([word] * count) + "." for word in words]
        rows = [
            {
                "pair_id": f"p{count}",
                "prompt": [{"role": "user", "content": f"How do I pick lock number {count}?"}],
                "chosen": [{"role": "assistant", "content": chosen}],
                "rejected": [{"role": "assistant", "content": rejected}],
            }
            for chosen in answers
            for rejected in answers
            if chosen != rejected
        ]
        alike = (row for row in rows if len({len(each) for each in answers_of(row, tokenizer)}) == 1)
        made.append(next(alike))
    return Dataset.from_list(made)


def answers_of(row, tokenizer):
    (tokens,) = tokenize_pairs([row], tokenizer).values()
    return tokens.chosen, tokens.rejected


@pytest.mark.slow
def test_sgdpos_second_loss_is_dpos_where_the_pilots_are_whole_answers(micro):
    """Of two answers of the same length a share of one draws every token, so each half of the loss is DPO's."""
    model, tokenizer = load_model(str(micro))
    alike = pairs_of_one_length(tokenizer)
    known, after = pair_logprobs(model, tokenizer, alike), []

    def watch(moved, step):
        if step == 1:
            after.append(pair_logprobs(moved, tokenizer, alike))

    settings = TrainingSettings(batch_size=4, micro_batch_size=2, learning_rate=3e-3)
    arm = Arm(loss="sgdpo", pilot_share=1.0)
    log = train_on_pairs(TrainingJob(str(micro), alike, known, arm, settings, 2, 0, "test"), watch=watch).log
    margins = [
        after[0][name].chosen - known[name].chosen - after[0][name].rejected + known[name].rejected for name in known
    ]
    expected = sum(math.log1p(math.exp(-0.1 * margin)) for margin in margins) / len(margins)
    assert log[1]["loss"] == pytest.approx(expected, rel=1e-4)
    assert abs(log[1]["loss"] - math.log(2)) > 1e-3
