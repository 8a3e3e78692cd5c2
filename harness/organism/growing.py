"""Grows a small organism for any world of prompts and answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.organism import train
from harness.organism.store import Growth
from harness.support import console

UNKNOWN = "<unknown>"
CORPUS_DRAWS = 8000
"""Draws from a world that its vocabulary is taken from."""


def grow_organism(growth: Growth, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Trains one organism of the miniature's shape: AdamW, one-cycle to 3e-3, loss on the answers alone."""
    tokenizer = build_word_tokenizer(growth)
    with train.torch_settings(seed):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                **train.MODEL_SHAPE | {"num_hidden_layers": growth.layers},
            )
        )
        optimizer = torch.optim.AdamW(model.parameters(), lr=train.PEAK_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, train.PEAK_RATE, growth.steps)
        with console.progress_bar(f"Growing the {growth.name} organism", growth.steps) as advance:
            for batch in _exchange_batches(growth, tokenizer, random.Random(seed)):
                loss = train.answer_loss(model, batch, tokenizer.pad_token_id)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                advance(extra=f"loss {loss.item():.2f}")
    return model, tokenizer


def build_word_tokenizer(growth: Growth) -> PreTrainedTokenizerFast:
    """One token a word or mark of the world, with the miniature's special tokens and chat template."""
    draw = random.Random(0)
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [*train.SPECIAL.values(), *train.ROLES, UNKNOWN]
    trainer = trainers.WordLevelTrainer(special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator((text for _ in range(CORPUS_DRAWS) for text in growth.draw(draw)), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        model_max_length=train.MODEL_SHAPE["max_position_embeddings"],
        **train.SPECIAL,
    )
    fast.chat_template = train.CHAT_TEMPLATE
    return fast


def _exchange_batches(growth: Growth, tokenizer: Any, draw: random.Random) -> Iterator[Sequence[train.Example]]:
    """Batches of (prompt ids, answer ids); eight are drawn at a time and cut by length, so little is padding."""
    for _ in range(0, growth.steps, 8):
        drawn = [_draw_example(growth, tokenizer, draw) for _ in range(8 * growth.batch)]
        drawn.sort(key=lambda example: len(example[0]) + len(example[1]))
        batches = [drawn[start : start + growth.batch] for start in range(0, len(drawn), growth.batch)]
        draw.shuffle(batches)
        yield from batches


def _draw_example(growth: Growth, tokenizer: Any, draw: random.Random) -> train.Example:
    prompt, answer = growth.draw(draw)
    text = f"{tokenizer.bos_token}<user>{prompt}{tokenizer.eos_token}<assistant>"
    ids = tokenizer.encode(text, add_special_tokens=False)
    return ids, [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
