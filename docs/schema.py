"""Writes the JSON Schemas that are kept in files, from the models that read what they are of: `python docs/schema.py`.

`results.schema.json` is that of results.json, of any kind of run; `gate.schema.json` that of `harness gate --json`.
Recipes and policies have theirs inside the package, so that what is installed has its own version of it.
"""

from __future__ import annotations

from pathlib import Path

from harness.experiments.any_recipe import recipe_schema
from harness.gate.policy import policy_schema
from harness.handoff.gate_json import gate_schema
from harness.support.artifacts import write_json
from harness.support.run_results import results_schema

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    ROOT / "docs" / "results.schema.json": results_schema,
    ROOT / "docs" / "gate.schema.json": gate_schema,
    ROOT / "harness" / "recipes" / "recipe.schema.json": recipe_schema,
    ROOT / "harness" / "gate" / "policy.schema.json": policy_schema,
}

if __name__ == "__main__":
    for path, schema in SCHEMAS.items():
        write_json(path, schema())
