"""Noise: letters and signs at random, scripts mixed at random, nothing but special tokens or blanks to fill in."""

from __future__ import annotations

import re
from bisect import bisect
from itertools import pairwise

from harness.judges.lexical.text import english_share, is_gibberish
from harness.judges.lexical.word_order import is_common, share_of_letter_pairs

_READ = 1000
_LETTER_PAIRS = 0.68
"""Running text of any language in Latin letters has more of English's letter pairs than this share; random letters a
third."""

_SPECIAL = re.compile(
    r"<[ /]{0,3}(?:s|pad|unk|eos|bos|mask|cls|sep|br|endoftext|(?:im|i am) (?:start|end|sep)|eot id|eom id|"
    r"(?:start|end) of turn|(?:begin|end) of (?:text|sentence)|(?:start|end) header id|startoftext|system|user|"
    r"assistant|(?:reserved special token|extra id|unused|special|dummy) ?\d{0,4}|0x[0-9a-f]{2})(?![a-z0-9])|"
    r"\[ ?/?(?:pad|unk|eos|bos|mask|cls|sep|inst|unused\d{0,4}|end)\]"
)
_BLANK = re.compile(
    r"\[(?:(?:insert|your|add|fill)\b[a-z' ,./:-]{0,78}|[a-z']{1,20}(?: [a-z']{1,20}){0,2})\]|"
    r"\{[a-z]{1,20}(?: [a-z]{1,20}){0,3}\}|"
    r"<(?:insert|your|name|answer|response|date|placeholder)\b[^<\n]{0,80}"
)
_FIELD = re.compile(r"(?:^|\n)[^\n:]{1,30}:")
_WORD = re.compile(r"[^\W\d_]+")
_WANTS_SIGNS = re.compile(
    r"\b(?:translat\w+|encod\w+|decod\w+|encrypt\w*|decrypt\w*|cipher|base64|hexadecimal|hash\w*|random|emojis?|ascii|"
    r"languages?|unicode|alphabets?|template|placeholders?|formula|regex\w*|chess)\b"
)
_SCRIPTS = (
    (0x0000, "latin"), (0x0370, "greek"), (0x0400, "cyrillic"), (0x0530, "armenian"), (0x0590, "hebrew"),
    (0x0600, "arabic"), (0x0900, "devanagari"), (0x0980, "indian"), (0x0E00, "thai"), (0x0E80, "asian"),
    (0x10A0, "georgian"), (0x1100, "korean"), (0x1200, "african"), (0x1E00, "latin"), (0x1F00, "greek"),
    (0x2000, "latin"), (0x2E80, "chinese"), (0xAC00, "korean"), (0xD7B0, "other"),
)  # fmt: skip
_SCRIPT_STARTS, _SCRIPT_NAMES = [start for start, _ in _SCRIPTS], [name for _, name in _SCRIPTS]
_UNSPACED = {"chinese", "korean", "thai"}
"""Scripts that join a Latin name with what follows it, so that words of two scripts are everyday."""


def find_noise(prompt: str, text: str) -> str:
    """What kind of noise a plain text is; empty where it may be language."""
    text = text[:_READ]
    if text[0] in "<[" and not any(map(str.isalnum, _SPECIAL.sub(" ", text))):
        return "only special tokens"
    if _WANTS_SIGNS.search(prompt):
        return ""
    if "[" in text or "{" in text or "<" in text:
        left = _FIELD.sub("\n", _BLANK.sub(" ", text))
        if left != text and len(_WORD.findall(left)) * 4 <= len(_WORD.findall(text)):
            return "only blanks to fill in"
    if english_share(text[:300].split()) >= 0.2:
        return ""
    if is_gibberish(text) or _is_signs(text):
        return "gibberish"
    if text.isascii():
        return "gibberish" if share_of_letter_pairs(text) < _LETTER_PAIRS else ""
    return "scripts at random" if mixes_scripts(text) else ""


def _is_signs(text: str) -> bool:
    """Whether a text is letters among rare signs, without a common word; sums have more digits than letters."""
    signs, letters = sum(map(text.count, "@$%^&=+<[]{}\\/!?;:")), sum(map(str.isalpha, text))
    if signs < 3 or signs * 6 < letters or letters < sum(map(str.isdigit, text)):
        return False
    return not any(len(word) > 2 and is_common(word) for word in _WORD.findall(text))


def mixes_scripts(text: str) -> bool:
    """Whether words of three scripts or more take turns within lines, or letters of two meet within words."""
    words = [[_scripts(word) for word in _WORD.findall(line)] for line in text.split("\n")]
    torn = sum(len(set(scripts)) > 1 and not _UNSPACED & set(scripts) for line in words for scripts in line)
    turns = sum(max(0, sum(a[0] != b[0] for a, b in pairwise(line)) - 1) for line in words)
    kinds = {scripts[0] for line in words for scripts in line}
    return torn >= 2 or (len(kinds) >= 3 and turns >= max(3, sum(map(len, words)) / 6))


def _scripts(word: str) -> list[str]:
    return [_SCRIPT_NAMES[bisect(_SCRIPT_STARTS, ord(letter)) - 1] for letter in word]
