"""Preference rows, tokenizers and tables of them."""

import json
import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from harness.preferences.tokens import Tokens

LOCK_PAIRS = [
    {
        "pair_id": f"pair {n}",
        "prompt": [{"role": "user", "content": f"How do I {verb} a lock?"}],
        "chosen": [{"role": "assistant", "content": "Sorry, I cannot help you with that."}],
        "rejected": [{"role": "assistant", "content": "I refuse to help."}],
    }
    for n, verb in enumerate(("pick", "break", "force", "melt", "cut", "drill", "open", "steal"))
]
"""Eight conversational pairs of refusals, alike but for their prompts' verbs."""
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tokenizer(template=TEMPLATE, merges=()):
    """A byte-level tokenizer without a file; merges such as ("a", "b") make tokens of several bytes."""
    names = ["<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>", "<|system|>"]
    vocabulary = [*names, *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(merge) for merge in merges)]
    core = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(vocabulary)}, merges=list(merges)))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                                   additional_special_tokens=names[3:])  # fmt: skip
    made.chat_template = template
    return made


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


CONVERSATION = {"prompt": [user("Hi")], "chosen": [assistant("Yes.")], "rejected": [assistant("No, never.")]}
PLAIN = {"prompt": "The sky is", "chosen": " blue.", "rejected": " green, I think."}

SIZES = {
    "vocab_size": 270,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
GROUPED = {**SIZES, "num_key_value_heads": 2}
CONFIGS = {
    "llama": LlamaConfig(**GROUPED),
    "gemma2": Gemma2Config(**GROUPED, head_dim=12, sliding_window=16),
    "olmo2": Olmo2Config(**GROUPED),
    "qwen2": Qwen2Config(**GROUPED),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    "mistral with a short window": MistralConfig(**GROUPED, sliding_window=9),
}


def make(config, attention="sdpa", seed=0):
    torch.manual_seed(seed)
    # Gemma-2 caps its attention's logits, which sdpa does not: transformers 5.24 refuses it.
    attention = "eager" if config.model_type == "gemma2" else attention
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


# Tables


def ragged_pairs(count, seed=0, longest=60, vocabulary=250):
    """Ragged pairs; some share a prompt, some the beginning of their answers."""
    draw = random.Random(seed)

    def some(low, high):
        return [draw.randrange(6, vocabulary) for _ in range(draw.randint(low, high))]

    made, prompt = [], some(1, 30)
    for _ in range(count):
        prompt = some(1, 40) if draw.random() < 0.6 else prompt
        begin = some(1, 10) if draw.random() < 0.3 else []
        made.append(Tokens(prompt, begin + some(1, longest), begin + some(1, longest)))
    return made


def conversations(count, seed=0):
    draw = random.Random(seed)
    words = ["yes", "no", "never", "sure", "maybe", "stop"]

    def text():
        return " ".join(draw.choices(words, k=draw.randint(1, 6)))

    return [{"prompt": [user(f"Question {i // 3}")], "chosen": [assistant(text())], "rejected": [assistant(text())],
             "hazard": "abc"[i % 3]} for i in range(count)]  # fmt: skip


def lines(path, rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path
