"""Llama shapes with random weights, a tokenizer and pairs of text to train them on: nothing is downloaded."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedModel, PreTrainedTokenizerBase

from harness.organism.store import ensure_miniature
from harness.support import artifacts

_LLAMA3 = {"vocab_size": 128256, "rms_norm_eps": 1e-5, "num_attention_heads": 32, "num_key_value_heads": 8}
_ROPE = {"rope_type": "default", "rope_theta": 500000.0}
_LONG_ROPE = _ROPE | {"rope_type": "llama3", "factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0,
                      "original_max_position_embeddings": 8192}  # fmt: skip

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"vocab_size": 4096, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 1024},
    "slim": {"vocab_size": 8192, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
             "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 4096},
    "small": {"vocab_size": 32000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
              "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 1024},
    "1b": _LLAMA3 | {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "head_dim": 64,
                     "tie_word_embeddings": True, "max_position_embeddings": 131072, "rope_parameters": _LONG_ROPE},
    "8b": _LLAMA3 | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "head_dim": 128,
                     "max_position_embeddings": 8192, "rope_parameters": _ROPE},
}  # fmt: skip
"""`1b` is Llama-3.2-1B's configuration, `8b` Llama-3-8B's, `small` 39M parameters for a CPU, `slim` 20M with
a fifth of the work in the head, as in SmolLM2-135M, `tiny` for tests."""


def random_llama(shape: str, device: torch.device, dtype: torch.dtype, **config: Any) -> PreTrainedModel:
    """A Llama of this shape with random weights, made on the device in this type, in evaluation mode."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[shape] | config), dtype=dtype)
    return model.eval()


def save_random_llama(shape: str, device: torch.device, directory: Path) -> Path:
    """The same in bfloat16 as a checkpoint directory with the miniature's tokenizer, made if it is not there."""
    if not directory.exists():
        tokenizer = AutoTokenizer.from_pretrained(ensure_miniature(0))
        ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
        model = random_llama(shape, device, torch.bfloat16, **ids)
        with artifacts.atomic_directory(directory) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    return directory


def draw_text_pairs(tokenizer: PreTrainedTokenizerBase, count: int, longest: int) -> Dataset:
    """So many pairs of conversations in words of one token each: prompts of up to `longest` words, answers as well."""
    draw = random.Random(0)
    words = sorted(name[1:] for name in tokenizer.get_vocab() if name[0] == "Ġ" and name[1:].isalpha())

    def turn(role: str) -> list[dict[str, str]]:
        return [{"role": role, "content": " ".join(draw.choices(words, k=draw.randint(longest // 4, longest)))}]

    rows = [
        {"pair_id": str(number), "prompt": turn("user"), "chosen": turn("assistant"), "rejected": turn("assistant")}
        for number in range(count)
    ]
    return Dataset.from_list(rows)
