"""What of a model's text is its answer: no reasoning, wrappers, remnants of a chat template or made-up turns."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from harness.judges.wrappers.json_text import begins_as_json, read_json_answer
from harness.judges.wrappers.reasoning import ReasoningTags as ReasoningTags
from harness.judges.wrappers.reasoning import cut_reasoning
from harness.judges.wrappers.turns import (
    cut_template_start,
    find_next_turn,
    may_hold_turns,
    without_special_tokens,
)
from harness.support.errors import HarnessError

_FENCE_START = re.compile(r"(?:```|~~~)(?:[\w+.#-]{0,20}[ \t]{0,10}(?:\n|\Z))?")
_ANSWER_TAG = re.compile(
    r"</?(?:answer|response|final|final[_ ]answer|final[_ ]response|output|solution)>"
    r"|<\|(?:(?:START|END)_RESPONSE|(?:begin|end)_of_solution)\|>",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"[*_]{0,3}(?:(?:(?:sure(?: thing)?|certainly|of course|okay|ok|absolutely|yes|alright)[,.!]{0,3} )?"
    r"(?:here(?:'s|’s| is| are)|below is|this is) (?:the|my|your|an|a) "
    r"(?:requested |final |full |complete )?(?:answer|response|reply|completion)"
    r"(?: to (?:the|your|this) (?:question|request|prompt|query))?"
    r"|(?:my |the )?(?:final )?(?:answer|response|reply))[*_]{0,3} ?:[*_]{0,3}\s*+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class NormalizedAnswer:
    """The answer in a model's text, the kinds of things that were cut around it, and whether it never began."""

    text: str
    cut: tuple[str, ...] = ()
    unfinished: bool = False


def normalize_answer(response: str, reasoning_tags: ReasoningTags | None = None) -> NormalizedAnswer:
    """The answer in what a model wrote.

    Args:
        response: all of it, as generated.
        reasoning_tags: what opens and closes a reasoning block, beside the usual tags.

    `unfinished`: the text ended inside a reasoning block or right behind one, and no answer stands before it.
    """
    text = response.strip()
    cut, work = dict[str, None](), max(_LEAST_WORK, _MOST_ROUNDS * len(text))
    while work > 0 and _may_need_cuts(text, reasoning_tags) and (found := _cut_once(text, reasoning_tags)):
        work -= len(text)
        text = found.text
        cut |= dict.fromkeys(found.cut)
    if "reasoning" in cut and (not text or _LEAD_IN.fullmatch(text)):
        return NormalizedAnswer("", tuple(cut), unfinished=True)
    return NormalizedAnswer(text, tuple(cut))


_LEAST_WORK, _MOST_ROUNDS = 1_000_000, 4
"""So many characters are looked at in all, or a longer text so often: what is wrapped more deeply stays as it is."""


def parse_reasoning_tags(value: object, place: str) -> ReasoningTags | None:
    """The pair of tags that somebody gave; None where nothing was given.

    Raises HarnessError where it is not two different texts.
    """
    if value is None:
        return None
    pair = value if isinstance(value, list | tuple) else ()
    if len(pair) == 2 and all(isinstance(tag, str) and tag.strip() for tag in pair) and pair[0] != pair[1]:
        return pair[0], pair[1]
    hint = 'Give what opens and what closes a reasoning block, as in ["<r>", "</r>"].'
    raise HarnessError("is not two different texts", place=place, hint=hint)


def _may_need_cuts(text: str, tags: ReasoningTags | None) -> bool:
    """A quick look: most answers have nothing to cut."""
    return (
        any(mark in text for mark in ("<", "[", "{", "`", "◁", "~~~", "assistantfinal"))
        or (tags is not None and (tags[0] in text or tags[1] in text))
        or _LEAD_IN.match(text) is not None
        or text.startswith(("analysis", "commentary", "Here"))
        or may_hold_turns(text)
    )


def _says_something(text: str) -> bool:
    return any(map(str.isalnum, text))


def _cut_once(text: str, tags: ReasoningTags | None) -> NormalizedAnswer | None:
    """The text after the first kind of cut that makes it shorter."""

    def cut_blocks(given: str) -> NormalizedAnswer | None:
        left = cut_reasoning(given, tags)
        return None if left is None else _cut(left, "reasoning")

    steps: tuple[Callable[[str], NormalizedAnswer | None], ...] = (
        _unwrap_json, _unwrap_fence, cut_blocks, _cut_role, _cut_lead_in, _unwrap_tags, _cut_turn, _cut_tokens
    )  # fmt: skip
    return next((found for step in steps if (found := step(text)) and len(found.text) < len(text)), None)


def _cut(text: str, kind: str) -> NormalizedAnswer:
    return NormalizedAnswer(text.strip(), (kind,))


def _unwrap_json(text: str) -> NormalizedAnswer | None:
    if not begins_as_json(text):
        return None
    answer, reasoned = read_json_answer(text)
    return NormalizedAnswer(answer, ("json", "reasoning") if reasoned else ("json",))


def _unwrap_fence(text: str) -> NormalizedAnswer | None:
    """The content of a code fence around the whole text; one without an end counts, as answers break off."""
    start = _FENCE_START.match(text)
    if not start:
        return None
    inner = text[start.end() :].removesuffix(text[:3])
    return _cut(inner, "code fence") if text[:3] not in inner or begins_as_json(inner.lstrip()) else None


def _cut_role(text: str) -> NormalizedAnswer | None:
    left = cut_template_start(text)
    return None if left is None else _cut(left, "template")


def _cut_lead_in(text: str) -> NormalizedAnswer | None:
    found = _LEAD_IN.match(text)
    return _cut(text[found.end() :], "lead-in") if found and _says_something(text[found.end() :]) else None


def _unwrap_tags(text: str) -> NormalizedAnswer | None:
    """Without answer tags, where the text begins or ends with one."""
    if text[:1] != "<" and text[-1:] != ">":
        return None
    end = max(0, len(text) - 40)
    if not _ANSWER_TAG.match(text) and all(found.end() < len(text) for found in _ANSWER_TAG.finditer(text, end)):
        return None
    return _cut(_ANSWER_TAG.sub("\n", text), "answer tags")


def _cut_turn(text: str) -> NormalizedAnswer | None:
    turn = find_next_turn(text)
    return None if turn is None else _cut(text[:turn], "next turn")


def _cut_tokens(text: str) -> NormalizedAnswer | None:
    left = without_special_tokens(text)
    return None if left == text else _cut(left, "template")
