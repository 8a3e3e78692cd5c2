"""The gate's decision as one JSON object: every check, what each side was, the whole policy; and its JSON Schema."""

from __future__ import annotations

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from harness.handoff.markdown import FLIP_TEXT_LIMIT, flip_texts
from harness.handoff.record import harness_version, policy_sha256
from harness.support.artifacts import finite_or_null
from harness.support.redaction import redact_json

if TYPE_CHECKING:
    from harness.gate.flips import PromptFlip
    from harness.gate.side_summary import SideSummary
    from harness.handoff.record import GateRecord

SCHEMA_VERSION = 1
"""Keys are added under the same version, and none is taken away or means something else."""


def gate_json(record: GateRecord, *, texts: bool = False) -> dict[str, Any]:
    """The decision as a JSON object; `texts`: with prompts and answers, which may be harmful."""
    outcome, sides = record.outcome, dict(zip(("before", "after"), record.outcome.sides, strict=True))
    return {
        "schema_version": SCHEMA_VERSION,
        "decision": outcome.decision,
        "exit_code": outcome.exit_code,
        "reason": outcome.reason,
        "decided": record.decided,
        "before": str(record.paths[0]),
        "after": str(record.paths[1]),
        "sides": redact_json({name: _side_content(side) for name, side in sides.items()}),
        "harness_version": harness_version(),
        "versions": {
            "harness": harness_version(),
            "python": platform.python_version(),
            **{name: list(side.tools) for name, side in sides.items()},
        },
        "policy": record.policy.model_dump(mode="json"),
        "policy_sha256": policy_sha256(record.policy),
        "policy_file": _policy_file(record),
        "checks": [{key: finite_or_null(value) for key, value in asdict(check).items()} for check in outcome.checks],
        "flips": [_flip_content(flip, texts) for flip in outcome.flips],
        "noise": [asdict(noise) for noise in outcome.noise],
        "notes": list(outcome.notes),
    }


def gate_schema() -> dict[str, Any]:
    """The JSON Schema of that object; a number that is not finite is null in it."""
    from pydantic import TypeAdapter

    from harness.gate.decision import Decision, MetricCheck
    from harness.gate.flips import PromptFlip
    from harness.gate.noise import MetricNoise
    from harness.gate.policy import Policy
    from harness.gate.side_summary import SideSummary

    known: dict[str, Any] = {}
    for kind in (MetricCheck, PromptFlip, MetricNoise, SideSummary, Policy):
        found = TypeAdapter[Any](kind).json_schema(mode="serialization")
        known |= found.pop("$defs", {}) | {kind.__name__: found}
    _describe_as_written(known)
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    hash_text = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    side = _named("SideSummary")
    fields = _object(
        schema_version={"const": SCHEMA_VERSION},
        decision={"enum": list(get_args(Decision))},
        exit_code={"enum": [0, 1, 3]},
        reason=text,
        decided={"type": "string", "format": "date-time"},
        before=text,
        after=text,
        sides=_object(before=side, after=side),
        harness_version=text,
        versions=_object(harness=text, python=text, before=texts, after=texts),
        policy=_named("Policy"),
        policy_sha256=hash_text,
        policy_file={"anyOf": [_object(path=text, sha256=hash_text), {"type": "null"}]},
        checks={"type": "array", "items": _named("MetricCheck")},
        flips={"type": "array", "items": _named("PromptFlip")},
        noise={"type": "array", "items": _named("MetricNoise")},
        notes=texts,
    )
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "harness gate --json"}
    return head | fields | {"$defs": dict(sorted(known.items()))}


def _describe_as_written(known: dict[str, Any]) -> None:
    """Makes the schemas of our own records those of their JSON: every key is there, and null what is not finite."""
    for name in ("tools", "files"):
        del known["SideSummary"]["properties"][name]
    for name in ("MetricCheck", "ReadingCheck", "SideSummary"):
        known[name]["required"] = list(known[name]["properties"])
        for place in known[name]["properties"].values():
            place.pop("default", None)
            if place.get("type") == "number":
                place["type"] = ["number", "null"]
    known["PromptFlip"]["required"] = ["metric", "prompt_id", "category"]


def _named(definition: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{definition}"}


def _object(**fields: Any) -> dict[str, Any]:
    """The schema of an object that has all of these, and may have others."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def _side_content(side: SideSummary) -> dict[str, Any]:
    """A side; the tools are among the versions, the files in the statement."""
    return {name: value for name, value in asdict(side).items() if name not in ("tools", "files")}


def _policy_file(record: GateRecord) -> dict[str, str] | None:
    if record.policy_file is None or record.policy_file_sha256 is None:
        return None
    return {"path": str(record.policy_file), "sha256": record.policy_file_sha256}


def _flip_content(flip: PromptFlip, with_text: bool) -> dict[str, str]:
    named = {"metric": flip.metric, "prompt_id": flip.prompt_id, "category": flip.category}
    return named | (flip_texts(flip, FLIP_TEXT_LIMIT) if with_text else {})
