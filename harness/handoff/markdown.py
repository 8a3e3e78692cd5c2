"""The gate's decision as Markdown for a pull request or a step summary, in which nothing of others' text acts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.gate.wording import MIRRORS, category_name, check_name, count_categories, find_mirrored
from harness.handoff.rendering import (
    DECISION_MARKS,
    LONGEST_TABLE,
    count_undecided,
    decision_mark,
    gate_footnotes,
    loss_cells,
    tell_readings,
)
from harness.support.console import safe_line

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome, MetricCheck
    from harness.gate.flips import PromptFlip

FLIP_TEXT_LIMIT = 160
_LONGEST_SPAN = 1000


def flip_texts(flip: PromptFlip, limit: int) -> dict[str, str]:
    """A flip's prompt and answers, each one printable line of at most `limit` characters."""
    return {name: safe_line(getattr(flip, name), limit) for name in ("prompt", "before", "after")}


def markdown_text(outcome: GateOutcome, *, texts: bool = False) -> str:
    """The result; `texts`: with prompts and answers, which may be harmful."""
    mirrored = find_mirrored(outcome.checks)
    whole = [check for check in outcome.checks if check.category is None]
    parts = [check for check in outcome.checks if check.category is not None]
    told = [check for check in parts if (check.metric, check.category) not in mirrored]
    deciding, other = [c for c in told if c.binding], [c for c in told if not c.binding]
    blocks = [
        f"## Safety gate: {DECISION_MARKS[outcome.decision]}\n\n{code_span(outcome.reason)}\n",
        "".join(f"- **Note**: {code_span(note)}\n" for note in outcome.notes),
        _checks_table(whole, "Metric"),
        "".join(
            f"- {code_span(check_name(check))}: {'; '.join(read)}\n"
            for check in [*whole, *deciding[:LONGEST_TABLE]]
            if (read := tell_readings(check))
        ),
        "".join(
            f"- {code_span(check_name(check))}: {code_span(check.reason)}\n"
            for check in [*whole, *deciding[:LONGEST_TABLE]]
            if check.decision == "inconclusive" and check.reason not in outcome.reason
        ),
        _folded_section(f"{count_categories(len(deciding))} that decide", _category_tables(deciding)),
        _folded_section(count_undecided(other), _category_tables(other)),
        *_mirrors_note(mirrored),
        _folded_section(_flips_title(len(outcome.flips), texts), _flips_table(outcome.flips, texts)),
        "".join(f"- {code_span(line)}\n" for line in gate_footnotes(outcome)),
    ]
    return "\n".join(block for block in blocks if block) + "\n"


def code_span(text: str) -> str:
    """Text as a code span of one line, which shows it and does nothing else: no markup, HTML, mention or link.

    Longer than any run of backticks in it are those around it. A pipe is escaped, as a table's cell needs.
    """
    line = safe_line(text, _LONGEST_SPAN)
    if not line:
        return ""
    fence = "`" * (max(map(len, re.findall("`+", line)), default=0) + 1)
    edge = " " if line[0] == "`" or line[-1] == "`" else ""
    return f"{fence}{edge}{line}{edge}{fence}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; a pipe in one is no border."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _category_tables(checks: Sequence[MetricCheck]) -> str:
    """A table of categories for each metric, under its name."""
    parts = [
        f"{code_span(metric)}\n\n" + _checks_table([check for check in checks if check.metric == metric], "Category")
        for metric in dict.fromkeys(check.metric for check in checks)
    ]
    return "\n".join(parts)


def _checks_table(checks: Sequence[MetricCheck], named: str) -> str:
    rows = [
        [
            _unbroken(decision_mark(check)),
            code_span(category_name(check) or check.metric),
            *map(_unbroken, loss_cells(check)),
            str(check.prompts),
            str(check.prompts_needed or ""),
        ]
        for check in checks[:LONGEST_TABLE]
    ]
    head = ["", named, "Before", "After", "Worse by, points", "Margin", "Prompts", "Needed, about"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    left = len(checks) - LONGEST_TABLE
    return _table(head, rows) + (f"\n{count_categories(left)} more: `--json` lists them.\n" if left > 0 else "")


def _unbroken(text: str) -> str:
    """Our own text that is not to be broken into lines."""
    return text.replace(" ", "\u00a0")


def _mirrors_note(mirrored: set[tuple[str, str | None]]) -> list[str]:
    """What was left out because another metric's rows say it."""
    counts = Counter(metric for metric, category in mirrored if category is not None)
    return [
        f"Left out: {count_categories(count)} of {code_span(metric)} with what {code_span(MIRRORS[metric])} says; "
        "`--json` has all.\n"
        for metric, count in counts.items()
    ]


def _flips_title(count: int, texts: bool) -> str:
    told = "their texts may be harmful" if texts else "their texts only with --with-text"
    return f"Prompts that lost most: {count} ({told})"


def _flips_table(flips: Sequence[PromptFlip], texts: bool) -> str:
    if not flips:
        return ""
    rows = [[code_span(flip.prompt_id), code_span(flip.category), code_span(flip.metric)] for flip in flips]
    if not texts:
        return _table(["Prompt", "Category", "Metric"], rows)
    said = [[code_span(text) for text in flip_texts(flip, FLIP_TEXT_LIMIT).values()] for flip in flips]
    head = ["Prompt", "Category", "Metric", "Text", "Before", "After"]
    return _table(head, [[*row, *more] for row, more in zip(rows, said, strict=True)])


def _folded_section(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n</details>\n" if body else ""
