"""The one error a command may end with: what happened, where, and how to mend it."""

from __future__ import annotations

from harness.blotting import blotted


class HarnessError(Exception):
    """Bad usage or bad input, told to a person in one line without any secret; the command exits with 2.

    Args:
        cause: what is wrong, as a clause ("no such file").
        place: the file, key or row it was found in.
        mend: what to do about it, as a sentence.
    """

    def __init__(self, cause: str, *, place: str = "", mend: str = "") -> None:
        self.cause, self.place, self.mend = cause, place, mend
        super().__init__(cause)

    def __str__(self) -> str:
        where = f"{self.place}: " if self.place else ""
        mend = f". {self.mend}" if self.mend else ""
        return blotted(" ".join(f"{where}{self.cause.rstrip('.')}{mend}".split()))
