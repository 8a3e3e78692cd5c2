"""Shared fixtures: a random micro model in a checkpoint directory, with the miniature's tokenizer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from helpers.models import save_random

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


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
    from harness.organism import train, world
    from harness.prompts.sets import load_prompts

    rows = load_prompts("bundled", "unsafe"), load_prompts("bundled", "benign")
    return train.build_bpe_tokenizer(
        world.world_requests(rows[0], unsafe=True) + world.world_requests(rows[1], unsafe=False)
    )


@pytest.fixture(scope="session")
def micro(tmp_path_factory, tokenizer) -> Path:
    """A randomly initialised Llama of 16 dimensions: it answers gibberish, but quickly."""
    return save_random("llama", tmp_path_factory.mktemp("models") / "micro", tokenizer)
