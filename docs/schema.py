"""Writes the JSON Schemas of what other programs read: `python docs/schema.py`.

`results.schema.json` is that of results.json, of any kind of run; `gate.schema.json` that of `harness gate --json`.
"""

from __future__ import annotations

from pathlib import Path

from harness.handoff.gate_json import gate_schema
from harness.support.artifacts import write_json
from harness.support.run_results import results_schema

FOLDER = Path(__file__).parent
SCHEMA = FOLDER / "results.schema.json"
GATE_SCHEMA = FOLDER / "gate.schema.json"

if __name__ == "__main__":
    write_json(SCHEMA, results_schema())
    write_json(GATE_SCHEMA, gate_schema())
