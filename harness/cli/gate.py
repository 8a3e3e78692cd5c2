"""`harness gate`: may this model ship?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.policy import Policy
from harness.gate.rendering import (
    DECISION_MARKS,
    FLIP_TEXT_LIMIT,
    decision_mark,
    flip_texts,
    gate_footnotes,
    junit_text,
    loss_cells,
    markdown_text,
    metric_label,
)

_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow"}


def gate_command(
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
        _write_policy(policy or Path("policy.yaml"))
        return
    from harness.gate.decision import run_gate
    from harness.gate.policy import Policy, read_policy
    from harness.support.errors import HarnessError

    if before is None or after is None:
        raise HarnessError("--before and --after are both needed", hint="See `harness gate --help`.")
    rules = read_policy(policy) if policy else Policy()
    outcome = run_gate(before, after, rules, labels=labels, calibration=calibration)
    _write_outputs(outcome, junit, markdown)
    if as_json:
        _print_json(outcome, rules, before, after)
    else:
        _print_table(outcome)
    raise typer.Exit(outcome.exit_code)


def _write_policy(path: Path) -> None:
    from harness.gate.policy import POLICY_TEMPLATE
    from harness.support.artifacts import write_text
    from harness.support.console import print_note
    from harness.support.errors import HarnessError

    if path.exists():
        raise HarnessError("is there already", place=str(path), hint="Name another file with --policy.")
    write_text(path, POLICY_TEMPLATE)
    print_note(f"wrote {path}")


def _write_outputs(outcome: GateOutcome, junit: Path | None, markdown: Path | None) -> None:
    from harness.support.artifacts import explain_write_errors, write_text

    if junit:
        write_text(junit, junit_text(outcome))
    if markdown:
        with explain_write_errors(markdown):
            earlier = markdown.read_text(encoding="utf-8", errors="replace") if markdown.is_file() else ""
        write_text(markdown, earlier + markdown_text(outcome))


def _print_json(outcome: GateOutcome, policy: Policy, before: Path, after: Path) -> None:
    import json
    from dataclasses import asdict

    content = {
        "schema_version": 1,
        "decision": outcome.decision,
        "exit_code": outcome.exit_code,
        "reason": outcome.reason,
        "before": str(before),
        "after": str(after),
        "policy": policy.model_dump(mode="json"),
        "checks": [{key: _finite_or_none(value) for key, value in asdict(check).items()} for check in outcome.checks],
        "flips": [{**asdict(flip), **flip_texts(flip, FLIP_TEXT_LIMIT)} for flip in outcome.flips],
        "notes": list(outcome.notes),
    }
    print(json.dumps(content, allow_nan=False))


def _finite_or_none(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and (value != value or abs(value) == float("inf")) else value


# Terminal


def _print_table(outcome: GateOutcome) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from harness.support.console import safe_line

    console = Console(highlight=False)
    table = Table("", "metric", "before", "after", "loss", "margin", box=None, pad_edge=False)
    for check in outcome.checks:
        if check.binding:
            cells = (Text(safe_line(cell)) for cell in (metric_label(check), *loss_cells(check)))
            table.add_row(Text(decision_mark(check), style=_COLOURS[check.decision]), *cells)
    console.print(
        Text(
            f"{DECISION_MARKS[outcome.decision]}: {safe_line(outcome.reason)}",
            style=f"bold {_COLOURS[outcome.decision]}",
        )
    )
    console.print(table)
    hidden = sum(not check.binding for check in outcome.checks)
    more = [f"{hidden} results by category in --markdown and --json; none is a significant loss"] if hidden else []
    for line in [*gate_footnotes(outcome), *more]:
        console.print(Text(safe_line(line)), style="dim")
