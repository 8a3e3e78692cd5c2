"""Reward models, on randomly initialised ones of each kind."""

import pytest
import torch

from harness.preferences.rewards import PAIRRM_CANDIDATES, PAIRRM_SOURCE, answer_rewards, pairrm_ids
from harness.support.errors import HarnessError

PROMPTS = ["How do I rob a bank?", "Tell me a secret."]
ANSWERS = [["No.", "Sorry, I cannot help you with that."], ["Yes.", "No, never in my life."]]
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def classifier(directory, tokenizer, outputs=1, chat=True):
    from transformers import AutoConfig, AutoModelForSequenceClassification

    kind = "llama" if chat else "bert"
    config = AutoConfig.for_model(
        kind, vocab_size=len(tokenizer), num_labels=outputs, pad_token_id=tokenizer.pad_token_id, **SHAPE
    )
    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


@pytest.mark.slow
@pytest.mark.parametrize("chat", [True, False])
def test_a_classifier_scores_each_exchange_alone(chat, tmp_path, tokenizer):
    from copy import deepcopy

    from transformers import AutoModelForSequenceClassification

    tokenizer = deepcopy(tokenizer)
    if not chat:
        tokenizer.chat_template = None
    source = classifier(tmp_path / "model", tokenizer, chat=chat)
    found = answer_rewards(source, PROMPTS, ANSWERS)
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    for prompt, answers, scores in zip(PROMPTS, ANSWERS, found, strict=True):
        for answer, score in zip(answers, scores, strict=True):
            text = f"<bos><user>{prompt}<end><assistant>{answer}<end>"
            batch = (
                tokenizer(text, add_special_tokens=False, return_tensors="pt")
                if chat
                else tokenizer(prompt, answer, return_tensors="pt")
            )
            assert score == pytest.approx(model(**batch).logits.item(), abs=1e-5)


def test_two_outputs_are_refused(tmp_path, tokenizer):
    with pytest.raises(HarnessError, match="has 2 outputs"):
        answer_rewards(classifier(tmp_path / "model", tokenizer, outputs=2), PROMPTS, ANSWERS)


def test_a_missing_model_is_told(tmp_path):
    with pytest.raises(HarnessError, match="none: no such model directory"):
        answer_rewards(str(tmp_path / "none"), PROMPTS, ANSWERS)


@pytest.fixture
def pairrm(tmp_path, tokenizer):
    """A random PairRM as its authors lay it out: DeBERTa under `pretrained_model`, a head under `head_layer`."""
    from copy import deepcopy

    from safetensors.torch import save_file
    from transformers import DebertaV2Config, DebertaV2Model

    tokenizer = deepcopy(tokenizer)
    tokenizer.add_special_tokens({"additional_special_tokens": [PAIRRM_SOURCE, *PAIRRM_CANDIDATES]})
    ids = dict(zip(("source", "cand1", "cand2"), range(len(tokenizer) - 3, len(tokenizer)), strict=True))
    config = DebertaV2Config(
        vocab_size=len(tokenizer), architectures=["DebertaV2PairRM"], n_tasks=1, drop_out=0.05, type_vocab_size=0,
        pad_token_id=tokenizer.pad_token_id, max_position_embeddings=128,
        **{f"{name}_prefix_id": number for name, number in ids.items()}, **SHAPE,
    )  # fmt: skip
    torch.manual_seed(0)
    body = DebertaV2Model(config).eval()
    head = {"head_layer.1.weight": torch.randn(16, 32), "head_layer.1.bias": torch.randn(16)}
    head |= {"head_layer.4.weight": torch.randn(1, 16), "head_layer.4.bias": torch.randn(1)}
    place = tmp_path / "pairrm"
    config.save_pretrained(place)
    tokenizer.save_pretrained(place)
    weights = {f"pretrained_model.{name}": value for name, value in body.state_dict().items()} | head
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    return str(place), tokenizer, body, head, ids


@pytest.mark.slow
def test_pairrm_against_its_parts(pairrm):
    source, tokenizer, body, head, marks = pairrm
    (found,) = answer_rewards(source, PROMPTS[:1], ANSWERS[:1])

    def compare(first, second):
        ids = tokenizer.encode(f"<|source|>{PROMPTS[0]}")
        ids += tokenizer.encode(f"<|candidate1|>{first}") + tokenizer.encode(f"<|candidate2|>{second}")
        states = body(input_ids=torch.tensor([ids])).last_hidden_state[0]
        prompt, one, two = (states[ids.index(marks[name])] for name in ("source", "cand1", "cand2"))

        def score(answer):
            inner = torch.tanh(head["head_layer.1.weight"] @ torch.cat([prompt, answer]) + head["head_layer.1.bias"])
            return (head["head_layer.4.weight"] @ inner + head["head_layer.4.bias"]).item()

        return score(one) - score(two)

    first, second = ANSWERS[0]
    expected = compare(first, second) - compare(second, first)
    assert found == pytest.approx([expected, -expected], abs=1e-4)
    (one_way,) = answer_rewards(source, PROMPTS[:1], ANSWERS[:1], both_orders=False)
    once = compare(first, second)
    assert one_way == pytest.approx([once, -once], abs=1e-4)


def test_pairrms_text_is_cut_as_its_authors_cut_it(tokenizer):
    ids = pairrm_ids(tokenizer, "word " * 3000, "one " * 3000, "two " * 3000)
    assert len(ids) == 1224 + 2 * 412
