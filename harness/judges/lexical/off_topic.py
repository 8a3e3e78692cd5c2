"""Whether a fluent answer is one to another question: hardly a content word of the prompt is in it."""

from __future__ import annotations

import re

from harness.judges.lexical.word_order import STEM, is_class_word, is_common

_TERSE = 25
"""Answers of so many words or fewer are told from nothing: a terse one need not name what was asked about."""

_LEAST_WEIGHT, _SHARED = 0.8, 0.2
"""A prompt with less weight of content words is no evidence; an answer that shares less than a fifth is off topic."""

_RARE, _COMMON = 1.0, 0.4
_LONG_PROMPT, _SHARED_WITH_FRAME = 60, 0.3
"""A prompt of more words may be a frame around a request: then its questions, quotations and end count by
themselves, and the whole, whose many words any answer meets, by a third."""

_CONTENT = re.compile(r"[a-z]{3,40}")
_NUMBER = re.compile(r"\d{2,12}")
_REQUEST = re.compile(r"[^.!?\n\"]{1,600}\?|\"[^\"\n]{1,600}\"|[^.!?\n]{1,600}[.!?\s]{0,9}\Z")
_WANTS_OTHER_WORDS = re.compile(
    r"\b(?:translat\w*|encod\w+|decod\w+|synonyms?|rhym\w+|random|emojis?|paraphras\w+|"
    r"in (?:spanish|french|german|italian|portuguese|dutch|russian|chinese|japanese|korean|arabic|hindi))\b"
)
_REQUEST_WORDS = (
    "write writi poem story stori song essay tell expla descr provi creat devel guide tutor instr step steps method "
    "easie easy effec begin somet anyon someb feel find idea ideas exampl examp tips using used uses without witho "
    "could would shoul really reall actua becau since diffe kind sort type lot keep put topic subje reply respo "
    "pleas whats gener list short brief parag words sente detai possi simpl perfe strat proce gonna wanna always"
)
_REQUEST_STEMS = frozenset(_REQUEST_WORDS.split())


def is_off_topic(prompt: str, text: str) -> bool:
    """Whether a plain text of more than 25 words shares next to nothing with what a plain prompt is about.

    Words meet by their first letters and inside compounds; common ones weigh less. A prompt without content ("Write a
    poem.") is no evidence.
    """
    if len(text.split()) <= _TERSE or _WANTS_OTHER_WORDS.search(prompt):
        return False
    if len(prompt.split()) <= _LONG_PROMPT:
        return _shares_little(_content_stems(prompt), text, _SHARED)
    requests = " ".join(_REQUEST.findall(prompt))
    return _shares_little(_content_stems(requests), text, _SHARED) and _shares_little(
        _content_stems(prompt), text, _SHARED_WITH_FRAME
    )


def _content_stems(text: str) -> dict[str, float]:
    """The stems of a text's content words and its numbers, each with its weight."""
    words = (word for word in _CONTENT.findall(text) if word[:STEM] not in _REQUEST_STEMS)
    stems = {word[:STEM]: _COMMON if is_common(word) else _RARE for word in words if not is_class_word(word)}
    return stems | dict.fromkeys(_NUMBER.findall(text), _RARE)


def _shares_little(stems: dict[str, float], text: str, least: float) -> bool:
    total = sum(stems.values())
    shared = sum(weight for stem, weight in stems.items() if stem in text)
    return total >= _LEAST_WEIGHT and shared < least * total
