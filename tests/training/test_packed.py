"""Packed batches, held against TRL's own padded ones."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from harness.recipes.schema import Arm, Lora, TrainingSettings
from harness.scoring.packing import decoder_body, use_trie_attention
from harness.training import packed
from harness.training.jobs import TrainingJob
from harness.training.packed import pack_batch, pack_forward, packing_doubts
from harness.training.train import train_on_pairs
from harness.training.trl import build_trainer
from helpers.devices import rename_device
from helpers.preference_rows import CONFIGS, make, ragged_pairs

FIELDS = ("log_probs", "entropy", "log_sum_sq_probs", "mean_logits", "is_top1")


def collate(pairs):
    """(prompt, chosen, rejected) as TRL pads them, labels with them."""
    rows = [dict(zip(("prompt_ids", "chosen_ids", "rejected_ids"), map(list, pair), strict=True)) for pair in pairs]
    batch = DataCollatorForPreference(pad_token_id=0)(rows)
    labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
    return {**batch, "labels": labels}


def draw_pairs(count):
    """Ragged pairs, and two more: an answer that begins as another does, a prompt that begins as another."""
    drawn = [(each.prompt, each.chosen, each.rejected) for each in ragged_pairs(count)]
    prompt = drawn[-1][0]
    return [*drawn, (prompt, [7, 8, 9], [7, 8, 9, 10]), (prompt[:2], [*prompt[2:], 11], [12])]


# The layout


def test_two_answers_share_the_prompt():
    """10 11 with answers 20 21 and 30: 11 is computed once and predicts 20 and 30, the last tokens are not computed."""
    laid = pack_batch(**collate([([10, 11], [20, 21], [30])]))
    assert laid.tokens.tolist() == [10, 11, 20]
    assert laid.depths.tolist() == [0, 1, 2]
    assert laid.predicting.tolist() == [1, 1, 2]
    assert laid.labels.tolist() == [20, 30, 21]
    assert laid.trained.tolist() == [[False, True, True], [False, True, False]]
    found = laid.unpack(torch.tensor([0.5, 2.0, 0.25]))
    assert found.tolist() == [[0, 0.5, 0.25], [0, 2.0, 0]]


def test_a_prompt_of_several_pairs_and_an_answer_of_two_are_computed_once():
    """Of the rows (1 2 3)(4 5), (1 2 3)(6), (1 2 3)(4 5) and (1 2 3)(7): 1 2 3 4, of which 3 predicts 4, 6 and 7."""
    laid = pack_batch(**collate([([1, 2, 3], [4, 5], [6]), ([1, 2, 3], [4, 5], [7])]))
    assert laid.tokens.tolist() == [1, 2, 3, 4]
    assert laid.labels.tolist() == [4, 6, 7, 5]
    found = laid.unpack(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert found.tolist() == [[0, 0, 1, 4], [0, 0, 1, 4], [0, 0, 2, 0], [0, 0, 3, 0]]


def test_a_token_of_a_prompt_that_is_another_pairs_answer_is_trained_on_there_alone():
    """1 2 3 4 is a prompt and, from 2 on, an answer."""
    laid = pack_batch(**collate([([1, 2, 3, 4], [5], [6]), ([1], [2, 3, 4, 5], [7])]))
    assert laid.unpack(laid.labels).tolist() == [[0, 0, 0, 5], [2, 3, 4, 5], [0, 0, 0, 6], [7, 0, 0, 0]]


answers = st.lists(st.integers(1, 3), min_size=1, max_size=5)


@given(st.lists(st.tuples(answers, answers, answers), min_size=1, max_size=5))
def test_every_node_stands_for_one_beginning(pairs):
    """Of any batch, wildly sharing: what predicts a token has its row's own beginning on its path."""
    batch = collate(pairs)
    laid = pack_batch(**batch)
    assert laid.unpack(laid.labels).tolist() == batch["labels"][:, 1:].clamp(min=0).tolist()
    rows = [ids[mask == 1].tolist() for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert len(laid.tokens) == len({tuple(row[: end + 1]) for row in rows for end in range(len(row) - 1)})
    paths = {}
    for bucket in laid.plan.buckets:
        for queries, keys, depths in zip(bucket.queries, bucket.keys, bucket.depths, strict=True):
            paths |= {int(node): keys[: depth + 1] for node, depth in zip(queries, depths, strict=True)}
    for place, end in laid.trained.nonzero().tolist():
        path = paths[int(laid.predicting[laid.places[place, end]])]
        assert laid.tokens[path].tolist() == rows[place][: end + 1]


# Exactness


def step(model, batch):
    """A step of DPO, and all else that TRL reads: the loss, the gradients, the fields of the output."""
    found = model(**batch, fused_lm_head=True)
    chosen, rejected = found.log_probs.sum(1).chunk(2)
    loss = -torch.nn.functional.logsigmoid(0.1 * (chosen - rejected)).mean() + 0.01 * found.entropy.sum()
    loss.backward()
    gradients = {name: each.grad for name, each in model.named_parameters()}
    return loss.item(), gradients, {name: found[name].detach() for name in FIELDS}


def assert_alike(model, batch, bound=1e-5):
    other = copy.deepcopy(model)
    for each in (model, other):
        add_fused_lm_head(each, outputs=FIELDS)
    pack_forward(model)
    with use_trie_attention(decoder_body(model)):
        loss, gradients, fields = step(model, batch)
    their_loss, their_gradients, their_fields = step(other, batch)
    assert loss == pytest.approx(their_loss, rel=bound)
    whole = max(float(each.norm()) for each in their_gradients.values())
    for name, gradient in gradients.items():
        assert float((gradient - their_gradients[name]).norm()) <= bound * whole, name
    for name, field in fields.items():
        assert torch.allclose(field.float(), their_fields[name].float(), rtol=1e-4, atol=1e-4), name


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("name", CONFIGS)
def test_loss_gradients_and_metrics_are_those_of_padded_batches(name, attention):
    model = make(CONFIGS[name], attention).train()
    assert packing_doubts(model, None) is None
    assert_alike(model, collate(draw_pairs(6)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_checkpointed_gradients_are_the_same(name):
    """The layers that the backward pass computes anew attend along the trie as well."""
    model = make(CONFIGS[name]).train()
    model.gradient_checkpointing_enable()
    assert_alike(model, collate(draw_pairs(6)))


@pytest.mark.slow
def test_buckets_padded_as_on_a_gpu_give_the_same_gradients(monkeypatch):
    """Off the CPU, segments of like sizes are attended together, padded: the same code with the device renamed."""
    rename_device(monkeypatch, packed)
    assert_alike(make(CONFIGS["gemma2"]).train(), collate(draw_pairs(6)))


# Through TRL's trainer


@pytest.fixture
def job(pairs, reference, micro):
    def made(arm=None, steps=3, seed=0, **settings):
        known = TrainingSettings(**{"batch_size": 4, "micro_batch_size": 4, "learning_rate": 1e-3} | settings)
        return TrainingJob(str(micro), pairs, reference, arm or Arm(), known, steps, seed, "test")

    return made


def train(job):
    trained = train_on_pairs(job)
    return torch.cat([each.detach().flatten() for each in trained.model.parameters()]), trained.log


@pytest.mark.slow
@pytest.mark.parametrize(
    "arm",
    [Arm(), Arm(loss="ipo"), Arm(loss="dpop", penalty=5.0, sft_weight=0.1), Arm(loss="sgdpo", pilot_share=0.5)],
    ids=lambda arm: arm.loss,
)
def test_a_training_is_that_of_padded_batches(arm, job):
    """Within far less than what another seed makes of it; and TRL's log of it, number by number."""
    ours, log = train(job(arm))
    theirs, their_log = train(job(arm, packed=False))
    other, _ = train(job(arm, seed=1))
    assert (ours - theirs).norm() < 1e-2 * (ours - other).norm()
    for row, their_row in zip(log, their_log, strict=True):
        assert row == pytest.approx(their_row, rel=1e-3, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"bf16": True}, {"gradient_checkpointing": True}, {"lora": {"rank": 2}}], ids=str)
def test_half_precision_checkpoints_and_adapters_train_packed(settings, job, tmp_path, capsys):
    trainer = build_trainer(job(**settings), tmp_path, [], keeps=False)
    assert trainer.packs
    assert "padded" not in capsys.readouterr().err
    moved = train(job(**settings))[1]
    padded = train(job(**settings, packed=False))[1]
    assert [row["loss"] for row in moved] == pytest.approx([row["loss"] for row in padded], abs=5e-3)


@pytest.mark.slow
def test_what_is_not_exact_trains_in_padded_batches_and_says_why(job, tmp_path, capsys):
    dropping = job(lora=Lora(rank=2, dropout=0.1))
    assert not build_trainer(dropping, tmp_path, [], keeps=False).packs
    told = "training in padded batches, each prompt twice: dropout is drawn anew for each answer's copy of a prompt"
    assert told in capsys.readouterr().err
    assert not build_trainer(job(packed=False), tmp_path, [], keeps=False).packs
    assert "padded" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_rotary_embedding_that_depends_on_the_batch_is_doubted():
    config = copy.deepcopy(CONFIGS["llama"])
    config.rope_parameters = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}
    assert packing_doubts(make(config), None) == "the rotary embedding depends on the batch"


@pytest.mark.slow
def test_a_model_with_layers_other_than_attention_is_doubted():
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=1, state_size=4))
    assert packing_doubts(model, None) == "mamba has layers other than attention"
