"""`harness gate`: may this model ship?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.gate import Check, Flip, Report
    from harness.policy import Policy

_MARKS = {"pass": "PASS", "fail": "FAIL", "inconclusive": "CANNOT TELL"}
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}
_SHOWN = 160
_MARKUP = {ord(character): f"&#{ord(character)};" for character in "\\`*_[]()#|~!@:"}


def gate(
    before: Annotated[
        Path | None, typer.Option("--before", help="lm-eval output of the model before training.", show_default=False)
    ] = None,
    after: Annotated[
        Path | None, typer.Option("--after", help="lm-eval output of the model after it.", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="YAML; without it the defaults that --init prints.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="People's verdicts on a random sample of these answers.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option("--calibration", help="What `harness calibrate` wrote of the judge.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write the checks as JUnit XML.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Append the result to this file as Markdown.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
    init: Annotated[
        bool, typer.Option("--init", help="Write a commented policy to --policy (default policy.yaml) and stop.")
    ] = False,
) -> None:
    """Pass, fail or cannot tell: has refusing or harmful completion got worse by more than the policy allows?

    \b
    harness gate --before arms/baseline --after arms/raw
    harness gate --before out/base --after out/tuned --policy policy.yaml --markdown "$GITHUB_STEP_SUMMARY"
    harness gate --init --policy policy.yaml

    Reads directories written by `lm_eval --log_samples` or by `harness run`. Exit codes: 0 pass, 1 fail,
    2 bad input, 3 inconclusive.
    """
    if init:
        _init(policy or Path("policy.yaml"))
        return
    from harness.errors import HarnessError
    from harness.gate import gate as decide
    from harness.policy import Policy, read_policy

    if before is None or after is None:
        raise HarnessError("--before and --after are both needed", mend="See `harness gate --help`.")
    rules = read_policy(policy) if policy else Policy()
    report = decide(before, after, rules, labels=labels, calibration=calibration)
    _write(report, junit, markdown)
    if as_json:
        _print_json(report, rules, before, after)
    else:
        _print_table(report)
    raise typer.Exit(report.exit_code)


def _init(path: Path) -> None:
    from harness.artifacts import write_text
    from harness.console import note
    from harness.errors import HarnessError
    from harness.policy import TEMPLATE

    if path.exists():
        raise HarnessError("is there already", place=str(path), mend="Name another file with --policy.")
    write_text(path, TEMPLATE)
    note(f"wrote {path}")


def _write(report: Report, junit: Path | None, markdown: Path | None) -> None:
    from harness.artifacts import told, write_text

    if junit:
        write_text(junit, junit_text(report))
    if markdown:
        with told(markdown):
            earlier = markdown.read_text(encoding="utf-8", errors="replace") if markdown.is_file() else ""
        write_text(markdown, earlier + markdown_text(report))


def _print_json(report: Report, policy: Policy, before: Path, after: Path) -> None:
    import json
    from dataclasses import asdict

    content = {
        "schema_version": 1,
        "decision": report.decision,
        "exit_code": report.exit_code,
        "reason": report.reason,
        "before": str(before),
        "after": str(after),
        "policy": policy.model_dump(mode="json"),
        "checks": [{key: _finite(value) for key, value in asdict(check).items()} for check in report.checks],
        "flips": [{**asdict(flip), **_texts(flip, _SHOWN)} for flip in report.flips],
        "notes": list(report.notes),
    }
    print(json.dumps(content, allow_nan=False))


def _finite(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


def _texts(flip: Flip, limit: int) -> dict[str, str]:
    from harness.console import safe

    return {name: safe(getattr(flip, name), limit) for name in ("category", "prompt", "before", "after")}


# Terminal


def _print_table(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.console import safe

    console = Console(highlight=False)
    table = Table("", "metric", "before", "after", "loss", "margin", box=None, pad_edge=False)
    for check in report.checks:
        if check.binding:
            cells = (Text(safe(cell)) for cell in (_label(check), *_figures(check)))
            table.add_row(Text(_mark(check), style=_COLOURS[check.decision]), *cells)
    console.print(Text(f"{_MARKS[report.decision]}: {safe(report.reason)}", style=f"bold {_COLOURS[report.decision]}"))
    console.print(table)
    hidden = sum(not check.binding for check in report.checks)
    more = [f"{hidden} results by category in --markdown and --json; none is a significant loss"] if hidden else []
    for line in [*_footnotes(report), *more]:
        console.print(Text(safe(line)), style="dim")


def _mark(check: Check) -> str:
    return _MARKS[check.decision] if check.binding else "-"


def _label(check: Check) -> str:
    from harness.console import safe

    return check.metric if check.category is None else f"{check.metric} / {safe(check.category, 60)}"


def _figures(check: Check) -> tuple[str, str, str, str]:
    """Before, after, loss with its interval, and margin, as text."""
    if check.unit == "nats":
        return "", "", f"{check.loss:.1f} ({check.low:.1f} to {check.high:.1f}) nats", f"{check.margin:.1f} nats"
    loss = f"{100 * check.loss:+.1f} ({100 * check.low:+.1f} to {100 * check.high:+.1f})"
    return f"{check.before:.1%}", f"{check.after:.1%}", loss, f"{100 * check.margin:.1f}"


def _footnotes(report: Report) -> list[str]:
    """What a reader must know of the figures: their unit, and the judge's error by metric."""
    whole = [check for check in report.checks if check.category is None and check.judge_error]
    told = dict.fromkeys(check.judge_error for check in whole)
    lines = [f"{note} ({', '.join(check.metric for check in whole if check.judge_error == note)})" for note in told]
    return ["Loss and margin in points, with the interval that decides.", *lines, *report.notes]


# Markdown


def markdown_text(report: Report) -> str:
    """The result for a pull request or a step summary; texts of models shortened, escaped and folded."""
    parts = [
        f"## Safety gate: {_MARKS[report.decision]}\n\n{_md(report.reason)}\n",
        _md_table([check for check in report.checks if check.category is None]),
        _folded("By category", _md_table([check for check in report.checks if check.category is not None])),
        _folded("Most telling flips (may hold harmful text)", _md_flips(report)),
        "\n".join(f"- {_md(line)}" for line in _footnotes(report)) + "\n",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _md_table(checks: list[Check]) -> str:
    if not checks:
        return ""
    rows = [[_mark(check), _label(check), *_figures(check), str(check.prompts), check.reason] for check in checks]
    head = ["", "Metric", "Before", "After", "Loss in points (interval)", "Margin", "Prompts", "Why"]
    lines = [head, ["---"] * len(head), *([_md(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _md_flips(report: Report) -> str:
    rows = []
    for flip in report.flips:
        texts = _texts(flip, _SHOWN)
        rows.append(
            f"**{_md(flip.prompt_id)}** {_md(texts['category'])} ({_md(flip.metric)}): {_md(texts['prompt'])}\n\n"
            f"- before: {_md(texts['before'])}\n- after: {_md(texts['after'])}\n"
        )
    return "\n".join(rows)


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n</details>\n" if body else ""


def _md(text: str) -> str:
    """Text as Markdown that shows it and does nothing else: no markup, links, mentions or HTML."""
    from html import escape

    from harness.console import safe

    return escape(safe(text), quote=False).translate(_MARKUP)


# JUnit


def junit_text(report: Report) -> str:
    """One test case a guarded metric and category; inconclusive ones that decide are errors, others skipped."""
    from xml.etree import ElementTree

    suite = ElementTree.Element("testsuite", {"name": "harness gate", **_tallies(report)})
    for check in report.checks:
        names = {"classname": f"gate.{_xml(check.metric)}", "name": _xml(check.category or "overall")}
        case = ElementTree.SubElement(suite, "testcase", names)
        if check.decision != "pass":
            ElementTree.SubElement(case, _outcome(check), {"message": _xml(check.reason)})
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Text without the characters that XML 1.0 knows not even escaped."""
    from harness.console import safe

    return safe(text).replace("\ufffe", "").replace("\uffff", "")


def _outcome(check: Check) -> str:
    if check.decision == "fail":
        return "failure"
    return "error" if check.binding else "skipped"


def _tallies(report: Report) -> dict[str, str]:
    outcomes = [_outcome(check) for check in report.checks if check.decision != "pass"]
    names = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    return {"tests": str(len(report.checks))} | {name: str(outcomes.count(kind)) for name, kind in names.items()}
