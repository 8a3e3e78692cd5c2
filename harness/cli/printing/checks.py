"""What `harness score --check` says of preference files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.support.console import safe_line

if TYPE_CHECKING:
    from harness.preferences.checking import FileCheck

_MOST_TOLD = 20
"""Rows of a file whose problems are printed one by one; --json has all."""


def print_checks(checks: Sequence[FileCheck]) -> None:
    """A line a problem as `file:row: what`, one a warning, and one in the end."""
    for check in checks:
        file = safe_line(check.file)
        for number, said in check.problems[:_MOST_TOLD]:
            print(f"{file}:{number}: {safe_line(said)}" if number else f"{file}: {safe_line(said)}")
        if (more := len(check.problems) - _MOST_TOLD) > 0:
            print(f"{file}: {more} more; --json lists them")
        for said, rows in check.warnings.items():
            print(f"{file}: warning: {len(rows)} of {check.rows} rows {said} (first row {rows[0]})")
    problems = sum(len(check.problems) for check in checks)
    print(f"{sum(check.rows for check in checks)} rows in {len(checks)} files, {problems} problems")


def checks_json(checks: Sequence[FileCheck]) -> dict[str, Any]:
    """The same as a JSON object, with every row."""
    return {
        "schema_version": 1,
        "problems": sum(len(check.problems) for check in checks),
        "files": [
            {
                "file": check.file,
                "rows": check.rows,
                "problems": [{"row": number or None, "problem": said} for number, said in check.problems],
                "warnings": [{"warning": said, "rows": rows} for said, rows in check.warnings.items()],
            }
            for check in checks
        ],
    }
