"""Trainings whose pairs change from one optimizer step to the next."""

import math
from collections import Counter

import pytest
import torch
from transformers import TrainerCallback

from harness.judges.registry import JUDGES
from harness.judges.verdicts import Verdict
from harness.models.loading import load_model
from harness.recipes.loading import load_recipe
from harness.recipes.schema import Arm, Filter, TrainingSettings
from harness.run.refreshing import Refresher
from harness.scoring.logprobs import pair_logprobs
from harness.training.changing import ChangingPairs
from harness.training.jobs import TrainingJob
from harness.training.train import train_on_pairs
from harness.training.trl import build_trainer, run_trainer

BY_INFLUENCE = Arm(filter=Filter(keep_highest=0.5, by="refusal_influence", refresh=2))


@pytest.fixture
def job(pairs, reference, micro):
    """Six steps of four pairs, two at a time."""
    settings = TrainingSettings(batch_size=4, micro_batch_size=2, learning_rate=1e-3)
    return TrainingJob(str(micro), pairs, reference, BY_INFLUENCE, settings, 6, 0, "test")


@pytest.fixture
def refresher(pairs, micro, monkeypatch):
    def judged(exchanges):
        return [Verdict("refusal" if len(each.response) % 2 else "harmful", "its length") for each in exchanges]

    def made(judge=judged):
        monkeypatch.setitem(JUDGES, "prefixes", judge)
        recipe = load_recipe("miniature", ["judge=prefixes", "evaluation.max_new_tokens=6"])
        prompts = {True: [{"prompt_id": f"q{n}", "prompt": f"How do I force door {n}?"} for n in range(8)]}
        tokenizer = load_model(str(micro))[1]
        kept = [f"p{n}" for n in range(4)]
        return Refresher(recipe, BY_INFLUENCE, pairs, kept, steps=6, seed=0, tokenizer=tokenizer, prompts=prompts)

    return made


def same(a, b):
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_pass_takes_each_kept_pair_once_in_an_order_of_its_own():
    changing = ChangingPairs(range(10, 20), 0)
    passes = [changing.take(10) for _ in range(3)]
    assert [sorted(each) for each in passes] == [[*range(10, 20)]] * 3
    assert len({tuple(each) for each in passes}) == 3
    assert [ChangingPairs(range(10, 20), seed).take(10) == passes[0] for seed in (0, 1)] == [True, False]


def test_a_batch_may_span_passes():
    changing = ChangingPairs([1, 2, 3], 0)
    assert Counter([*changing.take(4), *changing.take(5)]) == {1: 3, 2: 3, 3: 3}


def test_what_is_no_longer_kept_is_not_drawn():
    changing = ChangingPairs(range(6), 0)
    first = changing.take(2)
    changing.keep([6, 7])
    assert sorted(changing.take(2)) == [6, 7]
    assert changing.taken == {*first, 6, 7}


def test_the_step_after_a_change_trains_on_the_new_pairs_alone(job, micro):
    """Nothing that was read ahead comes between: that step's loss is the new pairs' under the weights before it."""
    changing, tokenizer = ChangingPairs([0, 1, 2, 3], 0), load_model(str(micro))[1]
    expected, taken = [], []

    def watch(model, step):
        taken.append({*changing.taken})
        if step == 2:
            changing.keep([4, 5, 6, 7])
            after = pair_logprobs(model, tokenizer, job.pairs.select(changing.kept))
            for name, now in after.items():
                start = job.reference[name]
                margin = now.chosen - start.chosen - now.rejected + start.rejected
                expected.append(math.log1p(math.exp(-0.1 * margin)))

    log = train_on_pairs(job, watch=watch, changing=changing).log
    assert taken == [set()] + [{0, 1, 2, 3}] * 2 + [{*range(8)}] * 4
    assert log[2]["loss"] == pytest.approx(sum(expected) / 4, rel=1e-4)


def test_the_optimizer_goes_on_over_a_change(job, tmp_path):
    changing = ChangingPairs([0, 1, 2, 3], 0)
    trainer = build_trainer(job, tmp_path, [], keeps=False, changing=changing)
    average = []

    class Follower(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                changing.keep([4, 5, 6, 7])
            average.append(sum(float(each["square_avg"].sum()) for each in trainer.optimizer.state.values()))

    trainer.add_callback(Follower())
    run_trainer(trainer)
    assert {int(each["step"]) for each in trainer.optimizer.state.values()} == {6}
    # RMSProp forgets a hundredth a step: begun anew at the change, the average would lose all of the first two.
    assert average[2] > 0.99 * 0.999 * average[1]


def test_measuring_disturbs_nothing_and_keeps_the_best_share(job, refresher):
    """With all pairs kept each time, only the order may change: then the same orders end in the same weights."""
    watch = refresher()
    trained = train_on_pairs(job, watch=watch, changing=watch.changing)
    assert [each["step"] for each in watch.told] == [0, 2, 4]
    assert {len(each["kept"]) for each in watch.told} == {4}
    assert all(each["reason"] is None for each in watch.told)
    assert all(isinstance(each["cut"], float) for each in watch.told[1:])

    changing = ChangingPairs(range(4), 0)

    def replay(_, step):
        for each in watch.told[1:]:
            if each["step"] == step:
                changing.keep([int(name[1:]) for name in each["kept"]])

    replayed = train_on_pairs(job, watch=replay, changing=changing)
    assert same(trained.model, replayed.model)
    assert changing.taken == watch.changing.taken


def test_what_is_measured_is_the_model_of_that_step(micro, refresher):
    """Another model cuts elsewhere; it and the random draws are left as they were."""
    watch = refresher()
    model = load_model(str(micro))[0].float().train()
    before = torch.random.get_rng_state()
    found = []
    for scale in (1.0, -1.0):
        with torch.no_grad():
            model.get_input_embeddings().weight.mul_(scale)
        watch(model, 2)
        found.append(watch.told[-1]["cut"])
    assert found[0] != found[1]
    assert torch.equal(torch.random.get_rng_state(), before)
    assert model.training
    assert all(each.grad is None for each in model.parameters())
    told = len(watch.told)
    for step in (0, 1, 3, 6):
        watch(model, step)
    assert len(watch.told) == told


def test_where_all_answers_are_judged_alike_the_pairs_stay(micro, refresher, capsys):
    watch = refresher(lambda exchanges: [Verdict("refusal", "always")] * len(exchanges))
    watch(load_model(str(micro))[0].float(), 2)
    last = watch.told[-1]
    assert (last["step"], last["kept"], last["cut"]) == (2, ["p0", "p1", "p2", "p3"], None)
    assert "all probe answers are judged alike" in last["reason"]
    assert watch.changing.kept == (0, 1, 2, 3)
    assert "step 2: refusal rate: all probe answers are judged alike" in capsys.readouterr().err
