"""What people see in a terminal: bars and notes on standard error, and text made safe to print."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import TYPE_CHECKING, Literal

from harness.support.redaction import redact_text

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, Task, TaskID


Verbosity = Literal["quiet", "normal", "verbose"]
_VERBOSITY = "HARNESS_VERBOSITY"
"""In the environment, as the processes that a command starts speak as it does."""
_SILENT = ContextVar("silent", default=False)
_COLLECTED: ContextVar[list[str] | None] = ContextVar("collected", default=None)
_LONGEST_SECRET = 4096
"""Characters beyond a limit that are looked at, so that no secret is cut before it is known."""
_INVISIBLE_CATEGORIES = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
_BLANK_SIGNS = {
    " ": "\N{OPEN BOX}",
    "\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}",
    "\t": "\N{RIGHTWARDS ARROW TO BAR}",
}


def safe_line(text: str, limit: int | None = None) -> str:
    """Text from a model, a file or a library as one printable line: no secrets, no control or format characters.

    Anything a terminal might act on (ANSI escapes, right-to-left overrides) becomes a space; `limit`
    shortens to that many characters, the last one an ellipsis.
    """
    head = redact_text(text if limit is None else text[: 4 * limit + _LONGEST_SECRET])
    return printable_line(head, limit)


def printable_line(text: str, limit: int | None = None) -> str:
    """Text that holds no secrets, or is kept as data, as one printable line; otherwise like `safe_line`."""
    head = text if limit is None else text[: 4 * limit]
    if not head.isprintable():
        head = "".join(" " if unicodedata.category(c) in _INVISIBLE_CATEGORIES else c for c in head)
    line = " ".join(head.split())
    return line if limit is None or len(line) <= limit else line[: limit - 1] + "…"


def show_token(text: str) -> str:
    """A token as it is shown: blanks and what cannot be seen made visible, a long row of one of them counted.

    `"\\n\\n I"` is `↵↵␣I`; of other blanks and of controls it has the code points.
    """
    counted = re.sub(r"([ \n\t])\1{3,}", lambda row: f"{row[1]}\N{MULTIPLICATION SIGN}{len(row[0])}", text)
    return "".join(_BLANK_SIGNS.get(c) or (code_point(c) if _is_blank(c) else c) for c in counted) or "(empty)"


def _is_blank(character: str) -> bool:
    return unicodedata.category(character) in {*_INVISIBLE_CATEGORIES, "Zs"}


def code_point(character: str) -> str:
    """A character that cannot be seen, by its code point."""
    return f"\N{LEFT CEILING}U+{ord(character):04X}\N{RIGHT CEILING}"


def duration_text(seconds: float) -> str:
    """A time for people, in the two largest units that say something: 8.2 s, 12 s, 4 min 5 s, 3 h 20 min, 2 d 5 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    sizes = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
    first = next(place for place, (size, _) in enumerate(sizes) if whole >= size)
    if first < len(sizes) - 1:
        whole = round(whole / sizes[first + 1][0]) * sizes[first + 1][0]
        first = next(place for place, (size, _) in enumerate(sizes) if whole >= size)
    parts = []
    for size, unit in sizes[first : first + 2]:
        count, whole = divmod(whole, size)
        parts += [f"{count} {unit}"] if count else []
    return " ".join(parts)


def smoke_text(limit: int) -> str:
    """What is said of a smoke run, wherever its results are told."""
    prompts = f"{limit:,} unsafe prompt{'' if limit == 1 else 's'}"
    return f"A smoke run, on at most {prompts}: it shows that all works, and its rates decide nothing."


def set_verbosity(verbosity: Verbosity) -> None:
    """Says how much this process, and those that it starts, tell beside results and errors."""
    os.environ[_VERBOSITY] = verbosity


def is_quiet() -> bool:
    """Whether only results and errors are told: no notes, no bars."""
    return os.environ.get(_VERBOSITY) == "quiet"


def is_verbose() -> bool:
    """Whether all is told: what libraries log, tracebacks, how long each stage took."""
    return os.environ.get(_VERBOSITY) == "verbose"


def print_note(message: str) -> None:
    """One plain line on standard error; none where the command is to be quiet."""
    if is_quiet():
        return
    collected = _COLLECTED.get()
    if collected is None:
        print(safe_line(message), file=sys.stderr, flush=True)
    else:
        collected.append(redact_text(message))


@contextmanager
def collect_notes() -> Iterator[list[str]]:
    """Keeps the block's notes instead of printing them, and shows no bars: another process will tell."""
    notes: list[str] = []
    token = _COLLECTED.set(notes)
    try:
        with hide_bars():
            yield notes
    finally:
        _COLLECTED.reset(token)


@contextmanager
def hide_bars() -> Iterator[None]:
    """No bars inside the block: another program's own bar has the terminal."""
    token = _SILENT.set(True)
    try:
        yield
    finally:
        _SILENT.reset(token)


@contextmanager
def progress_bar(description: str, total: int | None, unit: str = "") -> Iterator[Advance]:
    """A progress bar on standard error; call the yielded object with how much was done.

    Where standard error is no terminal, one line at the start and one at the end stand in for it.
    """
    from rich.console import Console

    if _SILENT.get() or is_quiet():
        yield Advance()
        return
    console, started = Console(file=sys.stderr, highlight=False), perf_counter()
    if not console.is_terminal:
        print_note(f"{description} …")
        yield Advance()
        print_note(f"{description}: {duration_text(perf_counter() - started)}")
        return
    with _make_bars(console, unit) as progress:
        yield Advance((progress, progress.add_task(description, total=total, extra="", left="")))


def _make_bars(console: Console, unit: str) -> Progress:
    """Bars that are whole in 80 columns: only what is described takes two lines, and what they are at has its own."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Column
    from rich.text import Text

    class TwoLineBars(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            extras = (str(task.fields["extra"]) for task in self.tasks)
            yield from (Text(extra, no_wrap=True, overflow="ellipsis") for extra in extras if extra)

    return TwoLineBars(
        TextColumn("{task.description}", table_column=Column(no_wrap=False)),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        console=console,
    )


def _left_text(task: Task) -> str:
    """The time that what is left will take at the mean speed so far; nothing before the first step and at the end."""
    if not task.total or not task.completed or not task.elapsed or task.completed >= task.total:
        return ""
    return f"about {duration_text(task.elapsed / task.completed * (task.total - task.completed))} left"


class Advance:
    """Moves one bar on; `extra` shows a live figure (a loss, tokens/s) or what is worked on, below it."""

    def __init__(self, bar: tuple[Progress, TaskID] | None = None) -> None:
        self._bar = bar

    def __call__(self, steps: float = 1, extra: str | None = None) -> None:
        """Moves on by `steps` and shows `extra` below the bar; without one, what stands there stays."""
        if self._bar is not None:
            progress, task = self._bar
            progress.update(task, advance=steps)
            progress.update(task, left=_left_text(progress.tasks[progress.task_ids.index(task)]))
            if extra is not None:
                progress.update(task, extra=safe_line(extra))
