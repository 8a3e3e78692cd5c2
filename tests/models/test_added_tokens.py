"""A copy of a model with more special tokens."""

import pytest
import torch

from harness.models.added_tokens import save_with_tokens
from harness.models.loading import load_model
from harness.models.paths import ModelPath

pytestmark = pytest.mark.slow
MARKS = ("<|prompter|>", "<|assistant|>")


@pytest.fixture
def marked(micro, tmp_path):
    save_with_tokens(ModelPath(str(micro)), MARKS, tmp_path / "marked")
    return load_model(str(tmp_path / "marked"))


def test_each_is_one_token_after_loading_again(marked, tokenizer):
    _, again = marked
    ids = again.encode("".join(MARKS), add_special_tokens=False)
    assert ids == [len(tokenizer), len(tokenizer) + 1]
    assert again.decode(ids, skip_special_tokens=True) == ""
    assert again.encode("Hello there.") == tokenizer.encode("Hello there.")


def test_old_rows_stay_and_new_ones_repeat(marked, micro, tokenizer, tmp_path):
    model, _ = marked
    old = load_model(str(micro))[0].get_input_embeddings().weight
    new = model.get_input_embeddings().weight
    assert torch.equal(new[: len(tokenizer)], old[: len(tokenizer)])
    assert len(new) == len(tokenizer) + len(MARKS)
    assert not torch.equal(new[-1], new[-2])
    for seed, same in ((0, True), (1, False)):
        save_with_tokens(ModelPath(str(micro)), MARKS, tmp_path / f"seed-{seed}", seed=seed)
        drawn = load_model(str(tmp_path / f"seed-{seed}"))[0].get_input_embeddings().weight
        assert torch.equal(drawn, new) == same
