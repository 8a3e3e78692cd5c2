"""What the commands print on standard output: tables of one kind, and text of others made safe to print."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from harness.support.console import safe_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def stdout_console() -> Console:
    """A Rich console on standard output that colours nothing of its own accord."""
    from rich.console import Console  # here and below: at the top it would slow `harness --help` by a quarter

    console = Console(highlight=False)
    console.width = console.width or 80  # COLUMNS=0 would print nothing
    return console


def plain_table(
    first: str, headings: Iterable[str], title: str = "", *, lines: bool = False, texts: bool = False
) -> Table:
    """A table without a frame, for `stdout_console`.

    Args:
        first: heading of the first column, which says what a row is of.
        headings: of the others, which hold figures: at the right.
        title: above the table.
        lines: one below the headings, and room above and below the table.
        texts: the other columns hold texts, at the left, and so is the title.
    """
    from rich import box, table

    made = table.Table(
        title=title or None,
        title_justify="left" if texts else "center",
        box=box.SIMPLE if lines else None,
        padding=(0, 1) if texts else (0, 1, 0, 0),
        pad_edge=lines or not texts,
    )
    made.add_column(first, no_wrap=not (lines or texts))
    for heading in headings:
        made.add_column(heading, justify="left" if texts else "right", no_wrap=lines and not texts)
    return made


def safe_text(text: str, limit: int | None = None, style: str = "") -> Text:
    """`safe_line` of a text that Rich is not to look for markup in."""
    from rich.text import Text

    return Text(safe_line(text, limit), style)


def padded_text(line: str, style: str = "") -> Text:
    """A line whose columns are aligned and whose texts are safe already."""
    from rich.text import Text

    return Text(line, style)
