"""The one error a command may end with: what happened, where, and how to mend it."""

from __future__ import annotations

from harness.support.redaction import redact_text


class HarnessError(Exception):
    """Bad usage or bad input, told to a person in one line without any secret; the command exits with 2.

    Args:
        cause: what is wrong, as a clause ("no such file").
        place: the file, key or row it was found in.
        hint: what to do about it, as a sentence.
    """

    def __init__(self, cause: str, *, place: str = "", hint: str = "") -> None:
        self.cause, self.place, self.hint = cause, place, hint
        super().__init__(cause)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        hint = f". {self.hint}" if self.hint else ""
        return redact_text(" ".join(f"{where}{self.cause.rstrip('.')}{hint}".split()))
