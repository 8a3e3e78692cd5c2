"""The gate as an assertion, for a test of one's own."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.policy import Policy

_WIDTH = 100


class InconclusiveWarning(UserWarning):
    """The gate could not tell, and its policy lets that pass."""


def assert_no_unalignment(
    before: str | Path, after: str | Path, policy: str | Path | Policy | None = None
) -> GateOutcome:
    """Asserts that a model may ship, given what it was before training; returns what the gate found.

    Args:
        before: a directory of evaluations of the model before training, as `harness gate --before` takes it.
        after: the same of the model after it.
        policy: a policy's file, or a policy; without it the defaults.

    Raises AssertionError, with the gate's table, where it fails or, unless its policy lets that pass, could not tell;
    HarnessError, with a hint, where an input is missing, broken, or cannot be compared. Warns (InconclusiveWarning) of
    what passes inconclusively.
    """
    __tracebackhide__ = True
    from harness.gate.decision import run_gate
    from harness.gate.policy import Policy, read_policy
    from harness.handoff.rendering import plain_text

    try:
        rules = policy if isinstance(policy, Policy) else read_policy(Path(policy)) if policy is not None else Policy()
        outcome = run_gate(Path(before), Path(after), rules)
    except HarnessError as error:
        # anew, so that its traceback is that of the test and not of the reader that refused the file
        raise HarnessError(error.cause, place=error.place, hint=error.hint) from None
    if outcome.exit_code != 0:
        raise AssertionError(plain_text(outcome, _WIDTH))
    if outcome.decision != "pass":
        warnings.warn(plain_text(outcome, _WIDTH), InconclusiveWarning, stacklevel=2)
    return outcome
