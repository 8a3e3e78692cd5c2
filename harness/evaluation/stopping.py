"""When a batch of answers is at its end: lm-eval's own rule, without decoding every row after every token."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase, StoppingCriteria, StoppingCriteriaList

_LOOKED_BACK = 2
"""Tokens that lm-eval looks back beyond those that the text has when it is encoded by itself."""


class AllRowsHold(StoppingCriteria):  # type: ignore[misc]
    """Ends a batch once every row's answer holds a text, as lm-eval's `MultiTokenEOSCriteria` does.

    That one decodes the end of every row after every token. Here rows are looked at until one that goes on is found:
    the next one to decode is mostly the first.
    """

    def __init__(self, text: str, tokenizer: PreTrainedTokenizerBase, begin: int) -> None:
        """`begin`: the number of tokens before the answers."""
        self._text, self._tokenizer, self._begin = text, tokenizer, begin
        tokens = tokenizer.encode(text, add_special_tokens=False)
        self._window = len(tokens) + _LOOKED_BACK
        self._token = tokens[0] if len(tokens) == 1 and text in tokenizer.decode(tokens) else None

    def __call__(self, input_ids: Tensor, *_: Any, **__: Any) -> bool:
        """Whether all rows of `input_ids` [rows, tokens] hold the text."""
        answers = input_ids[:, self._begin :]
        if self._token is not None:
            answers = answers[(answers != self._token).all(1)]  # the others hold it
        return all(self._holds(answer.tolist()) for answer in answers)

    def _holds(self, answer: list[int]) -> bool:
        """Whether one of the windows that lm-eval saw, as the answer grew, holds the text."""
        if self._text not in self._tokenizer.decode(answer):
            return False
        starts = range(max(1, len(answer) - self._window + 1))
        return any(self._text in self._tokenizer.decode(answer[start : start + self._window]) for start in starts)


def stop_at_texts(
    tokenizer: PreTrainedTokenizerBase,
    stop_sequences: list[str],
    initial_decoder_input_length: int,
    batch_size: int,  # noqa: ARG001
) -> StoppingCriteriaList:
    """In place of lm-eval's `stop_sequences_criteria`, whose arguments it takes."""
    return StoppingCriteriaList([AllRowsHold(text, tokenizer, initial_decoder_input_length) for text in stop_sequences])
