"""Under the `lm_eval` command: its `--metadata` checked, and errors of ours one line and exit code 2, no traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.support.console import safe_line
from harness.support.errors import HarnessError


def tell_in_one_line() -> None:
    """From here on a HarnessError that ends the `lm_eval` command is one line; no other program changes."""
    program = Path(sys.argv[0])  # .../bin/lm_eval, or .../lm_eval/__main__.py
    if not {program.stem, program.parent.name} & {"lm_eval", "lm-eval"} or sys.excepthook is not sys.__excepthook__:
        return

    def show_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, HarnessError):
            sys.__excepthook__(kind, error, trace)
            return
        print(f"refusal_displacement: {safe_line(str(error))}", file=sys.stderr)
        raise SystemExit(2)  # in an exception hook this is how the exit code is chosen

    sys.excepthook = show_error


def refuse_other_than_text(**metadata: Any) -> None:
    """Raises HarnessError where one of these keys of `--metadata` has a value that is no text."""
    for key, value in metadata.items():
        if value is not None and not isinstance(value, str):
            raise HarnessError(f"{key} is {value!r}, which is no text", place="--metadata", hint="Put it in quotes.")
