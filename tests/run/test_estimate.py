"""The arithmetic of a dry run, against values worked out by hand and against what torch really keeps."""

import pytest

from harness.models.loading import empty_model, load_model, load_tokenizer
from harness.recipes.schema import Lora
from harness.run.dry_run import _adapter_parameters
from harness.run.estimate import (
    Memory,
    Shape,
    Speed,
    TokenTable,
    Workload,
    Writing,
    decoder_shape,
    difficulty_work,
    expected_lengths,
    makespan,
    pairs_kept,
    pairs_seen,
    reading_seconds,
    reference_work,
    sampling_memory,
    sampling_work,
    scoring_memory,
    scoring_work,
    training_memory,
    training_seconds,
    training_work,
    unsampled_table,
    wall_clock,
    writing_seconds,
)
from helpers.models import save_random

TINY = Shape(parameters=1000, layers=2, hidden=8, queries=8, keys=4, feed_forward=16, vocabulary=50, weight_bytes=2)
SPEED = Speed(
    load=2.0,
    read=0.01,
    opening=0.5,
    sampling=Writing(step=0.1, mean=5, longest=20),
    evaluation=Writing(step=0.1, mean=5, longest=20),
    trained=0.03,
    training_setup=4.0,
    evaluation_setup=3.0,
)


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
    assert unsampled_table([3, 5], 4, None) == TokenTable(2, 8, 16)
    # at most 7 tokens: 3 + 4 fits, 5 leaves room for 2
    assert unsampled_table([3, 5], 4, 7) == TokenTable(2, 8, 2 * 4 + 2 * 2)
    assert TokenTable(2, 8, 16).sequences == 32


def test_tokens_of_the_stages_by_hand():
    table = TokenTable(pairs=2, prompt_tokens=8, answer_tokens=12)  # 28 tokens in four sequences
    assert sampling_work([3, 5], 2, 4) == Workload(prompts=2, answers=4, read=16, written=16)
    assert scoring_work(table).read == 20
    # 28 for ln p, 8 for the pairs' prompts, 3 + 5 + 6 for the evaluation's
    assert reference_work(table, [], [3, 5, 6], 3) == Workload(pairs=2, prompts=3, openings=3, read=50)
    assert reference_work(table, [table], [3, 5, 6], 3).read == 78
    # three times: each half of one pair for two epochs, and the other half read
    assert difficulty_work(table, 3, 2, 4) == Workload(pairs=2, steps=12, trained=168, read=84)
    # one pair of two, six steps of it: 6 * 14 tokens; then all four sequences once
    assert training_work(table, 1, 6, 4, table, 0, 3) == Workload(1, steps=6, openings=3, trained=84, read=28)
    assert training_work(table, 1, 6, 4, table, 1, 3).read == 28 + 14


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
    assert expected_lengths([3, 5, 4], 8, 64) == (4, 5)
    assert expected_lengths([3, 64, 5], 64, 64) == (24, 64)  # as long as they may be: nothing was cut short
    # 8 and 8 were cut: 24 tokens over two answers that ended
    assert expected_lengths([3, 8, 5, 8], 8, 64) == (12, 64)
    assert expected_lengths([8, 8], 8, 64) == (64, 64)


def test_seconds_by_hand():
    assert reading_seconds(Workload(read=100, openings=2), SPEED) == pytest.approx(2 + 1 + 1)
    assert training_seconds(Workload(trained=100, read=100, openings=2), SPEED) == pytest.approx(4 + 3 + 1 + 1)
    assert training_seconds(Workload(trained=100), SPEED, 6) == pytest.approx(24 + 3)
    # 10 answers in batches of 4: three batches of 20 tokens
    work = Workload(answers=10, read=100, written=50)
    assert writing_seconds(work, SPEED, SPEED.evaluation, 4, 3.0) == pytest.approx(3 + 1 + 3 * 20 * 0.1)
    assert writing_seconds(work, SPEED, None, 4, 3.0) is None
    assert training_seconds(work, Speed(load=1, read=1, opening=1)) is None


def test_pieces_beside_each_other():
    assert makespan([3, 1, 1, 4], 2) == 6  # 3 | 1 1 then 4 on the one that is free at 2
    assert makespan([3, 1, 1, 4], 1) == 9
    assert makespan([], 2) == 0
    assert wall_clock(5, [3, 1, 1, 4], 8, 2) == 8 + 6  # the imports take longer than what comes before
    assert wall_clock(5, [3, 1, 1, 4], 8, 1) == 5 + 8 + 9
