"""Reward models that tell two answers of a kind apart: sequence classifiers with one output, and PairRM."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DebertaV2Model,
    DebertaV2PreTrainedModel,
    PreTrainedTokenizerBase,
)

from harness.models.intact import load_weights
from harness.models.loading import default_device, explain_load_failure
from harness.models.paths import ModelPath, locate_model
from harness.models.templates import refuse_runaway_template
from harness.support import console
from harness.support.errors import HarnessError

REWARD_BATCH = 8
_REWARD_MODEL = "a reward model"
PAIRRM_SOURCE, PAIRRM_CANDIDATES = "<|source|>", ("<|candidate1|>", "<|candidate2|>")
PAIRRM_SOURCE_TOKENS, PAIRRM_TOKENS = 1224, 2048


def answer_rewards(
    source: str, prompts: Sequence[str], answers: Sequence[Sequence[str]], *, both_orders: bool = True
) -> list[list[float]]:
    """A reward for each answer to each prompt; only answers to the same prompt are to be compared.

    Args:
        source: directory or hub id (`org/name`, `org/name@revision`) of a sequence-classification reward model with one
            output, or of PairRM in its transformers form (`llm-blender/PairRM-hf`). Its weights are read from
            safetensors, and no code of its own runs.
        prompts: the prompts.
        answers: each prompt's answers.
        both_orders: whether PairRM compares two answers both ways round, or the earlier with the later alone, as the
            paper's code does.

    A classifier reads the exchange as its chat template renders it, or as a pair of texts where it has none. PairRM
    (Jiang et al. 2023, arXiv 2306.02561) compares two answers; an answer's reward is the sum over the others of its
    comparison with them. Raises HarnessError where the model cannot be loaded or has another head.
    """
    path = locate_model(source)
    config, tokenizer = _load_reward_config(path)
    if "DebertaV2PairRM" in (config.architectures or ()):
        return _pairrm_rewards(path, tokenizer, prompts, answers, permutations if both_orders else combinations)
    exchanges = [(prompt, answer) for prompt, each in zip(prompts, answers, strict=True) for answer in each]
    flat = iter(_classifier_rewards(path, config, tokenizer, exchanges))
    return [[next(flat) for _ in each] for each in answers]


def _load_reward_config(path: ModelPath) -> tuple[Any, PreTrainedTokenizerBase]:
    with explain_load_failure(path, _REWARD_MODEL):
        config, tokenizer = (
            each.from_pretrained(path.directory, **path.loading_options) for each in (AutoConfig, AutoTokenizer)
        )
        refuse_runaway_template(tokenizer.chat_template, str(path))
        return config, tokenizer


def _load_reward_weights(kind: Any, path: ModelPath) -> Any:
    with explain_load_failure(path, _REWARD_MODEL):
        return load_weights(kind, path).to(default_device()).eval()


def _classifier_rewards(
    path: ModelPath, config: Any, tokenizer: PreTrainedTokenizerBase, exchanges: Sequence[tuple[str, str]]
) -> list[float]:
    if config.num_labels != 1:
        hint = "A reward model has one output."
        raise HarnessError(f"has {config.num_labels} outputs", place=str(path), hint=hint)
    model = _load_reward_weights(AutoModelForSequenceClassification, path)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    found: list[float] = []
    with (
        torch.inference_mode(),
        console.progress_bar("Scoring answers with the reward model", len(exchanges)) as advance,
    ):
        for start in range(0, len(exchanges), REWARD_BATCH):
            batch = _encode_exchanges(tokenizer, exchanges[start : start + REWARD_BATCH]).to(model.device)
            found += model(**batch).logits[:, 0].float().tolist()
            advance(min(REWARD_BATCH, len(exchanges) - start))
    return found


def _encode_exchanges(tokenizer: PreTrainedTokenizerBase, exchanges: Sequence[tuple[str, str]]) -> Any:
    options = {"padding": True, "padding_side": "right", "return_tensors": "pt", "truncation": True}
    if not tokenizer.chat_template:
        return tokenizer([prompt for prompt, _ in exchanges], [answer for _, answer in exchanges], **options)
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}] for prompt, answer in exchanges
    ]
    return tokenizer(tokenizer.apply_chat_template(chats, tokenize=False), add_special_tokens=False, **options)


def _pairrm_rewards(
    path: ModelPath,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    answers: Sequence[Sequence[str]],
    orders: Callable[[Iterable[int], int], Iterable[tuple[int, ...]]],
) -> list[list[float]]:
    """Sums of comparisons of the answers in these orders, two at a time."""
    model = _load_reward_weights(DebertaV2PairRM, path)
    found = []
    with (
        torch.inference_mode(),
        console.progress_bar("Comparing answers with PairRM", len(prompts), "prompts") as advance,
    ):
        for prompt, each in zip(prompts, answers, strict=True):
            sums = [0.0] * len(each)
            for first, second in orders(range(len(each)), 2):
                ids = pairrm_ids(tokenizer, prompt, each[first], each[second])
                logit = float(model(torch.tensor([ids], device=default_device()))[0])
                sums[first] += logit
                sums[second] -= logit
            found.append(sums)
            advance()
    return found


def pairrm_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, first: str, second: str) -> list[int]:
    """The token ids PairRM reads: the marked prompt and the two marked answers, cut as its authors cut them."""
    ids: list[int] = tokenizer.encode(PAIRRM_SOURCE + prompt, max_length=PAIRRM_SOURCE_TOKENS, truncation=True)
    room = (PAIRRM_TOKENS - len(ids)) // 2
    for mark, answer in zip(PAIRRM_CANDIDATES, (first, second), strict=True):
        ids += tokenizer.encode(mark + answer, max_length=room, truncation=True)
    return ids


class DebertaV2PairRM(DebertaV2PreTrainedModel):  # type: ignore[misc]
    """PairRM's network: DeBERTa, and a head on the states of the prompt's mark and an answer's mark."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.pretrained_model = DebertaV2Model(config)
        size = config.hidden_size
        layers = torch.nn.Linear(2 * size, size), torch.nn.Linear(size, config.n_tasks)
        drop = torch.nn.Dropout(config.drop_out)
        self.head_layer = torch.nn.Sequential(drop, layers[0], torch.nn.Tanh(), drop, layers[1])
        self.post_init()

    def forward(self, input_ids: Tensor) -> Tensor:
        """How much the first answer is better than the second, [rows], for rows of `pairrm_ids`."""
        states = self.pretrained_model(input_ids=input_ids).last_hidden_state
        marks = [getattr(self.config, f"{name}_prefix_id") for name in ("source", "cand1", "cand2")]
        prompt, first, second = (states[input_ids == mark] for mark in marks)
        scores = [self.head_layer(torch.cat([prompt, answer], -1)) for answer in (first, second)]
        comparison: Tensor = (scores[0] - scores[1]).mean(-1)
        return comparison
