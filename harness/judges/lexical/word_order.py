"""How plausible the order of the words of an English text is: running text, or words without order.

Words fall into sixty classes (articles, pronouns, auxiliaries, suffixes, punctuation). Which class follows which
is far from chance in running text; `word_order_table.py` holds, for each pair of classes, how much it speaks for
running text against words that were drawn or shuffled, as `benchmarks/word_order.py` learned it.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from itertools import pairwise

from harness.judges.lexical.word_order_table import COMMON_STEMS, LETTER_PAIRS, PAIR_WEIGHTS

_CLASSES = {
    "THE": "the",
    "A": "a an",
    "THIS": "this that these those",
    "ANY": "any some all every each another no both either neither much many several few such most more less enough",
    "MY": "my your his her its our their",
    "I": "i we",
    "YOU": "you",
    "HE": "he she they who",
    "IT": "it there",
    "ME": "me him them us himself herself itself myself yourself themselves someone somebody anyone everyone "
    "something anything everything nothing others one",
    "BE": "be been being",
    "IS": "is was",
    "ARE": "are were am",
    "HAVE": "have has had having",
    "DO": "do does did",
    "MODAL": "can could will would should may might must cannot shall",
    "NOT": "not never",
    "TO": "to",
    "OF": "of",
    "IN": "in on at into within onto upon inside near during throughout",
    "FOR": "for with by from about without through against towards toward between over under among across regarding",
    "AFTER": "after before until since like than via per around behind beyond",
    "AS": "as",
    "AND": "and or",
    "BUT": "but so yet nor then plus",
    "IF": "if when while because although though unless whether where once whenever wherever however",
    "WHICH": "which whose whom",
    "HOW": "how what why",
    "VERY": "very too quite rather more highly even just only also still always often already never soon perhaps maybe "
    "again almost",
    "HERE": "here now today later instead first second third next finally please well away together back out up down "
    "off",
    "SAID": "said says asked told thought knew",
    "MAKE": "make use get take find help keep give need want go try ask know see say provide create avoid ensure let "
    "put add start stop work learn understand consider remember include become look come think feel seek choose "
    "follow allow cause call tell show write read buy talk believe promote respect treat",
    "GOOD": "good best better important other different new own same great able available many possible specific real "
    "big small old long high low right common certain clear necessary appropriate illegal safe likely",
    "WAY": "way time people person thing number part place day year world life man woman money home house example "
    "information question answer language model help name law",
}
_SUFFIXES = (
    ("ING", ("ing",)),
    ("ED", ("ed", "ought")),
    ("LY", ("ly",)),
    ("NESS", ("tion", "sion", "ment", "ness", "ity", "ance", "ence", "ship", "ism")),
    ("OUS", ("al", "ic", "ive", "ous", "ful", "able", "ible", "less", "ary", "ant", "ent")),
    ("ER", ("er", "or", "ist")),
    ("NESSES", ("tions", "ments", "ities", "ers", "ors", "ists", "ances", "ences")),
    ("SS", ("ss", "us", "is")),
    ("S", ("s",)),
    ("Y", ("y",)),
    ("E", ("e",)),
)
_MARKS = {
    "'s": "POSS", ".": "STOP", "!": "STOP", "?": "ASK", ",": "COMMA", ";": "COMMA", ":": "COLON", "\n": "LINE",
    "-": "DASH", '"': "QUOTE", "'": "QUOTE", "(": "OPEN", ")": "CLOSE",
}  # fmt: skip
CLASSES = (
    *_CLASSES,
    *(name for name, _ in _SUFFIXES),
    *("LETTER", "SHORT", "WORD", "NUMBER", "SYMBOL"),
    *dict.fromkeys(_MARKS.values()),
)
"""The classes' names, in the order of the table's rows: words by list, then by suffix, by length, numbers and marks."""

LEVELS, ZERO_LEVEL = string.ascii_letters, 24
"""The letters that stand for a pair's weight in eighths, and the place of the one that stands for 0."""

STEM = 5
"""So many letters of a word are its stem."""

_KNOWN = {word: name for name, words in _CLASSES.items() for word in words.split()}
_INDEX = {name: index for index, name in enumerate(CLASSES)}
_WEIGHTS = {
    (first, second): (LEVELS.index(letter) - ZERO_LEVEL) / 8
    for first, row in enumerate(PAIR_WEIGHTS)
    for second, letter in enumerate(row)
}
_STEMS = frozenset(COMMON_STEMS.split())
_PAIRS = frozenset(
    first + second for first, letters in zip(string.ascii_lowercase, LETTER_PAIRS, strict=True) for second in letters
)
_LETTERS = re.compile(r"[a-z]{2,40}")
_TOKEN = re.compile(r"[a-z]{1,40}|'s\b|[^\W\d_]{1,40}|\d[\d.,]{0,20}|[^\w ]|_")


@lru_cache(maxsize=1 << 15)
def _classify(token: str) -> int:
    if name := _KNOWN.get(token) or _MARKS.get(token):
        return _INDEX[name]
    if not token.isalpha():
        return _INDEX["NUMBER" if token[0].isdigit() else "SYMBOL"]
    if len(token) <= 3:
        return _INDEX["LETTER" if len(token) == 1 else "SHORT"]
    return _INDEX[next((name for name, endings in _SUFFIXES if token.endswith(endings)), "WORD")]


def word_classes(text: str) -> list[int]:
    """The classes of a plain text's words, numbers and marks, as indices into `CLASSES`."""
    return list(map(_classify, _TOKEN.findall(text)))


def order_score(text: str) -> tuple[float, int]:
    """How much a plain text's order of words speaks for running English, a pair of neighbors on average, and the pairs.

    Above 0 for running text, below for words that were drawn or shuffled; a few words tell little.
    """
    weights = list(map(_WEIGHTS.__getitem__, pairwise(word_classes(text))))
    return sum(weights) / max(1, len(weights)), len(weights)


def is_class_word(word: str) -> bool:
    """Whether a plain word is one of those that the classes list: function words and the commonest verbs and nouns."""
    return word in _KNOWN


def is_common(word: str) -> bool:
    """Whether a plain word is a common English one."""
    return word in _KNOWN or (len(word) > 3 and word[:STEM] in _STEMS)


def share_of_letter_pairs(text: str) -> float:
    """The share of neighboring letters in a plain text that are neighbors in English words; 1 where there are few."""
    pairs = [word[at : at + 2] for word in _LETTERS.findall(text[:400]) for at in range(len(word) - 1)]
    return sum(map(_PAIRS.__contains__, pairs)) / len(pairs) if len(pairs) >= 10 else 1.0
