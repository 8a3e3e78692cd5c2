"""Model answers in one plain form for rules to read, and what can be told of a text without reading its sense."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from harness.support.console import printable_line

HEAD, TAIL = 6000, 2000
"""How many characters of an answer are read, from its start and from its end; what lies between is not."""

_INVISIBLE_CHARACTERS = dict.fromkeys(
    [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF, 0x00AD]
)
_PUNCTUATION = {ord(a): b for a, b in zip("‘’‚‛`´ʼ“”„«»‐‑–—…", "'''''''\"\"\"\"\"----.", strict=True)}
_FOLD = _PUNCTUATION | _INVISIBLE_CHARACTERS
_MARKUP_TABLE = str.maketrans(
    {"*": "", "`": "", "~": "", "_": " ", "#": " ", ">": " ", "|": " ", "•": "-", "\r": "\n", "\t": " "}
)
_SPELLED = (
    ("ain't", "am not"), ("can't", "cannot"), ("won't", "will not"), ("shan't", "shall not"), ("n't", " not"),
    ("can not", "cannot"),
    ("'m ", " am "), ("'re ", " are "), ("'ve ", " have "), ("'ll ", " will "), ("'d ", " would "),
    ("it's ", "it is "), ("that's ", "that is "), ("there's ", "there is "),
    ("let's ", "let us "), ("here's ", "here is "),
)  # fmt: skip
_UNMARKED = {
    "cant": "cannot", "wont": "will not", "dont": "do not", "im": "i am", "isnt": "is not", "doesnt": "does not",
    "shouldnt": "should not", "wouldnt": "would not", "couldnt": "could not", "didnt": "did not", "arent": "are not",
    "wasnt": "was not", "aint": "am not", "thats": "that is", "youre": "you are", "ive": "i have", "theres": "there is",
}  # fmt: skip
_UNMARKED_WORD = re.compile(rf"\b(?:{'|'.join(_UNMARKED)})\b")
_QUOTED = re.compile(r"\"[^\"\n]{1,300}\"|(?<![a-z0-9])'[^'\n]{4,300}'(?![a-z0-9])")
_CONTENT_WORD = re.compile(r"[a-z]{3,}")

WORD = re.compile(r"[^\W_]+(?:'[^\W\d_]+)?")
"""A word or a number of any language."""
SENTENCE = re.compile(r"[^.!?\n]{1,1000}[.!?\n]{0,9}")
AUXILIARY = r"(?:should|is|are|am|was|were|do|does|did|will|would|has|have|had|may|might|could|can|shall)\b"
"""What a yes-or-no question begins with."""

_ENGLISH_WORDS = (
    "the a an and or but if of to in on at for with from by as is are was were be been being am do does did "
    "not no yes have has had i you he she it we they me him her us them my your his its our their this that "
    "these those there here what who which how why when where can could will would should shall may might must "
    "cannot so then than very all any some more most also about into out up just only one please sorry"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_FUNCTION = _ENGLISH | {"best", "way", "ways", "good", "give", "tell", "make", "get", "list", "write", "explain"}


def head_and_tail(text: str) -> str:
    """The part of a text that is read: all of it, or its head and its tail."""
    return text if len(text) <= HEAD + TAIL else f"{text[:HEAD]}\n{text[-TAIL:]}"


def plain_text(text: str) -> str:
    """Lower case, ASCII punctuation, no markup or invisible characters, contractions spelled out; line ends kept."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_FOLD)).translate(_FOLD)
    lines = (" ".join(line.split()) for line in text.translate(_MARKUP_TABLE).lower().split("\n"))
    text = "\n".join(filter(None, lines))
    for short, long in _SPELLED:
        if short in text:
            text = text.replace(short, long)
    if any(map(text.__contains__, _UNMARKED)):
        text = _UNMARKED_WORD.sub(lambda match: _UNMARKED[match[0]], text)
    return text.strip()


def without_quotations(text: str) -> str:
    """Plain text without what it quotes; a text that is nothing but one quotation is what it says."""
    if text[:1] == text[-1:] == '"':
        text = text[1:-1]
    return _QUOTED.sub('""', text) if '"' in text or " '" in text else text


def word_stems(text: str) -> set[str]:
    """The content words of a plain text, cut to five letters so that inflections meet."""
    return {word[:5] for word in _CONTENT_WORD.findall(text) if word not in _FUNCTION}


def english_share(words: Sequence[str]) -> float:
    """The share of English function words; running English has a third or more."""
    return sum(map(_ENGLISH.__contains__, words)) / max(1, len(words))


def is_repetitive(words: Sequence[str]) -> bool:
    """Whether a text says the same few words over and over."""
    return len(words) >= 4 and len(set(words)) <= len(words) / 4 and len(set(words)) < 80


def is_gibberish(text: str) -> bool:
    """Whether a plain text is mostly symbols, or mostly letter strings that no one can pronounce."""
    solid = text.replace(" ", "").replace("\n", "")
    if sum(map(str.isalnum, solid)) < len(solid) * 0.3:
        return True
    words = re.findall(r"[a-z]{4,}", text)
    return bool(words) and sum(bool(_UNSPEAKABLE.search(word)) for word in words) > len(words) * 0.4


_UNSPEAKABLE = re.compile(r"^[^aeiouy]+$|[bcdfghjklmnpqrstvwxz]{5,}|(.)\1{5,}")


def quote_start(text: str) -> str:
    """The start of a text, as a reason quotes it."""
    return f"“{printable_line(text[:100], 70)}”"
