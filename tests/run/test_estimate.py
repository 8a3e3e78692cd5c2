"""The arithmetic of a dry run, against values worked out by hand and against what torch really keeps."""

import pytest

from harness.models.loading import empty_model, load_model, load_tokenizer
from harness.recipes.schema import Lora
from harness.run.cost.dry_run import _adapter_parameters
from harness.run.cost.memory import Memory, Shape, decoder_shape, sampling_memory, scoring_memory, training_memory
from harness.run.cost.seconds import (
    ArmSpeed,
    ArmTimes,
    PieceTime,
    Speed,
    Writing,
    arm_speed,
    evaluation_seconds,
    gradient_seconds,
    makespan,
    reading_seconds,
    sampling_seconds,
    training_seconds,
)
from harness.run.cost.tokens import (
    TokenTable,
    Workload,
    difficulty_work,
    expected_longest,
    influence_work,
    likely_lengths,
    mean_length,
    pairs_kept,
    pairs_seen,
    reference_work,
    sampling_work,
    scoring_work,
    training_work,
    unsampled_table,
)
from helpers.models import save_random

TINY = Shape(parameters=1000, layers=2, hidden=8, queries=8, keys=4, feed_forward=16, vocabulary=50, weight_bytes=2)
WRITING = Writing(step=0.1, lengths=(20,))
SPEED = Speed(
    load=2.0,
    read=0.01,
    opening=0.5,
    judged=0.2,
    sampling=WRITING,
    evaluation=WRITING,
    probing=WRITING,
    arms=ArmSpeed(load=3.0, read=0.02, step=0.15, document=0.5, warm_up=1.0, trained=0.06, training=4.0, before=1.5),
)
TABLE = TokenTable((3, 5), (4, 1), (2, 5))
"""Sequences of 7, 5, 6 and 10 tokens."""


@pytest.mark.parametrize(
    ("pairs", "steps", "batch", "expected"),
    [
        (353, 12, 32, 353),  # one epoch: eleven batches of 32 and one of 1
        (18, 1, 32, 18),  # one small batch
        (53, 12, 32, 318),  # two steps an epoch, so six epochs
        (10, 4, 4, 14),  # an epoch (4 + 4 + 2) and a step of 4
        (0, 3, 4, 0),
    ],
)
def test_pairs_that_steps_train_on(pairs, steps, batch, expected):
    assert pairs_seen(pairs, steps, batch) == expected


def test_a_share_is_rounded_up_as_the_filter_does():
    assert [pairs_kept(353, share) for share in (None, 0.05, 0.15, 1.0)] == [353, 18, 53, 353]
    assert pairs_kept(100, 0.07) == 7  # 0.07 * 100 is 7.000000000000001 in floating point


def test_a_table_that_is_still_to_be_sampled():
    # prompts of 3 and 5 tokens, two answers of 4 to each
    assert unsampled_table([3, 5], [4], None) == TokenTable((3, 5), (4, 4), (4, 4))
    # at most 7 tokens: 3 + 4 fits, 5 leaves room for 2
    assert unsampled_table([3, 5], [4], 7) == TokenTable((3, 5), (4, 2), (4, 2))
    # each prompt takes the next two lengths, from the first again after the last
    assert unsampled_table([3, 5, 2], [1, 6], None) == TokenTable((3, 5, 2), (1, 6, 1), (6, 1, 6))
    assert (TABLE.sequences, TABLE.longest, TABLE.distinct) == (28, (7, 10), (9, 11))


def test_the_longest_of_some_that_are_drawn_by_chance():
    assert expected_longest([7, 10], 1) == pytest.approx(8.5)
    assert expected_longest([7, 10], 2) == expected_longest([7, 10], 9) == pytest.approx(10)
    # of 1, 2 and 4 two at a time: 2, 4 and 4
    assert expected_longest([4, 1, 2], 2) == pytest.approx(10 / 3)
    assert expected_longest([4, 1, 2], 0) == 0


def test_a_packed_pass_computes_a_prompt_once():
    assert TABLE.trained_for(2, None) == 20
    assert TABLE.trained_for(3, None) == 30
    assert TokenTable((), (), ()).trained_for(0, None) == 0


def test_padded_passes_of_a_training_are_as_long_as_their_longest_sequence():
    assert TABLE.trained_for(2, 1) == 2 * (7 + 10)  # each pair alone
    assert TABLE.trained_for(2, 2) == 4 * 10
    assert TABLE.trained_for(6, 2) == 3 * 4 * 10
    assert TokenTable((), (), ()).trained_for(0, 2) == 0


