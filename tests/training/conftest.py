"""Pairs to train a micro model on, and their log-probabilities before it."""

import pytest


def said(role, content):
    return [{"role": role, "content": content}]


@pytest.fixture(scope="module")
def pairs():
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "pair_id": f"p{n}",
                "prompt": said("user", f"How do I pick lock number {n}?"),
                "chosen": said("assistant", "I cannot help with that." + " Sorry." * (n % 3)),
                "rejected": said("assistant", "Sure, first" + " get the parts" * (n % 4) + "."),
            }
            for n in range(8)
        ]
    )


@pytest.fixture(scope="module")
def reference(pairs, micro):
    from harness.models.loading import load_model
    from harness.scoring.logprobs import pair_logprobs

    model, tokenizer = load_model(str(micro))
    return pair_logprobs(model, tokenizer, pairs)
