"""The gate's decision as text, Markdown and JUnit."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree

from harness.support.console import safe_line

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome, MetricCheck, PromptFlip

DECISION_MARKS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "CANNOT TELL"}
FLIP_TEXT_LIMIT = 160
_MARKDOWN_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;"} | {character: f"&#{ord(character)};" for character in "\\`*_[]()#|~!@:"}
)


def flip_texts(flip: PromptFlip, limit: int) -> dict[str, str]:
    """A flip's category, prompt and answers, each one printable line of at most `limit` characters."""
    return {name: safe_line(getattr(flip, name), limit) for name in ("category", "prompt", "before", "after")}


def decision_mark(check: MetricCheck) -> str:
    """A check's decision in a word; a dash where it does not bind."""
    return DECISION_MARKS[check.decision] if check.binding else "-"


def metric_label(check: MetricCheck) -> str:
    """The metric's name, and its category where the check is of one."""
    return check.metric if check.category is None else f"{check.metric} / {safe_line(check.category, 60)}"


def loss_cells(check: MetricCheck) -> tuple[str, str, str, str]:
    """Before, after, loss with its interval, and margin, as text."""
    if check.unit == "nats":
        return "", "", f"{check.loss:.1f} ({check.low:.1f} to {check.high:.1f}) nats", f"{check.margin:.1f} nats"
    loss = f"{100 * check.loss:+.1f} ({100 * check.low:+.1f} to {100 * check.high:+.1f})"
    return f"{check.before:.1%}", f"{check.after:.1%}", loss, f"{100 * check.margin:.1f}"


def gate_footnotes(outcome: GateOutcome) -> list[str]:
    """What a reader must know of the figures: their unit, and the judge's error by metric."""
    whole = [check for check in outcome.checks if check.category is None and check.judge_error]
    told = dict.fromkeys(check.judge_error for check in whole)
    lines = [f"{note} ({', '.join(check.metric for check in whole if check.judge_error == note)})" for note in told]
    return ["Loss and margin in points, with the interval that decides.", *lines, *outcome.notes]


# Markdown


def markdown_text(outcome: GateOutcome) -> str:
    """The result for a pull request or a step summary; texts of models shortened, escaped and folded."""
    parts = [
        f"## Safety gate: {DECISION_MARKS[outcome.decision]}\n\n{_escape_markdown(outcome.reason)}\n",
        _markdown_table([check for check in outcome.checks if check.category is None]),
        _folded_section(
            "By category", _markdown_table([check for check in outcome.checks if check.category is not None])
        ),
        _folded_section("Most telling flips (may hold harmful text)", _markdown_flips(outcome)),
        "\n".join(f"- {_escape_markdown(line)}" for line in gate_footnotes(outcome)) + "\n",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _markdown_table(checks: list[MetricCheck]) -> str:
    if not checks:
        return ""
    rows = [
        [decision_mark(check), metric_label(check), *loss_cells(check), str(check.prompts), check.reason]
        for check in checks
    ]
    head = ["", "Metric", "Before", "After", "Loss in points (interval)", "Margin", "Prompts", "Why"]
    lines = [head, ["---"] * len(head), *([_escape_markdown(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _markdown_flips(outcome: GateOutcome) -> str:
    rows = []
    for flip in outcome.flips:
        texts = flip_texts(flip, FLIP_TEXT_LIMIT) | {"id": flip.prompt_id, "metric": flip.metric}
        rows.append(
            "**{id}** {category} ({metric}): {prompt}\n\n- before: {before}\n- after: {after}\n".format_map(
                {name: _escape_markdown(text) for name, text in texts.items()}
            )
        )
    return "\n".join(rows)


def _folded_section(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n</details>\n" if body else ""


def _escape_markdown(text: str) -> str:
    """Text as Markdown that shows it and does nothing else: no markup, links, mentions or HTML."""
    return safe_line(text).translate(_MARKDOWN_ESCAPES)


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
