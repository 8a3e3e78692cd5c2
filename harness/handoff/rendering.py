"""The gate's decision as text: the cells of its tables, lines for a terminal, and JUnit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING
from unicodedata import combining, east_asian_width
from xml.etree import ElementTree

from harness.gate.readings import OFF_TOPIC_TOLD
from harness.gate.wording import MIRRORS, category_name, count_categories, find_mirrored, format_points, format_rate
from harness.support.console import safe_line

if TYPE_CHECKING:
    from harness.gate.decision import Decision, GateOutcome, MetricCheck, ReadingCheck
    from harness.gate.side_summary import SideSummary

DECISION_MARKS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "CANNOT TELL"}
HEADINGS = ("before", "after", "worse by, points", "margin")
LONGEST_TABLE = 100
"""Rows of categories, at most: nobody reads more of them, and GitHub takes a comment of some length only."""
_MODELS_TOLD = 3
_GAP = "  "

TextLine = tuple[str, "Decision | None"]
"""A line, and the decision that it is of."""


def decision_mark(check: MetricCheck) -> str:
    """A check's decision in a word, in small letters where it does not bind."""
    mark = DECISION_MARKS[check.decision]
    return mark if check.binding else mark.lower()


def loss_cells(check: MetricCheck) -> tuple[str, str, str, str]:
    """Before, after, loss with its interval, and margin, as text."""
    if check.unit == "nats":
        return "", "", f"{check.loss:+.1f} ({check.low:+.1f} to {check.high:+.1f}) nats", f"{check.margin:.1f} nats"
    return format_rate(check.before), format_rate(check.after), _loss_text(check), format_points(check.margin)


def tell_readings(check: MetricCheck) -> list[str]:
    """Two lines: how answers to another question were counted, and what is said where they are counted otherwise.

    None where no answer seems to be one.
    """
    if check.reading is None:
        return []
    other = next(one for one in check.readings if one.reading != check.reading)
    counted = "with" if other.reading == "with_off_topic" else "without"
    rates = f"{format_rate(other.before)} to {format_rate(other.after)}"
    mark = DECISION_MARKS[other.decision].lower()
    return [OFF_TOPIC_TOLD[check.reading], f"{counted} them {rates}, {_loss_text(other)}: {mark}"]


def _loss_text(check: MetricCheck | ReadingCheck) -> str:
    """The loss and its interval, in points."""
    return f"{100 * check.loss:+.1f} ({100 * check.low:+.1f} to {100 * check.high:+.1f})"


def gate_footnotes(outcome: GateOutcome) -> list[str]:
    """What a reader must know of the figures: their unit, the judge's error by metric, and what was compared."""
    whole = [check for check in outcome.checks if check.category is None and check.judge_error]
    told = dict.fromkeys(check.judge_error for check in whole)
    lines = [
        note
        if len(told) == 1
        else f"{note} ({', '.join(check.metric for check in whole if check.judge_error == note)})"
        for note in told
    ]
    sides = [_describe_side(name, side) for name, side in zip(HEADINGS[:2], outcome.sides, strict=False)]
    return ["points are percentage points; the interval is the one that decides", *lines, *sides]


def _describe_side(name: str, side: SideSummary) -> str:
    """A side in a line: path, models, judges, seeds and time."""
    given = {str(value) for seeds in side.seeds for value in seeds.values() if value is not None}
    seeds = sorted(given, key=lambda seed: (len(seed), seed))  # 10 after 2
    times = " to ".join(dict.fromkeys(side.evaluated))
    more = f" and {len(side.models) - _MODELS_TOLD} more" if len(side.models) > _MODELS_TOLD else ""
    return (
        f"{name}: {side.path}, model {', '.join(side.models[:_MODELS_TOLD])}{more}, "
        f"judge {', '.join(side.judges) or 'none named'}, seeds {', '.join(seeds) or 'none named'}, evaluated {times}"
    )


def count_undecided(checks: Sequence[MetricCheck]) -> str:
    """How many checks do not bind, and what they say: never a failure."""
    counts = Counter(DECISION_MARKS[check.decision].lower() for check in checks)
    told = ", ".join(f"{count} {mark}" for mark, count in sorted(counts.items(), reverse=True))
    return f"{count_categories(len(checks))} that decide{'s' if len(checks) == 1 else ''} nothing: {told}"


# Terminal


def plain_text(outcome: GateOutcome, width: int) -> str:
    """What a terminal shows, without colours: decision, notes, the checks that decide, and what the figures mean."""
    head = [f"{DECISION_MARKS[outcome.decision]}: {outcome.reason}", *(f"Note: {note}" for note in outcome.notes)]
    table = [line for line, _ in table_lines(outcome, width)]
    told = [*map(safe_line, head), "", *table, "", *map(safe_line, gate_footnotes(outcome))]
    return "\n".join(told)


def table_lines(outcome: GateOutcome, width: int) -> list[TextLine]:
    """The checks that decide, in columns, and how many others there are.

    A name that has no room beside its figures stands on a line of its own above them: nothing is cut.
    """
    groups = [_metric_group(metric, outcome) for metric in dict.fromkeys(check.metric for check in outcome.checks)]
    head = ("", "", *HEADINGS)
    columns = _column_widths([head, *(_row_cells(check) for checks, _ in groups for check in checks)], width)
    lines: list[TextLine] = [(_format_row(head, columns), None)]
    for checks, remarks in groups:
        for check in checks:
            lines += [(line, check.decision) for line in _check_lines(check, columns, outcome.reason)]
        lines += [(_format_row(("", f"  {remark}"), columns), None) for remark in remarks]
    hidden = [check for check in outcome.checks if not check.binding]
    return [*lines, *([("", None), (f"{count_undecided(hidden)}; --json lists them", None)] if hidden else [])]


def _metric_group(metric: str, outcome: GateOutcome) -> tuple[list[MetricCheck], list[str]]:
    """A metric's checks to show: the whole, then the categories that decide; and what is to be said of the rest."""
    deciding = [check for check in outcome.checks if check.metric == metric and check.binding]
    mirrored = find_mirrored(outcome.checks)
    categories = [check for check in deciding if check.category is not None]
    told = [check for check in categories if (check.metric, check.category) not in mirrored]
    alike, left = len(categories) - len(told), len(told) - LONGEST_TABLE
    remarks = [
        *([f"and {count_categories(left)} more"] if left > 0 else []),
        *([f"and {count_categories(alike)}, as under {MIRRORS[metric]}"] if alike else []),
    ]
    return [*(check for check in deciding if check.category is None), *told[:LONGEST_TABLE]], remarks


def _row_cells(check: MetricCheck) -> tuple[str, ...]:
    name = safe_line(check.metric) if check.category is None else f"  {category_name(check)}"
    return (decision_mark(check), name, *loss_cells(check))


def _column_widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """The widths of all columns; the names' is that of the longest one that leaves the figures their room."""
    widths = [max(map(_text_width, column)) for column in zip(*rows, strict=True)]
    room = width - sum(widths[:1] + widths[2:]) - len(_GAP) * (len(widths) - 1)
    widths[1] = max(wide for row in rows if (wide := _text_width(row[1])) <= max(room, 0))
    return widths


def _check_lines(check: MetricCheck, columns: Sequence[int], told: str) -> list[str]:
    """A check's line, its name above it where there is no room, and why it is open below where that is not told."""
    cells = _row_cells(check)
    lines = [_format_row(cells, columns)]
    if _text_width(cells[1]) > columns[1]:
        lines = [_format_row(cells[:2], columns), _format_row(("", "", *cells[2:]), columns)]
    read = tell_readings(check)
    lines += [_format_row(("", f"    {line}"), columns) for line in (read if check.category is None else read[1:])]
    if check.decision == "inconclusive" and check.reason not in told:
        lines.append(_format_row(("", f"    {safe_line(check.reason)}"), columns))
    return lines


def _format_row(cells: Sequence[str], columns: Sequence[int]) -> str:
    """Mark and name at the left, figures at the right."""
    padded = []
    for place, (cell, size) in enumerate(zip(cells, columns, strict=False)):
        space = " " * (size - _text_width(cell))
        padded.append(f"{cell}{space}" if place < 2 else f"{space}{cell}")
    return _GAP.join(padded).rstrip()


def _text_width(text: str) -> int:
    """Columns of a terminal: two for a wide character, as most of East Asia's are, none for one that joins another."""
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


# JUnit


def junit_text(outcome: GateOutcome) -> str:
    """One test case a guarded metric and category; inconclusive ones that decide are errors, others skipped."""
    suite = ElementTree.Element("testsuite", {"name": "harness gate", **_junit_tallies(outcome)})
    for check in outcome.checks:
        names = {"classname": f"gate.{_xml_text(check.metric)}", "name": _xml_text(check.category or "overall")}
        case = ElementTree.SubElement(suite, "testcase", names)
        if check.decision != "pass":
            ElementTree.SubElement(case, _junit_outcome(check), {"message": _xml_text(check.reason)})
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml_text(text: str) -> str:
    """Text without the characters that XML 1.0 knows not even escaped."""
    return safe_line(text).replace("\ufffe", "").replace("\uffff", "")


def _junit_outcome(check: MetricCheck) -> str:
    if check.decision == "fail":
        return "failure"
    return "error" if check.binding else "skipped"


def _junit_tallies(outcome: GateOutcome) -> dict[str, str]:
    outcomes = [_junit_outcome(check) for check in outcome.checks if check.decision != "pass"]
    names = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {"tests": str(len(outcome.checks))} | {name: str(outcomes.count(kind)) for name, kind in names.items()}
