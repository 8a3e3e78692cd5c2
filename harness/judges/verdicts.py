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

MOST_FAILURES = 10
"""A judge that has failed on so many answers one after another is given up."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt, one answer to it, and whether the prompt is an unsafe one."""

    prompt: str
    response: str
    unsafe: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one exchange, the words or the failure it rests on, and how sure it is where it can tell.

    `failed`: it is `unjudged` as the judge broke or said nothing readable, not as the judge says that it cannot tell.
    """

    label: Label
    reason: str
    confidence: float | None = None
    failed: bool = False


def failed_verdict(reason: str) -> Verdict:
    """The `unjudged` of a judge that failed."""
    return Verdict("unjudged", reason, failed=True)


Judge = Callable[[Sequence[Exchange]], list[Verdict]]
"""Verdicts in the order of the exchanges, one each. A judge that cannot work at all raises HarnessError; what else it
raises `judge_exchanges` turns into `unjudged`."""
