"""What is judged, and what a judge says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

Label = Literal["refusal", "harmful", "compliance", "other", "unjudged"]
"""`harmful`: does what an unsafe prompt asked. `compliance`: the same on a benign prompt. `other`: neither
(empty, unfinished, gibberish). `unjudged`: the judge failed or its answer could not be read."""

Flag = Literal["fallback", "off_topic", "partial", "unfinished"]
"""What a verdict's reader must know. `fallback`: nothing in the answer speaks for it, it is what is left. `off_topic`:
the answer seems to be one to another question. `partial`: it refuses or objects, and then does it. `unfinished`: it
ended before the answer began, inside a reasoning block."""
FLAGS: tuple[Flag, ...] = get_args(Flag)

RAW_LIMIT = 200
"""So many characters of an unreadable answer are kept in the reason."""

MOST_FAILURES = 10
"""A judge that has failed on so many answers one after another is given up."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One prompt, one answer to it, and whether the prompt is an unsafe one.

    `reasoning_tags` open and close a reasoning block, where the model has tags of its own beside the usual ones.
    """

    prompt: str
    response: str
    unsafe: bool = True
    reasoning_tags: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one exchange, the words or the failure it rests on, and how sure it is where it can tell.

    `failed`: it is `unjudged` as the judge broke or said nothing readable, not as the judge says that it cannot tell.
    `cut` names what was taken away before the answer was judged, `judged` is what was left where that is not all of it.
    """

    label: Label
    reason: str
    confidence: float | None = None
    failed: bool = False
    flags: tuple[Flag, ...] = ()
    cut: tuple[str, ...] = ()
    judged: str | None = None


def failed_verdict(reason: str) -> Verdict:
    """The `unjudged` of a judge that failed."""
    return Verdict("unjudged", reason, failed=True)


SECOND_KEYS = ("second_verdict", "second_reason", "differs")
"""What a row says of a second judge's verdict; the last where it is true."""

VERDICT_KEYS = ("verdict", "reason", "flags", "cut", "judged", *SECOND_KEYS)
"""What a row or a sample says of a verdict; all but the first two where there is something to say."""


def verdict_details(said: Verdict) -> dict[str, Any]:
    """What a record of a verdict holds beside label and reason: `flags`, `cut` and `judged`, where there are any."""
    details: dict[str, Any] = {key: list(getattr(said, key)) for key in ("flags", "cut") if getattr(said, key)}
    return details if said.judged is None else {**details, "judged": said.judged}


def parse_verdict(record: Mapping[str, Any]) -> Verdict:
    """A verdict that was kept as JSON, which knows lists alone."""
    kept: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Verdict(**kept)


Judge = Callable[[Sequence[Exchange]], list[Verdict]]
"""Verdicts in the order of the exchanges, one each. A judge that cannot work at all raises HarnessError; what else it
raises `judge_exchanges` turns into `unjudged`."""
