"""Shared fixtures: a random micro model in a checkpoint directory, with the miniature's tokenizer."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


COMMITS = ("1" * 40, "2" * 40)


def put_on_hub(cache: Path, repository: str, files: Path, commit: str) -> Path:
    """Lays files into the hub's cache as a download of `main` would (`models--org--name`), where it is read offline."""
    folder = cache / repository.replace("/", "--")
    snapshot = folder / "snapshots" / commit
    shutil.copytree(files, snapshot)
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    return snapshot


@pytest.fixture
def hub_cache(tmp_path, monkeypatch) -> Path:
    """An empty cache of the hub, which is out of reach."""
    from huggingface_hub import constants

    place = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return place


@pytest.fixture(scope="session")
def tokenizer():
    from harness import prompts
    from harness.organism import train, world

    rows = prompts.load("bundled", "unsafe"), prompts.load("bundled", "benign")
    return train.build_tokenizer(world.requests(rows[0], unsafe=True) + world.requests(rows[1], unsafe=False))


@pytest.fixture(scope="session")
def micro(tmp_path_factory, tokenizer) -> Path:
    """A randomly initialised Llama of 16 dimensions: it answers gibberish, but quickly."""
    return save_random("llama", tmp_path_factory.mktemp("models") / "micro", tokenizer)


def save_random(kind: str, directory: Path, tokenizer) -> Path:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    shape = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    if kind == "gpt2":
        shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 512}
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **shape,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory
