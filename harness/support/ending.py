"""How a command ends: its exit code, one line of what went wrong, and standard streams that outlast their readers.

Exit code 1 is a verdict (`harness gate`: fail). Nothing that goes wrong may end with it, nor with 0.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from harness.support.console import is_verbose, safe_line
from harness.support.errors import HarnessError
from harness.support.redaction import redact_text

if TYPE_CHECKING:
    from types import FrameType

ERROR_CODE = 2
INTERRUPTED_CODE = 130
_INTERRUPTED_LINE = "harness: stopped; the same command goes on from here"


def end_process(work: Callable[[], int]) -> NoReturn:
    """Does the work and ends the process with the exit code that it returns.

    Where it raises, one line on standard error says why, and the code is 2, or 130 after Ctrl-C; 2 also where
    standard output could not be written. A reader who leaves early (`| head`) changes nothing.
    """
    output = _replace_stream("stdout", 1)
    _replace_stream("stderr", 2)
    interrupt = _catch_interrupt()
    try:
        code = work()
        sys.stdout.flush()
    except BaseException as error:
        code = _tell_error(error, interrupt)
    if output and output.failure and code != INTERRUPTED_CODE:
        _print_error(f"standard output cannot be written ({output.failure.strerror})")
        code = ERROR_CODE
    if interrupt.seen:
        _leave_now(code)
    sys.exit(code)


# Standard streams


class _LastingFile(io.FileIO):
    """A standard stream's file that never ends the work: it keeps the first failure, and drops what cannot be written.

    That the reader of a pipe is gone is no failure.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int | None:  # type: ignore[override]  # a file of bytes takes bytes
        try:
            return super().write(data)
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.failure = self.failure or error
            return len(data)


def _replace_stream(name: str, number: int) -> _LastingFile | None:
    """Puts a lasting stream, which prints any text in any encoding, in place of one that this process began with."""
    stream = getattr(sys, name)
    if stream is not getattr(sys, f"__{name}__"):
        return None  # somebody's own, as in a test
    if stream is None:  # closed: a file opened later would get its number, and what is printed
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    file = _LastingFile(number, "w", closefd=False)
    if stream is None:
        file.failure = OSError(errno.EBADF, "it is closed")
    text = io.TextIOWrapper(
        io.BufferedWriter(file),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="backslashreplace",
        line_buffering=getattr(stream, "line_buffering", False),
        write_through=getattr(stream, "write_through", False),
    )
    setattr(sys, name, text)
    setattr(sys, f"__{name}__", text)
    return file


# Ctrl-C


class _Interrupt:
    """What Ctrl-C does: the first one ends the work, a second one the process, whatever it is doing."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        if self.seen:
            os.write(2, f"{_INTERRUPTED_LINE}\n".encode())
            os._exit(INTERRUPTED_CODE)
        self.seen = True
        raise KeyboardInterrupt

    def silence_once_seen(self, hook: Callable[..., object]) -> Callable[..., None]:
        """A hook that shows tracebacks, without those that the interruption itself makes."""

        def show(*given: object) -> None:
            if not self.seen:
                hook(*given)

        return show


def _catch_interrupt() -> _Interrupt:
    """Lets Ctrl-C end the work without a traceback from wherever it strikes; where it is ignored, it stays so."""
    interrupt = _Interrupt()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
        sys.excepthook = interrupt.silence_once_seen(sys.excepthook)
        sys.unraisablehook = interrupt.silence_once_seen(sys.unraisablehook)
        threading.excepthook = interrupt.silence_once_seen(threading.excepthook)
    return interrupt


def _leave_now(code: int) -> NoReturn:
    """Ends the process, what is to be closed closed, without waiting for threads or taking libraries apart.

    Of a library that was struck while it was loading, that can end in a crash.
    """
    with suppress(BaseException):
        atexit._run_exitfuncs()
        sys.stdout.flush()
    os._exit(code)


# What is said


def _tell_error(error: BaseException, interrupt: _Interrupt) -> int:
    """Prints one line and returns the exit code."""
    if interrupt.seen or isinstance(error, KeyboardInterrupt):  # libraries turn one into errors of their own
        print(_INTERRUPTED_LINE, file=sys.stderr)
        return INTERRUPTED_CODE
    if is_verbose():
        _print_traceback(error)
    if isinstance(error, HarnessError):
        _print_error(str(error))
    elif isinstance(error, MemoryError):
        _print_error("the memory ran out. Use a machine with more, or ask for less at a time.")
    else:
        _print_error(_defect_text(error))
    return ERROR_CODE


def _print_error(told: str) -> None:
    print(f"harness: {safe_line(told)}", file=sys.stderr)


def _print_traceback(error: BaseException) -> None:
    """How it came to the error, line by line: what a library or a model says in it may hold secrets and controls."""
    for line in redact_text("".join(traceback.format_exception(error))).splitlines():
        print(f"{' ' * (len(line) - len(line.lstrip()))}{safe_line(line)}", file=sys.stderr)


def _defect_text(error: BaseException) -> str:
    """An error that nobody foresaw in a line, its traceback in a file beside."""
    told = "".join(traceback.format_exception_only(error))
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"a defect of harness, please report it: {safe_line(told, 300)}{place}; {_keep_traceback(error)}"


def _keep_traceback(error: BaseException) -> str:
    """Writes it to a temporary file, without the secrets that a library's error may hold; says where."""
    text = redact_text("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", prefix="harness-defect-", suffix=".txt", delete=False
        ) as file:
            file.write(text)
    except OSError as failure:
        return f"its traceback could not be kept ({failure.strerror})"
    return f"its traceback is in {file.name}"
