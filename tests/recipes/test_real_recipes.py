"""The recipes for the paper's models, whole, on random models of the same architectures with the same chat formats.

The templates follow the models' published formats (https://llama.com/docs, https://ai.google.dev/gemma/docs,
https://huggingface.co/allenai/OLMo-7B-Instruct-hf); only the weights and the vocabulary are not the models' own.
"""

from copy import deepcopy

import pytest

from harness.recipes.loading import load_recipe, packaged_recipes
from harness.run.regression import run_regression
from helpers.sorry_bench import write_sorry_bench

LLAMA_3 = (
    "{% for message in messages %}{{ (bos_token if loop.first else '') + '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else 'user' %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
OLMO = (
    "{{ eos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '' }}{{ '\n' if not loop.last else '' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n<|assistant|>\n' }}{% endif %}"
)
SHAPE = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
}
ARMS = {
    "llama3_8b_sorrybench": ("raw", "gold", "sft_term", "ches_filtered", "raw_ipo"),
    "gemma_2b_sorrybench": ("raw", "edit_distance_filtered"),
    "olmo": ("raw",),
}
"""Each kind of arm once: all of them on all three would take minutes."""
KINDS = {
    "llama3_8b_sorrybench": (
        "llama",
        LLAMA_3,
        ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        {"num_key_value_heads": 1, "rope_theta": 500000.0},
    ),
    "gemma_2b_sorrybench": (
        "gemma",
        GEMMA,
        ["<start_of_turn>", "<end_of_turn>"],
        {"num_key_value_heads": 1, "head_dim": 16, "hidden_activation": "gelu_pytorch_tanh"},
    ),
    "olmo": ("olmo", OLMO, [], {"num_key_value_heads": 2, "clip_qkv": None}),
}
"""Model type, chat template, marks of turns, and shape. OLMo has no recipe: the paper's section 6 leaves it out."""


def lookalike(kind, place, tokenizer):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    model_type, template, marks, shape = KINDS[kind]
    tokenizer = deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.chat_template = template
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    config = AutoConfig.for_model(model_type, vocab_size=len(tokenizer), **ids, **SHAPE, **shape)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whole_on_a_lookalike(kind, tmp_path, tokenizer):
    data = write_sorry_bench(tmp_path / "sorry-bench", 8)
    model = lookalike(kind, tmp_path / "model", tokenizer)
    smaller = [
        f"model={model}",
        f"prompts=sorrybench_gold={data}",
        f"gold=sorrybench={data}",
        "judge=lexical",
        "pairs.tie_break=random",
        "pairs.max_new_tokens=4",
        "evaluation.max_new_tokens=4",
    ]
    source = kind if kind in packaged_recipes() else "llama3_8b_sorrybench"
    loaded = load_recipe(source, smaller, seeds=1)
    chosen = loaded.model_copy(update={"arms": {name: loaded.arms[name] for name in ARMS[kind]}})
    results = run_regression(chosen, tmp_path / "run")
    assert list(results.arms) == ["baseline", *chosen.arms]
    assert results.published.arms["baseline"]["refusal_rate"].value > 0.7
    assert all(results.arms[name].trained_logprob_change.value != 0 for name in results.trained_arms)
