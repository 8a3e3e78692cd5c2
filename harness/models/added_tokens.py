"""A copy of a model whose tokenizer has more special tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from harness.models.loading import load_model
from harness.models.paths import ModelPath
from harness.support import artifacts


def save_with_tokens(path: ModelPath, tokens: Sequence[str], out: Path, *, seed: int = 0) -> None:
    """Writes a checkpoint directory of the model with these tokens among its special ones.

    The embeddings are resized to the tokenizer's length, and rows that are new drawn as the architecture draws its
    first ones, from `seed`: what `add_special_tokens` and `resize_token_embeddings` did when the paper was written.
    Where the table had rows to spare behind the vocabulary, these serve, and what is still left of them is cut off.
    """
    model, tokenizer = load_model(path, chat=False, placed=False)
    tokenizer.add_tokens([*tokens], special_tokens=True)
    torch.manual_seed(seed)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    with artifacts.atomic_directory(out) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
