"""Repetition: a text that says nothing but the same, and the loop in which one that began well may end."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice

from harness.judges.lexical.text import is_repetitive, quote_start

_WORD = re.compile(r"[^\W\d_]{1,60}")
_RUN = 4
_LEAST_RUNS, _REPEATED_SHARE, _NEW_RUNS = 8, 0.9, 8
"""A loop is a rest of 8 runs of four words or more, nine in ten of them there before; 8 new ones in a row end it."""

_ENOUGH_BEFORE, _ENOUGH_A_TURN = 12, 40
"""So many words before a loop, or in one turn of it, are an answer."""


def find_repetition(text: str) -> str | None:
    """Why a plain text says nothing but the same words; None where it does not."""
    if not _may_loop(text) and " " in text:
        return None
    found = is_repetitive(_words(text)) or _is_one_word(text) or (_loop(text) and before_loop(text) == text)
    return f"repeats itself: {quote_start(text)}" if found else None


def before_loop(text: str) -> str:
    """A plain text up to the end of the first turn of the loop it ends in; all of it where no answer precedes."""
    loop = _loop(text)
    if not loop:
        return text
    before, turn, end = loop
    return text[:end] if before >= _ENOUGH_BEFORE or turn >= _ENOUGH_A_TURN else text


def _is_one_word(text: str) -> bool:
    words = re.findall(r"[^\W\d_]+", text[:600]) or re.findall(r"\w+", text[:600])
    if not words or any(word != words[0] for word in words[: -1 if len(words) > 3 else None]):
        return False
    word = words[0]
    return len(words) >= 4 or any(word[size:] == word[:-size] for size in range(1, len(word) // 3 + 1))


@lru_cache(maxsize=2)
def _words(text: str) -> list[str]:
    return _WORD.findall(text)


@lru_cache(maxsize=2)
def _may_loop(text: str) -> bool:
    words = text.split()
    return len(set(words)) <= max(2, len(words) / 2)


@lru_cache(maxsize=2)
def _loop(text: str) -> tuple[int, int, int] | None:
    """The words before the loop, those in one turn, and where in the text the first turn ends; None without one."""
    if not _may_loop(text):
        return None
    words = _words(text)
    if len(words) < _LEAST_RUNS + _RUN:
        return None
    seen: dict[tuple[str, ...], int] = {}
    firsts = [seen.setdefault(run, at) for at, run in enumerate(zip(*(words[n:] for n in range(_RUN)), strict=False))]
    start, repeated, fresh = len(firsts), 0, 0
    for length, at in enumerate(range(len(firsts) - 1, -1, -1), 1):
        again = firsts[at] != at
        repeated, fresh = repeated + again, 0 if again else fresh + 1
        if fresh >= _NEW_RUNS:
            break
        if again and repeated >= _REPEATED_SHARE * length:
            start = at
    if start == len(firsts):
        return None
    first, turn = firsts[start], start - firsts[start]
    if len(firsts) - start < max(_LEAST_RUNS, 2 * turn - _RUN):
        return None
    return first, turn, next(islice(_WORD.finditer(text), start - 1, None)).end()
