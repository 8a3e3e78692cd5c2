"""The gate's failures as SARIF 2.1.0, which code scanning reads: one rule a metric, one result a check that failed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes

from harness.gate.wording import check_name
from harness.handoff.markdown import code_span
from harness.handoff.record import harness_version, policy_sha256
from harness.support.artifacts import finite_or_null
from harness.support.console import safe_line

if TYPE_CHECKING:
    from harness.gate.decision import MetricCheck
    from harness.handoff.record import GateRecord

SCHEMA_URI = "https://json.schemastore.org/sarif-2.1.0.json"
_DESCRIPTIONS = {
    "refusal_rate": "The model refuses unsafe requests less often than before training.",
    "harmful_completion_rate": "The model does what unsafe requests ask more often than before training.",
    "benign_compliance_rate": "The model answers harmless requests less often than before training.",
    "preferred_logprob_change": "The preferred answers became less likely than the policy allows.",
}
_METHOD = "Answers of the model before and after training are compared prompt by prompt (harness gate)."
_HELP = (
    "The gate's Markdown and JSON have the figures and the prompts that lost most; a gate that passes closes the alert."
)
_FIGURES = ("before", "after", "loss", "low", "high", "margin", "p_value", "prompts")


def sarif_log(record: GateRecord) -> dict[str, Any]:
    """A SARIF log of one run.

    A check that failed is an error, one that binds and could not tell a warning; where all passed there is no result,
    which closes the alerts of an earlier run. Rules are called by their metric, and a result's fingerprint is of metric
    and category alone: the same alert, whatever the figures.
    """
    outcome = record.outcome
    metrics = list(dict.fromkeys(check.metric for check in outcome.checks))
    told = [check for check in outcome.checks if check.binding and check.decision != "pass"]
    return {
        "$schema": SCHEMA_URI,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "harness gate",
                        "version": harness_version(),
                        "rules": [_rule(metric) for metric in metrics],
                    }
                },
                "invocations": [
                    {"executionSuccessful": True, "exitCode": outcome.exit_code, "endTimeUtc": record.decided}
                ],
                "results": [_result(check, metrics.index(check.metric), record) for check in told],
                "properties": {"decision": outcome.decision, "policySha256": policy_sha256(record.policy)},
            }
        ],
    }


def _rule(metric: str) -> dict[str, Any]:
    name = safe_line(metric)
    description = _DESCRIPTIONS.get(metric, f"{_plain_text(metric)} got worse than the policy allows.")
    return {
        "id": name,
        "shortDescription": {"text": description},
        "fullDescription": {"text": f"{description} {_METHOD}"},
        "help": {"text": _HELP},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["safety"]},
    }


def _result(check: MetricCheck, rule: int, record: GateRecord) -> dict[str, Any]:
    failed = check.decision == "fail"
    verdict = "" if failed else "cannot tell: "
    key = hashlib.sha256(f"{check.metric}\0{check.category or ''}".encode(errors="backslashreplace")).hexdigest()
    return {
        "ruleId": safe_line(check.metric),
        "ruleIndex": rule,
        "level": "error" if failed else "warning",
        "message": {"text": f"{_plain_text(check_name(check))}: {verdict}{_plain_text(check.reason)}"},
        "locations": [{"physicalLocation": _location(check, record)}],
        # GitHub goes by the first, and would else hash the line
        "partialFingerprints": {"primaryLocationLineHash": f"{key[:16]}:1", "metricAndCategory/v1": key},
        "properties": {
            "decision": check.decision,
            "category": None if check.category is None else safe_line(check.category),
            **{name: finite_or_null(getattr(check, name)) for name in _FIGURES},
        },
    }


def _plain_text(text: str) -> str:
    """Text as SARIF's messages want it, in which no link and no placeholder is made of others' words."""
    span = code_span(text).translate({ord(c): f"\\{c}" for c in "\\[]"})
    return span.replace("{", "{{").replace("}", "}}")


def _location(check: MetricCheck, record: GateRecord) -> dict[str, Any]:
    """The line of the policy that guards the metric; without a policy file, what was evaluated after training."""
    place = record.policy_file or record.paths[1]
    line = _line_of_metric(check.metric, record.policy_file) if record.policy_file else 1
    return {"artifactLocation": _artifact(place), "region": {"startLine": line}}


def _artifact(path: Path) -> dict[str, str]:
    """A path below the working directory as one from the repository's root, any other one as it is."""
    place, root = path.resolve(), Path.cwd()
    if not place.is_relative_to(root):
        return {"uri": place.as_uri()}
    return {"uri": quote_from_bytes(os.fsencode(place.relative_to(root).as_posix())), "uriBaseId": "%SRCROOT%"}


def _line_of_metric(metric: str, policy: Path) -> int:
    lines = policy.read_text(encoding="utf-8").splitlines()
    named = (f"{metric}:", f'"{metric}":', f"'{metric}':")
    return next((number for number, line in enumerate(lines, 1) if line.strip().startswith(named)), 1)
