"""`harness gate`: may this model ship?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal import plain_table, safe_text, stdout_console
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
from harness.support.artifacts import explain_write_errors, finite_or_null, write_text
from harness.support.console import print_note
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.policy import Policy

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
    """Pass, fail or cannot tell: may the trained model ship?

    Has refusing or harmful completion got worse by more than the policy allows?

    \b
    harness gate --before arms/baseline --after arms/raw
    harness gate --before out/base --after out/tuned --policy policy.yaml --markdown "$GITHUB_STEP_SUMMARY"
    harness gate --init --policy policy.yaml

    Reads directories written by `lm_eval --log_samples` or by `harness run`. Exit codes: 0 pass, 1 fail,
    2 bad input, 3 inconclusive.
    """
    from harness.gate.policy import POLICY_TEMPLATE, Policy, read_policy

    if init:
        _write_template(POLICY_TEMPLATE, policy or Path("policy.yaml"))
        return
    from harness.gate.decision import run_gate

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


def _write_template(template: str, path: Path) -> None:
    if path.exists():
        raise HarnessError("is there already", place=str(path), hint="Name another file with --policy.")
    write_text(path, template)
    print_note(f"wrote {path}")


def _write_outputs(outcome: GateOutcome, junit: Path | None, markdown: Path | None) -> None:
    if junit:
        write_text(junit, junit_text(outcome))
    if markdown:
        with explain_write_errors(markdown):
            earlier = markdown.read_text(encoding="utf-8", errors="replace") if markdown.is_file() else ""
        write_text(markdown, earlier + markdown_text(outcome))


def _print_json(outcome: GateOutcome, policy: Policy, before: Path, after: Path) -> None:
    content = {
        "schema_version": 1,
        "decision": outcome.decision,
        "exit_code": outcome.exit_code,
        "reason": outcome.reason,
        "before": str(before),
        "after": str(after),
        "policy": policy.model_dump(mode="json"),
        "checks": [{key: finite_or_null(value) for key, value in asdict(check).items()} for check in outcome.checks],
        "flips": [{**asdict(flip), **flip_texts(flip, FLIP_TEXT_LIMIT)} for flip in outcome.flips],
        "notes": list(outcome.notes),
    }
    print(json.dumps(content, allow_nan=False))


def _print_table(outcome: GateOutcome) -> None:
    console, colour = stdout_console(), _COLOURS[outcome.decision]
    table = plain_table("", ["metric", "before", "after", "loss", "margin"], texts=True)
    for check in outcome.checks:
        if check.binding:
            mark = safe_text(decision_mark(check), style=_COLOURS[check.decision])
            table.add_row(mark, *map(safe_text, (metric_label(check), *loss_cells(check))))
    console.print(safe_text(f"{DECISION_MARKS[outcome.decision]}: {outcome.reason}", style=f"bold {colour}"))
    console.print(table)
    hidden = sum(not check.binding for check in outcome.checks)
    more = [f"{hidden} results by category in --markdown and --json; none is a significant loss"] if hidden else []
    for line in [*gate_footnotes(outcome), *more]:
        console.print(safe_text(line, style="dim"))
