"""A gate's decision together with what it was made by and when: what every file that hands it on is written from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness.handoff.registration import Registration, find_registration
from harness.support.artifacts import sha256_of
from harness.support.versions import DISTRIBUTION, library_version

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.policy import Policy


@dataclass(frozen=True, slots=True)
class GateRecord:
    """One decision: what was compared (`paths`, before and after), by which policy, on what else, and when.

    `evidence` are the labels and the calibration, with their SHA-256; `decided` is ISO 8601 in UTC; `registration` says
    since when the policy is fixed, None where nobody asked.
    """

    outcome: GateOutcome
    policy: Policy
    paths: tuple[Path, Path]
    decided: str
    policy_file: Path | None = None
    policy_file_sha256: str | None = None
    evidence: tuple[tuple[str, str], ...] = ()
    registration: Registration | None = None


def record_decision(
    outcome: GateOutcome,
    policy: Policy,
    paths: tuple[Path, Path],
    *,
    policy_file: Path | None = None,
    evidence: Sequence[Path | None] = (),
) -> GateRecord:
    """The record of a decision that was made now."""
    return GateRecord(
        outcome,
        policy,
        paths,
        datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        policy_file,
        sha256_of(policy_file) if policy_file else None,
        tuple((str(path), sha256_of(path)) for path in evidence if path),
    )


def add_registration(record: GateRecord) -> GateRecord:
    """The record with when its policy was fixed, which is also among the decision's notes."""
    found = find_registration(record.policy_file, record.outcome.sides[1].evaluated[0])
    outcome = replace(record.outcome, notes=(*record.outcome.notes, found.told))
    return replace(record, outcome=outcome, registration=found)


def policy_sha256(policy: Policy) -> str:
    """The SHA-256 of all settings, defaults too: of their JSON with sorted keys and without blanks, in UTF-8."""
    text = json.dumps(policy.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def harness_version() -> str:
    """The version of this package."""
    return library_version(DISTRIBUTION)
