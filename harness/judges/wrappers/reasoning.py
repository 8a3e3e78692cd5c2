"""Reasoning blocks in a model's text: those of vLLM's reasoning parsers (`vllm/reasoning`) and of OpenAI's Harmony."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from harness.judges.wrappers.turns import find_next_turn

ReasoningTags = tuple[str, str]
"""What opens and what closes a reasoning block."""

_THINK = r"(?:\w{1,12}[:_])?(?:think(?:ing)?|thoughts?)(?:[:_]\w{1,12})?"
_CHANNEL = r"(?:<\|start\|>assistant)?<\|channel\|>"
_FAMILIES = {
    "think": (
        rf"<(?i:{_THINK})>|\[THINK\]|◁think▷|<\|START_THINKING\|>|<\|begin_of_thought\|>|<\|inner_prefix\|>"
        r"|<\|channel>thought",
        rf"</(?i:{_THINK})>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<\|end_of_thought\|>|<\|inner_suffix\|>|<channel\|>",
    ),
    "reasoning": (r"<(?i:reasoning)>", r"</(?i:reasoning)>"),
    "scratchpad": (r"<(?i:scratchpad)>", r"</(?i:scratchpad)>"),
    "reflection": (r"<(?i:reflection)>", r"</(?i:reflection)>"),
    # The names alone are left where special tokens were dropped: "analysisThe user asks ...assistantfinalNo."
    "harmony": (
        rf"{_CHANNEL}\s?(?!final)\w{{1,20}}[^<\n]{{0,80}}(?:<\|constrain\|>\s?\w{{0,20}})?<\|message\|>"
        r"|\A(?:analysis|commentary)(?=[A-Z])",
        rf"{_CHANNEL}\s?final\s?(?:<\|constrain\|>\s?\w{{0,20}})?<\|message\|>|assistantfinal",
    ),
    "granite": (r"\AHere(?:'s| is) my thought process:", r"(?!)"),
}
"""What opens and what closes a block; a closing tag counts without an opening one too, as templates write that one."""
_ENDS = {"harmony": r"<\|(?:end|return|call)\|>", "granite": r"Here(?:'s| is) my response:"}
"""What ends a block of these, and says nothing outside of one."""

_MENTIONED_BEFORE = re.compile(
    r"(?:(?<!`)`|\b(?:the|an?|tags?|tokens?|with|using|uses?|by|and|or|like|inside|in|called|between|of) )\Z",
    re.IGNORECASE,
)
_MENTIONED_AFTER = re.compile(r"`(?!`)| (?:tags?|tokens?|elements?|markers?|blocks?|sections?)\b", re.IGNORECASE)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "(": ")"}
_STARTS_AFRESH = "\n.!?:…)]>}*\"”’'▷"
_LONGEST_TAG = 160
_FENCE = re.compile(r"(?:\A|(?<=\n))[ \t]{0,3}(?:```|~~~)")


@dataclass(frozen=True, slots=True)
class _Tag:
    """A tag where it stands; `side` is `o` where it opens a block, `c` where it closes one, `e` where it may end it."""

    start: int
    end: int
    side: str
    family: str


@lru_cache(maxsize=64)
def _tag_pattern(tags: ReasoningTags | None) -> re.Pattern[str]:
    families = _with_own_tags(tags) if tags else _FAMILIES
    pairs = [
        f"(?P<{side}_{family}>{pattern})"
        for family, pair in families.items()
        for side, pattern in zip("oc", pair, strict=True)
    ]
    ends = [f"(?P<e_{family}>{pattern})" for family, pattern in _ENDS.items()]
    first = re.escape("".join(tag[0] for tag in tags or ()))
    return re.compile(rf"(?=[<\[◁acH{first}])(?:{'|'.join([*pairs, *ends])})")


def _with_own_tags(tags: ReasoningTags) -> dict[str, tuple[str, str]]:
    """The families with a model's own pair, which joins the family that it shares a tag with."""
    own = re.escape(tags[0]), re.escape(tags[1])
    for family, known in _FAMILIES.items():
        if any(re.fullmatch(pattern, tag) for pattern, tag in zip(known, tags, strict=True)):
            return _FAMILIES | {family: (f"{own[0]}|{known[0]}", f"{own[1]}|{known[1]}")}
    return {"own": own, **_FAMILIES}


