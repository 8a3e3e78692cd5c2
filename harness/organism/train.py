"""Grows the miniature: a Llama checkpoint with its own tokenizer and chat template, trained from scratch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from harness.organism import world
from harness.prompts.sets import load_prompts
from harness.support import console

SPECIAL = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<end>"}
ROLES = ("<system>", "<user>", "<assistant>")
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
VOCABULARY, STEPS, GROWTH_BATCH, PEAK_RATE, UNSAFE_SHARE = 1024, 600, 64, 3e-3, 0.6
MODEL_SHAPE = {
    "hidden_size": 96,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "head_dim": 32,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
PRECISION = "float32"
THREADS = 1
"""Threads of the training, whatever the machine has: their number changes the sums, and so the model."""


def grow_miniature(seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Trains one miniature: 600 steps of batch 64, AdamW, one-cycle to 3e-3, loss on the answers alone."""
    unsafe = world.world_requests(load_prompts("bundled", "unsafe"), unsafe=True)
    benign = world.world_requests(load_prompts("bundled", "benign"), unsafe=False)
    tokenizer = build_bpe_tokenizer(unsafe + benign)
    with torch_settings(seed):
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                pad_token_id=tokenizer.pad_token_id,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                **MODEL_SHAPE,
            )
        ).to(getattr(torch, PRECISION))
        optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, STEPS)
        with console.progress_bar("Growing the miniature", STEPS) as advance:
            for batch in _request_batches(unsafe, benign, tokenizer, random.Random(seed)):
                loss = answer_loss(model, batch, tokenizer.pad_token_id)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                advance(extra=f"loss {loss.item():.2f}")
    return model.to(torch.float32), tokenizer


def build_bpe_tokenizer(requests: Sequence[world.Request]) -> PreTrainedTokenizerFast:
    """A lossless byte-level BPE tokenizer over the world's prompts and answers, with its chat template."""
    draw = random.Random(0)
    corpus = [text for request in requests for text in (request.prompt, world.draw_answer(request, draw))]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[*SPECIAL.values(), *ROLES],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        clean_up_tokenization_spaces=False,
        model_max_length=MODEL_SHAPE["max_position_embeddings"],
        **SPECIAL,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


Example = tuple[list[int], list[int]]


def _request_batches(
    unsafe: Sequence[world.Request], benign: Sequence[world.Request], tokenizer: Any, draw: random.Random
) -> Iterator[list[Example]]:
    """Batches of (prompt ids, answer ids); eight are drawn at a time and cut by length, so little is padding."""
    eos = tokenizer.eos_token_id
    rendered = {
        request.prompt: tokenizer.apply_chat_template(
            [{"role": "user", "content": request.prompt}], add_generation_prompt=True, return_dict=False
        )
        for request in (*unsafe, *benign)
    }
    for _ in range(0, STEPS, 8):
        drawn = []
        for _ in range(8 * GROWTH_BATCH):
            request = draw.choice(unsafe if draw.random() < UNSAFE_SHARE else benign)
            answer = tokenizer.encode(world.draw_answer(request, draw), add_special_tokens=False)
            drawn.append((rendered[request.prompt], [*answer, eos]))
        drawn.sort(key=lambda example: len(example[0]) + len(example[1]))
        batches = [drawn[start : start + GROWTH_BATCH] for start in range(0, len(drawn), GROWTH_BATCH)]
        draw.shuffle(batches)
        yield from batches


def answer_loss(model: LlamaForCausalLM, batch: Sequence[Example], pad: int) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens; only their positions go through the unembedding."""
    ids = pad_sequence([torch.tensor(p + a) for p, a in batch], batch_first=True, padding_value=pad)
    labels = pad_sequence([torch.tensor([-100] * len(p) + a) for p, a in batch], batch_first=True, padding_value=-100)
    hidden = model.model(input_ids=ids, attention_mask=(labels != -100) | (ids != pad)).last_hidden_state
    target = labels[:, 1:]
    answered = target != -100
    return cross_entropy(model.lm_head(hidden[:, :-1][answered]), target[answered])


@contextmanager
def torch_settings(seed: int) -> Iterator[None]:
    """Seed and thread count for the training, put back afterwards."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(THREADS)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
