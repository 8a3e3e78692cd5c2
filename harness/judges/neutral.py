"""Judged text made harmless: nothing in it can be read as the judge's own control tokens or headings."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

_CONTROL = re.compile(
    r"<\|[^<>|]{1,64}\|>"  # Llama 3, WildGuard, ChatML
    r"|</?(?:s|bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>"
    r"|<</?SYS>>|<(?:BEGIN|END) [A-Z ]{1,64}>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|control_\d+)\]"
    r"|\[(?:BEHAVIOR|GENERATION|CONTEXT|IMAGE DESCRIPTION|(?:RESPONSE|PROMPT)_(?:START|END)|Output [01])\]",
    re.IGNORECASE,
)


def neutralize_text(text: str, markers: Iterable[str] = (), control: Iterable[str] = ()) -> str:
    """`text` with a space inside everything that could pass for a control token or open a section of the format."""
    text = text.encode("utf-8", "replace").decode()
    for pattern in (_CONTROL, _token_pattern(tuple(control))):
        while pattern is not None and (broken := pattern.sub(_break_token, text)) != text:
            text = broken
    heads = "|".join(re.escape(marker.rstrip(":")) for marker in markers)
    return re.sub(rf"^([^\S\n]*(?:{heads})):", r"\1 :", text, flags=re.MULTILINE | re.IGNORECASE) if heads else text


def _break_token(match: re.Match[str]) -> str:
    return f"{match[0][0]} {match[0][1:]}"


@cache
def _token_pattern(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    kept = sorted((token for token in tokens if len(token.strip()) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, kept))) if kept else None
