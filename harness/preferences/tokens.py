"""A preference pair cut into tokens as TRL 1.16's DPOTrainer does it (`_prepare_dataset` and its collator)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.models.templates import RunawayTemplate, limit_rendering, refuse_runaway_template
from harness.preferences.pairs import Pair, Text, TooLong, Unscorable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Tokens:
    """One pair's token ids as trained on.

    `merged`: the prompt's last tokens merged with the answers' first. `text_lengths`: how many tokens of y+ and of y-
    stand before the answer's end token; None where no end token is known.
    """

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]
    merged: bool = False
    text_lengths: tuple[int, int] | None = None

    @property
    def texts(self) -> tuple[list[int], list[int]]:
        """The tokens of y+ and of y- before their end tokens; all of them where none is known."""
        chosen, rejected = self.text_lengths or (len(self.chosen), len(self.rejected))
        return self.chosen[:chosen], self.rejected[:rejected]


def tokenize_pair(pair: Pair, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> Tokens:
    """The pair's token ids as DPOTrainer trains on them.

    The answers start where the rendered prompt and the rendered whole part ways; plain text gets the end-of-sequence
    token, messages get what the chat template renders. With `max_length` the end is cut off, as TRL's default
    `keep_start` does. Raises Unscorable saying why the pair has no tokens to score, and HarnessError where the
    tokenizer's chat template takes too long.
    """
    _refuse_runaway(pair, tokenizer)
    try:
        with limit_rendering(str(tokenizer.name_or_path)):
            prompt, chosen, rejected = _rendered_ids(pair, tokenizer)
    except RunawayTemplate:
        raise
    except Exception as error:  # chat templates raise whatever their author chose
        said = " ".join(str(error).split())[:120]
        raise Unscorable(f"cannot be tokenised ({type(error).__name__}: {said})") from error
    shared = min(common_prefix(prompt, chosen), common_prefix(prompt, rejected))
    if shared == 0:
        raise Unscorable("no prompt token to predict the answer from")
    if max_length is not None and shared >= max_length:
        raise TooLong(f"the prompt alone fills {max_length} tokens")
    tokens = Tokens(chosen[:shared], chosen[shared:max_length], rejected[shared:max_length], shared < len(prompt))
    if not tokens.chosen or not tokens.rejected:
        raise Unscorable(f"empty {'rejected' if tokens.chosen else 'chosen'} answer")
    ends = _text_length(tokens.chosen, pair.chosen, tokenizer), _text_length(tokens.rejected, pair.rejected, tokenizer)
    return replace(tokens, text_lengths=ends)


def _text_length(answer: Sequence[int], text: Text, tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens of an answer stand before its first end token; all where it has none, as one that was cut.

    End tokens are the tokenizer's end of sequence, and the special tokens that close the answer with nothing but blanks
    between and behind them, as `<|im_end|>` and a newline. Of an answer of several messages the last one's counts.
    """
    added, closing = tokenizer.added_tokens_decoder, len(answer)
    special = {token for token in {*answer} & {*added} if added[token].special}
    while closing and (answer[closing - 1] in special or not str(tokenizer.decode([answer[closing - 1]])).strip()):
        closing -= 1
    ends = {tokenizer.eos_token_id, *(special & {*answer[closing:]})}
    begin = closing if isinstance(text, list) and len(text) > 1 else 0
    return next((place for place in range(begin, len(answer)) if answer[place] in ends), len(answer))


def _refuse_runaway(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises RunawayTemplate for the tokenizer's chat template, and Unscorable for one that the row brings."""
    if not pair.is_conversational:
        return
    refuse_runaway_template(tokenizer.chat_template, str(tokenizer.name_or_path))
    try:
        refuse_runaway_template(pair.template_arguments.get("chat_template"), "chat_template_kwargs")
    except RunawayTemplate as error:
        raise Unscorable(error.cause) from None


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many leading items two sequences share."""
    shortest = min(len(left), len(right))
    return next((place for place in range(shortest) if left[place] != right[place]), shortest)


def rendered_texts(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """The text behind the tokens: of the prompt alone, and of the prompt with each answer."""
    whole = [_join_answer(pair.prompt, answer, tokenizer.eos_token) for answer in (pair.chosen, pair.rejected)]
    if not pair.is_conversational:
        return str(pair.prompt), str(whole[0]), str(whole[1])
    options = {"tools": pair.tools, **pair.template_arguments, "tokenize": False}
    prompt = tokenizer.apply_chat_template(pair.prompt, **options, add_generation_prompt=True)
    chosen, rejected = (tokenizer.apply_chat_template(messages, **options) for messages in whole)
    return str(prompt), str(chosen), str(rejected)


def _rendered_ids(pair: Pair, tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int], list[int]]:
    """Token ids of the prompt alone, and of the prompt with each answer."""
    whole = [_join_answer(pair.prompt, answer, tokenizer.eos_token) for answer in (pair.chosen, pair.rejected)]
    if not pair.is_conversational:
        prompt, chosen, rejected = (list(tokenizer(text=text)["input_ids"]) for text in (pair.prompt, *whole))
        return prompt, chosen, rejected
    options = {"tools": pair.tools, **pair.template_arguments}
    prompt = _chat_template_ids(tokenizer, pair.prompt, {**options, "add_generation_prompt": True})
    return prompt, _chat_template_ids(tokenizer, whole[0], options), _chat_template_ids(tokenizer, whole[1], options)


def _chat_template_ids(tokenizer: PreTrainedTokenizerBase, messages: Text, options: Mapping[str, Any]) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True, **options)["input_ids"])


def _join_answer(prompt: Text, answer: Text, end: str | None) -> Text:
    if isinstance(prompt, list) and isinstance(answer, list):
        return prompt + answer
    if end is None:
        raise ValueError("the tokenizer has no end-of-sequence token")
    text = str(answer)
    return f"{prompt}{text if text.endswith(end) else text + end}"
