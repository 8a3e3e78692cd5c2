"""The gate in a workflow of GitHub: its failures as commands that are shown beside a commit, and the run's address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.gate.wording import check_name, find_mirrored
from harness.support.console import safe_line

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome

MOST_SHOWN = 10
"""GitHub shows no more of one kind and step."""
_LONGEST_MESSAGE = 1000


def annotation_lines(outcome: GateOutcome, warnings: Sequence[str] = ()) -> str:
    """A line for each check that failed or, though it binds, could not tell; then `warnings` of our own.

    What only mirrors another metric's category is left out: there is room for few.
    """
    mirrors = {(metric, category) for metric, category in find_mirrored(outcome.checks) if category is not None}
    told = [check for check in outcome.checks if check.binding and (check.metric, check.category) not in mirrors]
    failed = [(check_name(check), check.reason) for check in told if check.decision == "fail"]
    unsure = [(check_name(check), f"cannot tell: {check.reason}") for check in told if check.decision == "inconclusive"]
    unsure += [("comment", warning) for warning in warnings]
    return _commands("error", failed) + _commands("warning", unsure)


def run_url(environment: Mapping[str, str]) -> str | None:
    """Where the run of GitHub Actions that this process belongs to is shown; None elsewhere."""
    parts = [environment.get(f"GITHUB_{name}", "") for name in ("SERVER_URL", "REPOSITORY", "RUN_ID")]
    return "{}/{}/actions/runs/{}".format(*parts) if all(parts) else None


def _commands(kind: str, told: Sequence[tuple[str, str]]) -> str:
    shown = list(told[:MOST_SHOWN])
    left = len(told) - MOST_SHOWN
    if left > 0:
        shown[-1] = ("others", f"{left + 1} more: the gate's own output has all")
    return "".join(f"::{kind} title={_property(f'Safety gate: {name}')}::{_message(text)}\n" for name, text in shown)


def _message(text: str) -> str:
    """Text that ends neither the command nor its line, and is no command itself."""
    line = safe_line(text, _LONGEST_MESSAGE)
    return line.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
