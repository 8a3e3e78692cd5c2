"""Errors of ours under the `lm_eval` command, which would print a traceback: one line and exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

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
