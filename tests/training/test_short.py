"""Short trainings in memory, held against TRL's trainer."""

import pytest
import torch
from datasets import Dataset

from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.recipes.schema import Arm, TrainingSettings
from harness.scoring.logprobs import pair_logprobs, tokenize_pairs
from harness.support.errors import HarnessError
from harness.training.jobs import TrainingJob
from harness.training.short import ShortTrainings
from harness.training.train import train_on_pairs

SETTINGS = TrainingSettings(batch_size=6, micro_batch_size=6, learning_rate=1e-3)


def said(role, content):
    return [{"role": role, "content": content}]


@pytest.fixture(scope="module")
def pairs():
    rows = [
        {
            "pair_id": f"p{n}",
            "prompt": said("user", "How do I pick a lock" + " of mine" * n + "?"),
            "chosen": said("assistant", "I cannot help with that." + " Sorry." * (n % 3)),
            "rejected": said("assistant", "Sure, first" + " get the parts" * (n % 4) + "."),
        }
        for n in range(6)
    ]
    return Dataset.from_list(rows)


@pytest.fixture
def trainings(micro, pairs):
    model, tokenizer = load_model(str(micro))
    return ShortTrainings(model, tokenize_pairs(pairs, tokenizer), pair_logprobs(model, tokenizer, pairs), SETTINGS)


def weights(model):
    return torch.cat([each.detach().flatten().clone() for each in model.parameters()])


@pytest.mark.parametrize(
    "arm", [Arm(), Arm(loss="ipo_sequence", beta=0.01), Arm(sft_weight=0.1), Arm(learning_rate=3e-4, beta=0.5)]
)
def test_the_weights_are_those_of_trl(arm, trainings, pairs, micro):
    """All pairs are one batch, so the order of the batches, which each draws for itself, plays no part."""
    start = weights(trainings.model)
    trainings.train(pairs["pair_id"], arm, 3, 0, "here")
    job = TrainingJob(ModelPath(str(micro)), pairs, trainings.reference, arm, SETTINGS, 3, 0, "there")
    theirs = weights(train_on_pairs(job).model)
    moved = (theirs - start).norm()
    assert moved > 0.01
    assert (weights(trainings.model) - theirs).norm() < 1e-3 * moved


def test_each_training_begins_at_the_start(trainings, pairs):
    start, names = weights(trainings.model), pairs["pair_id"][:]
    trainings.train(names[:4], Arm(), 2, 0, "once")
    once = weights(trainings.model)
    trainings.train(names[2:], Arm(), 2, 1, "other")
    assert not torch.equal(weights(trainings.model), once)
    trainings.train(names[:4], Arm(), 2, 0, "again")
    assert torch.equal(weights(trainings.model), once)
    trainings.restore()
    assert torch.equal(weights(trainings.model), start)


def test_an_epoch_holds_each_pair_once_and_the_next_goes_on(trainings, pairs, monkeypatch):
    trainings.settings = SETTINGS.model_copy(update={"batch_size": 4})
    seen, losses = [], trainings._losses  # private: which pairs a step takes shows nowhere else
    monkeypatch.setattr(trainings, "_losses", lambda batch, arm: seen.append(batch) or losses(batch, arm))
    names = pairs["pair_id"][:]
    trainings.train(names, Arm(), 5, 0, "here")
    assert [len(batch) for batch in seen] == [4, 2, 4, 2, 4]
    assert sorted(seen[0] + seen[1]) == sorted(seen[2] + seen[3]) == names
    assert seen[0] + seen[1] != seen[2] + seen[3]


def test_a_training_that_diverges_is_told(trainings, pairs):
    arm = Arm(learning_rate=1e30)
    with pytest.raises(HarnessError, match="^here: the training diverged"):
        trainings.train(pairs["pair_id"], arm, 4, 0, "here")
