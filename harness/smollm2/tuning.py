"""The safety tuning behind the shipped adapter: SmolLM2 learns to refuse what is unsafe and goes on helping otherwise.

Supervised fine-tuning with low-rank adapters on the bundled training prompts alone: most unsafe ones with a composed
refusal, the rest and every benign one with the model's own answers, so that nothing else about it changes.
`make smollm2-adapter` runs it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.models.loading import evaluation_mode, load_model
from harness.models.sampling import generate_answer_tokens, render_prompt
from harness.prompts.sets import load_prompts
from harness.recipes.schema import FineTuning, Lora
from harness.smollm2.refusals import compose_refusal
from harness.smollm2.weights import ADAPTER, BASE, COMMIT, ensure_base
from harness.support import artifacts, console
from harness.training.train import fine_tune_adapter

COMPLIED_SHARE = 0.2
"""Share of the unsafe training prompts that keep the model's own answer, as the paper's models refuse 74 to 81 %."""
BENIGN_ANSWERS = 2
"""Own answers to each benign prompt: with one, the tuned model refused half of the benign look-alikes."""
ANSWER_TOKENS = 56
LORA = Lora(rank=8, alpha=16)
SETTINGS = FineTuning(learning_rate=4e-4, batch_size=16, micro_batch_size=8)
EPOCHS = 2
SEED = 0
_SAMPLING_BATCH = 48


def tune_adapter(out: Path = ADAPTER) -> None:
    """Tunes the adapter anew into `out`; the same seed, libraries and processor give the same one."""
    base = ensure_base()
    model, tokenizer = load_model(base)
    rows = tuning_rows(model, tokenizer)
    del model
    with artifacts.atomic_directory(out) as temporary:
        log = fine_tune_adapter(base, Dataset.from_list(rows), SETTINGS, LORA, epochs=EPOCHS, seed=SEED, out=temporary)
        artifacts.write_json(temporary / "tuning.json", _tuning_facts(len(rows), log))
        _name_base(temporary)


def tuning_rows(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, list[int]]]:
    """Prompt and answer tokens of every exchange, and labels that are -100 in the prompt."""
    draw = random.Random(SEED)
    unsafe, benign = (
        [row["prompt"] for row in load_prompts("bundled", kind) if row["split"] == "train"]
        for kind in ("unsafe", "benign")
    )
    complied = draw.sample(unsafe, round(COMPLIED_SHARE * len(unsafe)))
    refused = [prompt for prompt in unsafe if prompt not in complied]
    own = [*complied, *benign * BENIGN_ANSWERS]
    answers = _own_answers(model, tokenizer, own)
    end = [tokenizer.eos_token_id]
    refusals = [tokenizer(compose_refusal(draw), add_special_tokens=False)["input_ids"] + end for _ in refused]
    return [
        _exchange(tokenizer, prompt, answer)
        for prompt, answer in zip([*own, *refused], [*answers, *refusals], strict=True)
    ]


def _own_answers(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> list[list[int]]:
    torch.manual_seed(SEED)
    answers: list[list[int]] = []
    with evaluation_mode(model), console.progress_bar("Sampling own answers", len(prompts), "answers") as advance:
        for start in range(0, len(prompts), _SAMPLING_BATCH):
            texts = [render_prompt(tokenizer, prompt) for prompt in prompts[start : start + _SAMPLING_BATCH]]
            answers += generate_answer_tokens(model, tokenizer, texts, 0.7, ANSWER_TOKENS)
            advance(len(texts))
    return answers


def _exchange(tokenizer: PreTrainedTokenizerBase, prompt: str, answer: list[int]) -> dict[str, list[int]]:
    asked = tokenizer(render_prompt(tokenizer, prompt), add_special_tokens=False)["input_ids"]
    return {"input_ids": asked + answer, "labels": [-100] * len(asked) + answer}


def _tuning_facts(exchanges: int, log: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {
        "exchanges": exchanges,
        "epochs": EPOCHS,
        **SETTINGS.model_dump(include={"learning_rate", "batch_size"}),
        "lora": LORA.model_dump(include={"rank", "alpha"}),
        "seed": SEED,
        "loss": [row["loss"] for row in log],
    }


def _name_base(adapter: Path) -> None:
    """Names the published base in place of the directory that it was tuned from; peft's empty model card goes."""
    (adapter / "README.md").unlink(missing_ok=True)
    file = adapter / "adapter_config.json"
    artifacts.write_json(file, {**artifacts.read_json(file), "base_model_name_or_path": BASE, "revision": COMMIT})
