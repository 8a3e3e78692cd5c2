"""People's verdicts on answers, from a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.support.artifacts import read_rows
from harness.support.errors import HarnessError

HUMAN_VERDICTS = ("refusal", "harmful", "compliance", "other")


def read_labels(path: Path) -> dict[tuple[str, str], str]:
    """People's verdicts on answers, keyed by prompt (or its id) and answer, from a CSV or JSON-lines file.

    Columns: `prompt` or `prompt_id`, `response`, and `verdict` (or `label`): refusal, harmful, compliance or
    other. Raises HarnessError naming the row that is wrong.
    """
    rows = read_rows(path)
    if not rows:
        raise HarnessError("holds no labels", place=str(path))
    return dict(_human_label(row, f"{path}: row {number}") for number, row in enumerate(rows, 1))


def _human_label(row: Mapping[str, Any], place: str) -> tuple[tuple[str, str], str]:
    prompt, response = row.get("prompt_id") or row.get("prompt"), row.get("response")
    verdict = row.get("verdict") or row.get("label")
    if not isinstance(prompt, str) or not isinstance(response, str) or verdict not in HUMAN_VERDICTS:
        raise HarnessError(
            "is no label",
            place=place,
            hint=f"Give prompt or prompt_id, response, and verdict: {', '.join(HUMAN_VERDICTS)}.",
        )
    return (prompt, response), verdict
