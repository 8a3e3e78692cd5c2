"""Dialogues that stand as one text in published preference data, read as messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_STEER_TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_ROLES = {"Human": "user", "User": "user", "Assistant": "assistant"}

Messages = list[dict[str, str]]


def hold_dialogues(row: Mapping[str, Any]) -> bool:
    """Whether a row without a prompt has two whole dialogues for answers, as in Anthropic's hh-rlhf."""
    answers = (row.get("chosen"), row.get("rejected"))
    return row.get("prompt") is None and all(isinstance(text, str) and _is_dialogue(text) for text in answers)


def _is_dialogue(text: str) -> bool:
    return text.startswith("\n\nHuman:") and "\n\nAssistant:" in text


def split_dialogues(chosen: str, rejected: str) -> dict[str, Messages]:
    """The turns that two of hh-rlhf's dialogues begin with as `prompt`, the others as `chosen` and `rejected`.

    These are the last answers alone, but where the dialogues part before; they always begin with the assistant's turn,
    where the user's words are the first to differ with the one before. Spaces around a turn are no part of it.
    """
    sides = [_read_turns(_HH_TURN, text) for text in (chosen, rejected)]
    most = min(map(len, sides)) - 1
    shared = next((place for place in range(most) if sides[0][place] != sides[1][place]), most)
    if shared and sides[0][shared - 1]["role"] == "assistant":
        shared -= 1
    return {"prompt": sides[0][:shared], "chosen": sides[0][shared:], "rejected": sides[1][shared:]}


def read_steer_prompt(text: object) -> object:
    """HelpSteer2's prompt of several turns, which its card says how it marks, as messages; anything else as it is."""
    if not isinstance(text, str) or not _STEER_TURN.search(text):
        return text
    return _read_turns(_STEER_TURN, f"<extra_id_1>User\n{text}")


def _read_turns(mark: re.Pattern[str], text: str) -> Messages:
    _, *parts = mark.split(text)
    return [{"role": _ROLES[name], "content": said.strip()} for name, said in zip(parts[::2], parts[1::2], strict=True)]
