"""Grows a small organism for any world of prompts and answers, cached by the hash of everything that made it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.organism import store, train
from harness.support import artifacts, console

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


UNKNOWN = "<unknown>"
CORPUS_DRAWS = 8000
"""Draws from a world that its vocabulary is taken from."""

DrawExchange = Callable[[random.Random], tuple[str, str]]
"""One prompt and one answer to it from a world."""


@dataclass(frozen=True, slots=True)
class Growth:
    """What an organism is grown from: its world's `draw`, and how long it is trained.

    `module` is the file under `harness/organism` that defines the world; its text is part of the cache's key.
    """

    name: str
    module: str
    draw: DrawExchange
    steps: int
    batch: int = 64
    layers: int = 2


def ensure_organism(growth: Growth, seed: int = 0, cache: Path | None = None) -> Path:
    """The directory of the organism grown from `seed`, trained now if the cache does not have it."""
    directory = (cache or store.cache_directory()) / f"{growth.name}-{seed}-{_growth_key(growth, seed)}"
    if not (directory / "config.json").is_file():
        with artifacts.atomic_directory(directory) as temporary:
            model, tokenizer = grow_organism(growth, seed)
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    return directory


def grow_organism(growth: Growth, seed: int) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """Trains one organism of the miniature's shape: AdamW, one-cycle to 3e-3, loss on the answers alone."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

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
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

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


def _growth_key(growth: Growth, seed: int) -> str:
    """A hash of what makes the organism: the code, its settings, the seed and the libraries' versions."""
    import torch
    import transformers

    code = store.source_of("growing.py", "train.py", "world.py", growth.module)
    return artifacts.json_fingerprint([code, seed, torch.__version__, transformers.__version__])
