"""The words that a cue of the lexical judge can begin with: `python tests/helpers/first_words.py` writes them anew.

Derived from the patterns by partial matching (the `regex` library), letter by letter, so that no pattern's start can be
missed. The judge looks a word up before it tries thirty patterns on it.
"""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import regex

from harness.judges.lexical.cues import CUE_PATTERNS

PLACE = Path(__file__).parents[2] / "harness" / "judges" / "lexical" / "first_words.py"
_BEFORE = ("", "and ")
"""What stands before a cue: nothing, or the one word that a pattern looks back for."""
_AFTER = " ,.;:!?'\"-\n0("
_COMMON = (
    "a", "an", "any", "content", "do", "for", "have", "help", "human", "if", "information", "it", "message", "not",
    "of", "one", "people", "please", "provide", "that", "the", "there", "what", "you",
)  # fmt: skip
"""Words that texts are full of and few cues begin with; each of them goes on with certain words alone."""
_HEAD = '''"""Words with which cues can begin, whole and by their first letters; by `tests/helpers/first_words.py`."""

from __future__ import annotations

'''


def derive_first_words() -> tuple[set[str], set[str]]:
    """The words, and the beginnings that any letters may follow."""
    patterns = [regex.compile(pattern) for pattern in CUE_PATTERNS.values()]
    words, prefixes = set[str](), set[str]()
    for found, kind in _walk("", patterns):
        (words if kind == "word" else prefixes).add(found)
    return words, prefixes


def derive_second_words() -> dict[str, set[str]]:
    """What may follow each of `_COMMON` in a cue, as `derive_first_words` gives it; beginnings end in an asterisk."""
    patterns = [regex.compile(pattern) for pattern in CUE_PATTERNS.values()]
    found = {word: list(_walk(f"{word} ", patterns)) for word in _COMMON}
    return {
        word: {f"{text[len(word) + 1 :]}{'*' * (kind == 'prefix')}" for text, kind in pairs if text != f"{word} "}
        for word, pairs in found.items()
    }


def _walk(start: str, patterns: list[regex.Pattern[str]]) -> Iterator[tuple[str, str]]:
    live = [pattern for pattern in patterns if _may_match(pattern, start)]
    if not live:
        return
    if start and (_is_done(start, live) or all(_may_any(live, start + letter) for letter in string.ascii_lowercase)):
        yield start, "prefix"
        return
    if start and any(_may_any(live, start + mark) for mark in _AFTER):
        yield start, "word"
    for letter in string.ascii_lowercase:
        yield from _walk(start + letter, live)


def _may_any(patterns: list[regex.Pattern[str]], text: str) -> bool:
    return any(_may_match(pattern, text) for pattern in patterns)


def _may_match(pattern: regex.Pattern[str], text: str) -> bool:
    """Whether some text that begins so could match."""
    return any(pattern.match(before + text, len(before), partial=True) for before in _BEFORE)


def _is_done(start: str, patterns: list[regex.Pattern[str]]) -> bool:
    """Whether a pattern matches within these letters, whatever follows."""
    follows = [start + "x", start + "e"]
    return any(
        all(
            (found := pattern.match(before + text, len(before))) and found.end() <= len(before + start)
            for text in follows
        )
        for pattern in patterns
        for before in _BEFORE
    )


def render_first_words() -> str:
    """The module's text."""
    words, prefixes = derive_first_words()
    seconds = "\n".join(f"{word}: {' '.join(sorted(found))}" for word, found in derive_second_words().items())
    tables = {
        "FIRST_WORDS": _wrapped(sorted(words)),
        "FIRST_LETTERS": _wrapped(sorted(prefixes)),
        "SECOND_WORDS": seconds,
    }
    return _HEAD + "\n".join(f'{name} = """\n{table}\n"""' for name, table in tables.items()) + "\n"


def _wrapped(words: list[str]) -> str:
    lines, line = [], ""
    for word in words:
        if len(line) + len(word) > 118:
            lines.append(line)
            line = ""
        line += f" {word}" if line else word
    return "\n".join([*lines, line])


if __name__ == "__main__":
    PLACE.write_text(render_first_words(), encoding="utf-8")
