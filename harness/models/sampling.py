"""Answers of a model to prompts, on transformers or vLLM."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from harness.models.loading import end_tokens, load_tokenizer, require_chat_template, stop_options
from harness.models.paths import ModelPath, locate_model
from harness.models.templates import limit_rendering
from harness.models.vllm import llm_options, load_vllm, vllm_answers
from harness.support import console
from harness.support.errors import HarnessError


def sample_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int = 64,
) -> list[str]:
    """One answer a prompt, in order, drawn at `temperature` with top-p 1; the same seed gives the same answers.

    Prompts are batched by length and padded on the left. Raises HarnessError where there is no chat template.
    """
    texts = [render_prompt(tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(texts)), key=lambda index: (len(texts[index]), index))
    answers = [""] * len(texts)
    torch.manual_seed(seed)
    with console.progress_bar("Sampling answers", len(texts), "answers") as advance:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            drawn = generate_batch(model, tokenizer, [texts[index] for index in chosen], temperature, max_new_tokens)
            for index, answer in zip(chosen, drawn, strict=True):
                answers[index] = answer
            advance(len(chosen))
    return answers


def sample_on_vllm(
    path: str | ModelPath, prompts: Sequence[str], *, temperature: float, max_new_tokens: int, seed: int
) -> list[str]:
    """`sample_answers` on vLLM, from a checkpoint directory or hub id; its draws are other ones than transformers'.

    The model stays in use, for a second sample; `free_vllm` ends it. Raises HarnessError where the model
    cannot be loaded, or the longest prompt leaves no room for an answer.
    """
    place = locate_model(path)
    config, tokenizer = load_tokenizer(place)
    ids = [tokenizer(render_prompt(tokenizer, prompt), add_special_tokens=False)["input_ids"] for prompt in prompts]
    longest = max(map(len, ids))
    options = llm_options(config, longest, max_new_tokens)
    if longest >= options["max_model_len"]:
        raise HarnessError(f"the longest prompt, of {longest} tokens, leaves no room for an answer", place=str(path))
    console.print_note("Sampling answers …")  # vLLM draws the bar
    llm = load_vllm(place.directory, **options, **place.loading_options)
    return vllm_answers(llm, ids, temperature=temperature, max_new_tokens=max_new_tokens, seed=seed)


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str) -> str:
    """The prompt as one user turn with the tokenizer's chat template, ready for the answer."""
    return render_turns(tokenizer, [prompt])


def render_turns(tokenizer: PreTrainedTokenizerBase, turns: Sequence[str]) -> str:
    """A conversation, the user's first and last turn and the assistant's between them, ready for the answer."""
    place = str(tokenizer.name_or_path)
    messages = [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(turns)]
    require_chat_template(tokenizer, place)
    with limit_rendering(place):
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def generate_batch(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    temperature: float,
    max_new_tokens: int,
) -> list[str]:
    """One answer to each rendered prompt, all in one batch, drawn from torch's random stream as it stands."""
    drawn = generate_answer_tokens(model, tokenizer, texts, temperature, max_new_tokens)
    decoded: list[str] = tokenizer.batch_decode(drawn, skip_special_tokens=True)
    return decoded


def generate_answer_tokens(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    temperature: float,
    max_new_tokens: int,
) -> list[list[int]]:
    """`generate_batch` as token ids: each answer's, the one that ends it included where it came to its end."""
    batch = tokenizer(list(texts), return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False).to(
        model.device
    )
    with torch.inference_mode():
        output = model.generate(
            **batch,
            do_sample=True,
            temperature=temperature,
            top_p=1.0,
            top_k=0,
            repetition_penalty=1.0,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id,
            **stop_options(model.generation_config, tokenizer),
        )
    ends = end_tokens(model.generation_config, tokenizer)
    return [_until_end(row, ends) for row in output[:, batch["input_ids"].shape[1] :].tolist()]


def _until_end(tokens: list[int], ends: set[int]) -> list[int]:
    last = next((place for place, token in enumerate(tokens) if token in ends), len(tokens) - 1)
    return tokens[: last + 1]
