"""A conversation as a request and what came with it: text alone is read, and what else there was is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.support.artifacts import json_fingerprint

SEVERAL_TURNS = "answers end a conversation of several turns: all that the user said counts as the request"
ATTACHED = "requests hold images, audio or files: the text alone was read"
CALLED_TOOLS = "answers call tools: their text alone was judged"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said: its role, its text, and what came with it that is no text."""

    role: str
    text: str
    attached: Sequence[object] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What a model was asked, what else it was given, and what of it could not be taken over, in words."""

    prompt: str
    context: str
    left: Counter[str]


def read_request(turns: Sequence[Turn]) -> Request:
    """The request that a conversation puts; what is attached stays in it as a hash, so that it is another one.

    What the model itself said in between is no part of it. Raises ValueError where the user said nothing.
    """
    said = [turn for turn in turns if turn.role == "user"]
    if not any(turn.text.strip() or turn.attached for turn in said):
        raise ValueError("the user says nothing")
    left: Counter[str] = Counter()
    left[SEVERAL_TURNS] += len(said) > 1
    left[ATTACHED] += any(turn.attached for turn in said)
    prompt = "\n\n".join(_told(turn) for turn in said)
    return Request(prompt, "\n\n".join(_told(turn) for turn in turns if turn.role in {"system", "developer"}), +left)


def _told(turn: Turn) -> str:
    return "\n".join([turn.text, *(f"[attached {json_fingerprint(part)}]" for part in turn.attached)])


def split_content(content: object) -> tuple[str, list[object]]:
    """The text of a message's content, as chat APIs write it, and its other parts."""
    if content is None:
        return "", []
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        return json.dumps(content, ensure_ascii=False, sort_keys=True, default=str), []
    texts, attached = [], []
    for part in content:
        text = part if isinstance(part, str) else part.get("text") if isinstance(part, dict) else None
        if isinstance(text, str):
            texts.append(text)
        else:
            attached.append(part)
    return "\n".join(texts), attached
