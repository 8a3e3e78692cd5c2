"""What of a model's text is its answer: no reasoning, wrappers, remnants of a chat template or made-up turns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NormalizedAnswer:
    """The answer in a model's text, the kinds of things that were cut around it, and whether it never began."""

    text: str
    cut: tuple[str, ...] = ()
    unfinished: bool = False


def normalize_answer(response: str, reasoning_tags: tuple[str, str] | None = None) -> NormalizedAnswer:
    """The answer in what a model wrote.

    Args:
        response: all of it, as generated.
        reasoning_tags: what opens and closes a reasoning block, beside the usual tags.
    """
    del reasoning_tags
    return NormalizedAnswer(response.strip())