def test_tokens_of_the_stages_by_hand():
    assert sampling_work([3, 5], 2, 4) == Workload(prompts=2, answers=4, read=16, written=16)
    assert scoring_work(TABLE).read == 20
    # 28 for ln p, 8 for the pairs' prompts, 3 + 5 + 6 for the evaluation's
    assert reference_work(TABLE, [], [3, 5, 6], 3) == Workload(pairs=2, prompts=3, openings=3, read=50)
    assert reference_work(TABLE, [TABLE], [3, 5, 6], 3).read == 78
    # three times: each half of one pair for two epochs, and the other half read
    assert difficulty_work(TABLE, 3, 2, 4) == Workload(pairs=2, steps=12, trained=6 * 20, read=84)
    # two targets, one of them the pairs' own answers: 7 passes, and gradients of 9 and of 20 tokens
    assert influence_work(TABLE, 9, 2, preferred=True) == Workload(pairs=2, read=7 * 20, trained=29)
    # one pair of two, six steps of it, of 7 or 10 tokens twice, or of 20 for both; then all four sequences once
    assert training_work(TABLE, 1, 6, 4, None, TABLE, 0, 3).trained == 60
    assert training_work(TABLE, 1, 6, 4, 4, TABLE, 0, 3) == Workload(1, steps=6, openings=3, trained=102, read=28)
    assert training_work(TABLE, 1, 6, 4, 4, TABLE, 1, 3).read == 28 + 14


def test_memory_by_hand():
    # 2 bytes x (2*8 + 2*8 + 2*4 + 3*16) = 176 a token; logits 3 x 4 x 10 x 50
    assert scoring_memory(TINY, 10) == Memory(weights=2000, activations=6000)
    assert scoring_memory(TINY, 10).total == 8000
    # cache: 2 x 2 layers x 4 x 2 bytes x 3 rows x (5 + 7) tokens; 176 x 15 and 12 x 3 x 50
    found = sampling_memory(TINY, 3, 5, 7)
    assert (found.cache, found.activations) == (1152, 2640 + 1800)
    # a layer's token: 4 x 6 x 8 + 4 x (2*8 + 2*4 + 4*16) = 544, two layers
    cpu = training_memory(TINY, 10, on_gpu=False)
    assert (cpu.weights, cpu.gradients, cpu.optimizer, cpu.activations) == (4000, 4000, 4000, 10880)
    # checkpointed: 4 x 8 x 2 inputs, and one layer 4 x 6 x 8 + 2 x 88
    gpu = training_memory(TINY, 100, on_gpu=True)
    assert (gpu.weights, gpu.activations) == (6000, 100 * (64 + 192 + 176))
    assert training_memory(TINY, 1, on_gpu=True).activations == 4000  # the optimizer's step
    # without autocast no copy of the weights, and the layer's 88 wide tensors in float32
    exact = training_memory(TINY, 100, on_gpu=True, bf16=False)
    assert (exact.weights, exact.activations) == (4000, 100 * (64 + 192 + 352))
    shared = training_memory(TINY, 100, on_gpu=True, shards=4)
    assert (shared.weights, shared.gradients, shared.optimizer) == (1500, 1000, 1000)
    assert shared.activations == gpu.activations
    # adapters of 60 parameters beside 1000 in float32, or in 4.127 bits
    lora = training_memory(TINY, 10, on_gpu=False, adapted=60)
    assert (lora.weights, lora.gradients, lora.optimizer) == (4240, 240, 240)
    assert training_memory(TINY, 10, on_gpu=True, adapted=60, quantized=True).weights == 516 + 240


def saved_bytes(model, tokens):
    """What autograd keeps of one forward pass below the unembedding, each storage once, the weights aside."""
    import torch

    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ids = torch.arange(tokens)[None] % 50
        held = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    for parameter in model.parameters():
        kept.pop(parameter.untyped_storage().data_ptr(), None)
    assert held.requires_grad
    return sum(kept.values())


@pytest.mark.slow
def test_activations_are_those_that_autograd_keeps():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).train()
    shape = decoder_shape(config, model.num_parameters(), 4)
    expected = training_memory(shape, 256, on_gpu=False).activations
    assert expected == pytest.approx(saved_bytes(model, 256), rel=0.2)


def test_adapters_are_counted_as_peft_makes_them(tmp_path, tokenizer):
    """Rank 3 beside the micro Llama's seven layers: four of 16 x 16 and three of 16 x 32."""
    config, _ = load_tokenizer(str(save_random("llama", tmp_path / "model", tokenizer)))
    # Private, as a dry run tells bytes, of which the adapters' are a part.
    assert _adapter_parameters(empty_model(config), Lora(rank=3)) == 3 * (4 * 32 + 3 * 48)
    assert _adapter_parameters(empty_model(config), None) is None


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
def test_parameters_are_the_models_without_its_weights(kind, tmp_path, tokenizer):
    place = str(save_random(kind, tmp_path / "model", tokenizer))
    model, _ = load_model(place)
    (tmp_path / "model" / "model.safetensors").unlink()
    config, _ = load_tokenizer(place)
    empty = empty_model(config)
    assert sum(each.numel() for each in empty.parameters()) == model.num_parameters()
    assert all(each.is_meta for each in empty.parameters())
    shape = decoder_shape(config, 0, 4)
    assert (shape.layers, shape.hidden, shape.queries, shape.keys) == (1, 16, 16, 16)
    assert shape.feed_forward == (64 if kind == "gpt2" else 32)


