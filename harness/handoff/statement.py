"""The gate's decision as an in-toto Statement (v1) of the predicate test-result (v0.1), to be signed as any other.

Their fields are those of https://github.com/in-toto/attestation, `spec/v1` and `spec/predicates/test-result.md`.
"""

from __future__ import annotations

import platform
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.gate.wording import check_name
from harness.handoff.record import harness_version, policy_sha256
from harness.support.artifacts import sha256_of
from harness.support.console import progress_bar, safe_line
from harness.support.redaction import redact_json
from harness.support.versions import DISTRIBUTION

if TYPE_CHECKING:
    from harness.gate.side_summary import SideSummary
    from harness.handoff.record import GateRecord

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_WEIGHT_FILES = {".safetensors", ".bin", ".gguf", ".pt", ".pth"}
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PATH_KEYS = ("name", "peft", "delta", "lora_local_path")
"""What may name a place of weights in a side's summary."""


def gate_statement(record: GateRecord, url: str | None = None) -> dict[str, Any]:
    """The statement: what was tested, by which policy, registered when, and what came out.

    Its subject is the model after training (its commit, or the weights that lie where the evaluation says, read now)
    and every evaluation file of both sides as it was read. An inconclusive decision is WARNED where the policy lets it
    pass, else FAILED: who asks for PASSED gets no model that the gate could not judge. `url` is that of the run.
    """
    checks, (models, identified) = record.outcome.checks, _model_resources(record.outcome.sides[1])
    predicate = {
        "result": _result_word(record),
        "configuration": [
            _policy_resource(record),
            *_evidence_resources(record),
            _harness_resource(record, identified),
        ],
        **({"url": url} if url else {}),
        **{
            f"{name}Tests": [safe_line(check_name(check)) for check in checks if check.decision == decision]
            for name, decision in (("passed", "pass"), ("warned", "inconclusive"), ("failed", "fail"))
        },
    }
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [*models, *_evaluation_resources(record)],
        "predicateType": PREDICATE_TYPE,
        "predicate": predicate,
    }
    redacted: dict[str, Any] = redact_json(statement)
    return redacted


def _result_word(record: GateRecord) -> str:
    if record.outcome.decision == "pass":
        return "PASSED"
    return "WARNED" if record.outcome.exit_code == 0 else "FAILED"


# What was tested


def _model_resources(side: SideSummary) -> tuple[list[dict[str, Any]], bool]:
    """The models of a side, as precisely as they are known; and whether all that names weights is."""
    found, identified = list[dict[str, Any]](), bool(side.weights)
    for weights in side.weights:
        commit = str(weights.get("commit", ""))
        known = bool(_COMMIT.fullmatch(commit))
        if known:
            found.append(_resource(", ".join(side.models), {"gitCommit": commit}, {"weights": weights}))
        places = {key: _weight_files(str(weights[key])) for key in _PATH_KEYS if weights.get(key)}
        identified &= bool(known or places.get("name")) and all(places[key] for key in places if key != "name")
        found += _file_resources(sorted({file for files in places.values() for file in files}), weights)
    return found, identified


def _file_resources(files: list[Path], weights: dict[str, Any]) -> list[dict[str, Any]]:
    if not files:
        return []
    with progress_bar("hashing the weights", len(files), "files") as advance:
        found = []
        for file in files:
            found.append(_resource(file.as_posix(), {"sha256": sha256_of(file)}, {"weights": weights}))
            advance(1)
    return found


def _weight_files(name: str) -> list[Path]:
    """The files of weights at a path; none where it is no path here."""
    place = Path(name)
    try:
        found = [place] if place.is_file() else list(place.iterdir()) if name and place.is_dir() else []
        return [file for file in found if file.suffix in _WEIGHT_FILES and file.is_file()]
    except (OSError, ValueError):
        return []


def _evaluation_resources(record: GateRecord) -> list[dict[str, Any]]:
    sides = zip(("before", "after"), record.outcome.sides, strict=True)
    return [_resource(f"{name}/{file}", {"sha256": digest}) for name, side in sides for file, digest in side.files]


# By what


def _policy_resource(record: GateRecord) -> dict[str, Any]:
    """The policy: its file's digest, without a file that of all its settings; and since when it is fixed."""
    settings = policy_sha256(record.policy)
    annotations: dict[str, Any] = {"settingsSha256": settings, "settings": record.policy.model_dump(mode="json")}
    if record.registration is not None:
        known = asdict(record.registration)
        annotations["registered"] = {
            "told": known["told"],
            "gitCommit": known["commit"],
            "time": known["time"],
            "beforeEvaluation": known["before_evaluation"],
        }
    name = str(record.policy_file) if record.policy_file else "the defaults"
    return _resource(f"policy: {name}", {"sha256": record.policy_file_sha256 or settings}, annotations)


def _evidence_resources(record: GateRecord) -> list[dict[str, Any]]:
    return [_resource(path, {"sha256": digest}) for path, digest in record.evidence]


def _harness_resource(record: GateRecord, identified: bool) -> dict[str, Any]:
    """What decided and how; `identified`: whether a digest of all that the model after training is made of is known."""
    outcome = record.outcome
    return {
        "name": DISTRIBUTION,
        "uri": f"pkg:pypi/{DISTRIBUTION}@{harness_version()}",
        "annotations": {
            "decision": outcome.decision,
            "modelIdentified": identified,
            "exitCode": outcome.exit_code,
            "reason": safe_line(outcome.reason),
            "decided": record.decided,
            "notes": [safe_line(note) for note in outcome.notes],
            "python": platform.python_version(),
            "sides": {
                name: {
                    "models": list(side.models),
                    "judges": list(side.judges),
                    "seeds": list(side.seeds),
                    "evaluated": list(side.evaluated),
                    "tools": list(side.tools),
                }
                for name, side in zip(("before", "after"), outcome.sides, strict=True)
            },
        },
    }


def _resource(name: str, digest: dict[str, str], annotations: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": safe_line(name), "digest": digest, **({"annotations": annotations} if annotations else {})}
