"""Writes the JSON Schema of results.json, of any kind of run, to docs/results.schema.json: `python docs/schema.py`."""

from __future__ import annotations

from pathlib import Path

from harness.support.artifacts import write_json
from harness.support.run_results import results_schema

SCHEMA = Path(__file__).parent / "results.schema.json"

if __name__ == "__main__":
    write_json(SCHEMA, results_schema())
