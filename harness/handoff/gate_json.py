"""The gate's decision as one JSON object: every check, what each side was, and the whole policy."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from harness.handoff.markdown import FLIP_TEXT_LIMIT, flip_texts
from harness.support.artifacts import finite_or_null
from harness.support.redaction import redact_json
from harness.support.versions import DISTRIBUTION, library_version

if TYPE_CHECKING:
    from harness.gate.decision import GateOutcome
    from harness.gate.flips import PromptFlip
    from harness.gate.policy import Policy


def gate_json(
    outcome: GateOutcome, policy: Policy, paths: tuple[Path, Path], *, texts: bool = False
) -> dict[str, object]:
    """The outcome as a JSON object; `texts`: with prompts and answers, which may be harmful."""
    return {
        "schema_version": 1,
        "decision": outcome.decision,
        "exit_code": outcome.exit_code,
        "reason": outcome.reason,
        "before": str(paths[0]),
        "after": str(paths[1]),
        "sides": redact_json(dict(zip(("before", "after"), map(asdict, outcome.sides), strict=True))),
        "harness_version": library_version(DISTRIBUTION),
        "policy": policy.model_dump(mode="json"),
        "checks": [{key: finite_or_null(value) for key, value in asdict(check).items()} for check in outcome.checks],
        "flips": [_flip_content(flip, texts) for flip in outcome.flips],
        "noise": [asdict(noise) for noise in outcome.noise],
        "notes": list(outcome.notes),
    }


def _flip_content(flip: PromptFlip, with_text: bool) -> dict[str, str]:
    named = {"metric": flip.metric, "prompt_id": flip.prompt_id, "category": flip.category}
    return named | (flip_texts(flip, FLIP_TEXT_LIMIT) if with_text else {})
