"""Secrets blotted out of what is shown or kept: keys and passwords of the environment, credentials in addresses.

Every error, note and printed text goes through `redact_text` (`errors` and `console` beside this file), as do the
settings that a run keeps; what models wrote and what people's tables hold is data, and is kept as it is.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote

REDACTED = "***"
SHORTEST_SECRET = 6
"""A value shorter than this is no secret worth the name, and blotting it would spoil ordinary words."""

_WORDS = "KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|COOKIE"
"""What a name of a secret ends in, whatever stands before it."""
_SHORT_WORDS = "PAT|PASS|PWD|PW|AUTH|CRED|CREDS|DSN|JWT|BEARER|SIG|SAS"
"""The same as words of their own: COMPAT and BYPASS name no secrets, PWD alone is the working directory."""
_SECRET = re.compile(
    rf"(?:{_WORDS})S?_?\d*$|(?:^(?!PWD$)|[_.-])(?:{_SHORT_WORDS})_?\d*$|^AWS_(?!.*(?:REGION|PROFILE|OUTPUT)$)",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=:/)(/?)([^\s/@'\"]*:(?!\d+/)[^\s'\"]*|[^\s/?#@:'\"]+)@")
"""`user:password` or a token in front of an address's host; a port is none, and a path has made one slash of two."""
_QUERY = re.compile(
    rf"([?&;](?:[\w.-]*(?:{_WORDS}|SIGNATURE)[\w.-]*|(?:[\w.-]*[_.-])?(?:{_SHORT_WORDS}))=)[^&\s'\"]+", re.IGNORECASE
)
_HEADER = re.compile(r"(authorization\W{1,6}(?:bearer|basic)\s+)[^\s'\",]+", re.IGNORECASE)


def redact_text(text: str) -> str:
    """The text with every secret in it replaced by `***`."""
    for secret in _environment_secrets(tuple(os.environb.items())):
        text = text.replace(secret, REDACTED)
    if "uthorization" in text or "UTHORIZATION" in text:
        text = _HEADER.sub(rf"\g<1>{REDACTED}", text)
    if ":/" not in text:
        return text
    return _QUERY.sub(rf"\g<1>{REDACTED}", _USER.sub(rf"\g<1>{REDACTED}@", text))


def redact_json(value: Any) -> Any:
    """A JSON value with every secret in its texts replaced."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return {name: redact_json(inner) for name, inner in value.items()}
    return [redact_json(inner) for inner in value] if isinstance(value, list | tuple) else value


@lru_cache(maxsize=1)
def _environment_secrets(environment: tuple[tuple[bytes, bytes], ...]) -> list[str]:
    """The environment's secrets, also as they stand in an address; longest first."""
    decoded = ((os.fsdecode(name), os.fsdecode(value)) for name, value in environment)
    found = {
        form
        for name, value in decoded
        for secret in _variable_secrets(name, value)
        for form in (secret, quote(secret, safe=""), quote(secret), unquote(secret))
    }
    return sorted((secret for secret in found if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)


def _variable_secrets(name: str, value: str) -> Iterator[str]:
    if _SECRET.search(name):
        yield value.strip()
    for _, user in _USER.findall(value):
        yield user.partition(":")[2] or user


def redact_logs() -> None:
    """From here on, no library's log message or traceback in this process holds a secret."""
    make = logging.getLogRecordFactory()
    if getattr(make, "blots", False):
        return

    def redacted_record(*given: Any, **named: Any) -> logging.LogRecord:
        made = make(*given, **named)
        made.msg, made.args = redact_text(made.getMessage()), None
        if made.exc_info and made.exc_info[0]:
            made.exc_text = redact_text("".join(traceback.format_exception(*made.exc_info))).rstrip()
        return made

    redacted_record.blots = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacted_record)