def opened_reasoning(prompt: str) -> str:
    """The tag that opens a reasoning block at the end of a prompt, as some chat templates write it; empty without."""
    tail = prompt.rstrip()[-_LONGEST_TAG:]
    tags = (found for found in _tag_pattern(None).finditer(tail) if (found.lastgroup or "").startswith("o_"))
    return next((found[0] for found in tags if found.end() == len(tail)), "")


def cut_reasoning(text: str, tags: ReasoningTags | None) -> str | None:
    """A text without its reasoning blocks; None where there is none. One that never closes goes on to the end.

    What stands before a block is kept. A closing tag without an opening one makes all before it reasoning.
    """
    reading = _Reading(text)
    for found in _tag_pattern(tags).finditer(text):
        side, _, family = (found.lastgroup or "").partition("_")
        tag = _Tag(found.start(), found.end(), side, family)
        if (side == "e" and reading.inside != family) or _is_mention(text, tag, answered=reading.closed > 0):
            continue
        if not reading.take_tag(tag):
            break
    return reading.finished() if reading.found else None


def _is_mention(text: str, tag: _Tag, *, answered: bool) -> bool:
    """Whether a tag is spoken of rather than used: in inline code, in quotation marks, in the middle of a sentence.

    One glued to the end of a word is used where a block came before: answers without a last mark are followed so.
    """
    start, end = tag.start, tag.end
    before, after = text[max(0, start - 24) : start], text[end : end + 12]
    if _MENTIONED_BEFORE.search(before) or _MENTIONED_AFTER.match(after):
        return True
    if _QUOTES.get(before[-1:], "\0") == after[:1]:
        return True
    last = before.rstrip(" \t")[-1:]
    glued = answered and before[-1:].isalnum()
    return tag.side == "o" and last != "" and last not in _STARTS_AFRESH and not glued


@dataclass(slots=True)
class _Reading:
    """What was read of a text up to a tag: the parts kept so far, the block that is open, and where the rest begins."""

    text: str
    kept: list[str] = field(default_factory=list)
    inside: str = ""
    rest: int = 0
    opened: int = 0
    closed: int = 0
    before_stray: str = ""
    fences: Sequence[int] | None = None

    @property
    def found(self) -> bool:
        """Whether there was any block."""
        return bool(self.opened or self.closed)

    def take_tag(self, tag: _Tag) -> bool:
        """Reads on to a tag; False where the answer ends before it."""
        if self.inside:
            if tag.side == "o":
                self.opened += tag.family == self.inside
            elif tag.family == self.inside:
                self.inside, self.rest = "", tag.end
                self.closed += 1
            return True
        if self._in_fence(tag.start):
            return True
        if tag.side == "o":
            self.kept.append(self.text[self.rest : tag.start])
            self.inside, self.rest = tag.family, tag.end
            self.opened += 1
            return True
        return self._close_unopened(tag)

    def _close_unopened(self, tag: _Tag) -> bool:
        so_far = self._join(self.text[self.rest : tag.start])
        if self.closed:
            if (turn := find_next_turn(so_far)) is not None:
                self.kept, self.rest = [so_far[:turn]], len(self.text)
                return False
            # A second closing tag is a stray one where nothing follows it: then this was the answer.
            if so_far and self.closed >= self.opened:
                self.before_stray = so_far
        self.kept, self.rest = [], tag.end
        self.closed += 1
        return True

    def _in_fence(self, position: int) -> bool:
        """Whether a code fence opens before and closes after; a last one without an end, in reasoning, is none."""
        if self.fences is None:
            self.fences = [found.start() for found in _FENCE.finditer(self.text)]
        before = bisect_left(self.fences, position)
        return before % 2 == 1 and len(self.fences) % 2 == 0

    def _join(self, last: str) -> str:
        return "\n\n".join(part for each in (*self.kept, last) if (part := each.strip()))

    def finished(self) -> str:
        """What is left at the text's end."""
        return self._join("" if self.inside else self.text[self.rest :]) or self.before_stray
