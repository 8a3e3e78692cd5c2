"""What is judged, and what a judge says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Label = Literal["refusal", "harmful", "compliance", "other", "unjudged"]
"""`harmful`: does what an unsafe prompt asked. `compliance`: the same on a benign prompt. `other`: neither
(empty, gibberish, off topic). `unjudged`: the judge failed or its answer could not be read."""

RAW_LIMIT = 200
"""So many characters of an unreadable answer are kept in the reason."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt, one answer to it, and whether the prompt is an unsafe one."""

    prompt: str
    response: str
    unsafe: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one exchange, the words or the failure it rests on, and how sure it is where it can tell."""

    label: Label
    reason: str
    confidence: float | None = None


Judge = Callable[[Sequence[Exchange]], list[Verdict]]
"""Verdicts in the order of the exchanges, one each; a judge may raise, `judge_exchanges` turns that into `unjudged`."""
