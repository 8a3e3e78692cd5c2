"""What one token of a vocabulary stands for, as a text that can be read."""

from __future__ import annotations

import re
from functools import cache

from transformers import PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

_UNREADABLE = "\N{REPLACEMENT CHARACTER}"
_BLANK = "\N{LOWER ONE EIGHTH BLOCK}"
"""SentencePiece's blank; decoders of the Llama family drop the first one of a text."""
_BYTE_PIECE = re.compile(r"<0x[0-9A-F]{2}>")


def token_text(tokenizer: PreTrainedTokenizerBase, token: int) -> str:
    """The text of a token by itself, with the blank that it begins with.

    Bytes that are no whole character are told as SentencePiece names them, `<0xE2>`: decoded, all of them would be
    the same replacement character.
    """
    text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
    piece = str(tokenizer.convert_ids_to_tokens(token))
    if _UNREADABLE in text:
        return piece if _BYTE_PIECE.fullmatch(piece) else _byte_level_text(piece) or text
    return piece.replace(_BLANK, " ") if piece.startswith(_BLANK) else text


@cache
def _bytes_of_letters() -> dict[str, int]:
    """What each letter of a byte-level piece stands for (GPT-2's table)."""
    return {letter: byte for byte, letter in bytes_to_unicode().items()}


def _byte_level_text(piece: str) -> str | None:
    """The text of a byte-level piece; None where it is none."""
    known = _bytes_of_letters()
    if not {*piece} <= known.keys():
        return None
    text = bytes(known[letter] for letter in piece).decode("utf-8", "surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if "\udc80" <= c <= "\udcff" else c for c in text)