def test_answers_that_were_cut_count_as_longer():
    assert likely_lengths([3, 5, 4], 8, 64) == (3, 4, 5)
    assert likely_lengths([3, 64, 5], 64, 64) == (3, 5, 64)  # as long as they may be: nothing was cut short
    # 8 and 8 were cut: from the fifth token on one of three ended, after 1 + 4 + 4 tokens, so a chance of 1/9. A fourth
    # of the rest ends within ln(3/4) / ln(8/9) = 2.4 tokens, three fourths within ln(1/4) / ln(8/9) = 11.8
    assert likely_lengths([3, 8, 5, 8], 8, 64) == (3, 5, 11, 20)
    assert likely_lengths([3, 8, 5, 8], 8, 15) == (3, 5, 11, 15)
    assert likely_lengths([3, 8, 8], 8, 64) == (3, 64, 64)  # none ended late, so nothing says that the others will
    assert mean_length((3, 5, 12, 25)) == 12  # 11.25


def test_seconds_by_hand():
    assert reading_seconds(Workload(read=100, openings=2), SPEED, 2.5) == pytest.approx(2.5 + 1 + 1)
    # beside others: 4 and 100 x .06 and 100 x .02, and openings
    assert training_seconds(Workload(trained=100, read=100, openings=2), SPEED) == pytest.approx(4 + 6 + 2 + 1)
    # alone a token is read in half of that time, and so trained on: .03
    assert gradient_seconds(Workload(trained=100, read=100, openings=2), SPEED) == pytest.approx(2 + 3 + 1 + 1)
    # 10 answers in batches of 4: three batches of 20 tokens; each judged
    work = Workload(answers=10, read=100, written=50)
    assert sampling_seconds(work, SPEED, WRITING, 4, 1) == pytest.approx(2 + 1 + 3 * 20 * 0.1 + 10 * 0.2)
    # five prompts twice: two batches each time
    assert sampling_seconds(work, SPEED, WRITING, 4, 2) == pytest.approx(2 + 1 + 2 * 2 * 20 * 0.1 + 10 * 0.2)
    assert evaluation_seconds(work, SPEED, 4) == pytest.approx(3 + 2 + 3 * 20 * 0.15 + 10 * 0.5)


def test_what_was_not_tried_has_no_time():
    untried, work = Speed(load=1, read=1, opening=1), Workload(answers=10, trained=5)
    assert sampling_seconds(work, untried, None, 4, 1) is None
    assert {of(work, untried) for of in (training_seconds, gradient_seconds)} == {None}
    assert evaluation_seconds(work, untried, 4) is None


def test_a_batch_goes_on_until_its_longest_answer_has_ended():
    writing = Writing(step=1.0, lengths=(1, 2, 4))
    # two at a time: 10/3 on average; the last one alone 7/3
    assert writing.batch_seconds(5, 2) == pytest.approx(2 * 10 / 3 + 7 / 3)


def test_parts_of_a_training_and_an_evaluation_from_their_whole():
    """Two processes, whose means are 1 to load, .01 a token read, .1 a step, 9 a training, 4 an evaluation."""
    found = [
        ArmTimes(first=8, load=0.5, read=0.02, step=0.1, training=10, before=2, passes=4, evaluation=3),
        ArmTimes(first=8, load=1.5, read=0.00, step=0.1, training=8, before=1, passes=2, evaluation=5),
    ]
    training, evaluation = Workload(trained=60, read=100, openings=4), Workload(answers=5, read=50)
    speed = arm_speed(found, training, evaluation, opening=0.25, lengths=(4, 4), batch=5)
    assert speed.trained == pytest.approx(3 / 60)
    assert speed.training == pytest.approx(9 - 3 - 1 - 1)
    assert speed.before == pytest.approx(1.5)
    assert speed.document == pytest.approx((4 - 1 - 0.5 - 0.4) / 5)
    assert speed.warm_up == pytest.approx(8 - 1 - 4)
    alone = arm_speed(found, None, evaluation, opening=0.25, lengths=(4, 4), batch=5)
    assert (alone.trained, alone.training, alone.warm_up) == (None, None, 7)


def test_pieces_beside_each_other():
    pieces = [PieceTime(0, seconds) for seconds in (3, 1, 1, 4)]
    assert makespan(pieces, [0, 0]) == 6  # 3 | 1 1 then 4 on the one that is free at 2
    assert makespan(pieces, [0]) == 9
    assert makespan(pieces, [1.5, 1.5]) == 7.5
    assert makespan(pieces, [0, 5]) == 9  # 3 1 1 on the first until the second is free, too
    assert makespan([], [0, 2]) == 2


def test_a_piece_waits_for_what_it_reads():
    """The third is ready first, at 1; the first two follow at 4 and 6, the last one is not before 9."""
    pieces = [PieceTime(4, 2), PieceTime(4, 1), PieceTime(1, 1), PieceTime(9, 1)]
    assert makespan(pieces, [0]) == 10
    assert makespan(pieces[:3], [0]) == 7
    assert makespan(pieces[:3], [0, 5]) == 6
