"""`harness gate --json`, printed and as a file, and its JSON Schema."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import jsonschema
import pytest

from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.handoff.gate_json import gate_json, gate_schema
from harness.handoff.record import policy_sha256, record_decision
from helpers.samples_files import sides

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "gate.schema.json").read_text())


@pytest.fixture
def gated(tmp_path, command, monkeypatch):
    """Runs the gate in a folder with two sides, `before` and `after`."""
    sides(tmp_path, 90, 60)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: command("gate", "--before", "before", "--after", "after", *arguments)


@pytest.mark.parametrize("asked", [("--json",), ("--json", "-"), ("--json", "--junit", "g.xml")])
def test_json_alone_is_printed(gated, asked):
    done = gated(*asked)
    assert json.loads(done.stdout)["decision"] == "fail"
    assert done.returncode == 1


@pytest.mark.parametrize("asked", [("--json", "gate.json"), ("--json=gate.json",)])
def test_json_with_a_file_is_written_there_and_the_table_is_printed(gated, asked):
    done = gated(*asked, "--junit", "g.xml")
    assert done.stdout.startswith("FAIL: ")
    assert json.loads(Path("gate.json").read_text())["decision"] == "fail"
    assert Path("gate.json").read_bytes().isascii()
    assert Path("g.xml").exists()


def test_it_says_what_it_was_made_by_and_when(gated):
    Path("policy.yaml").write_text("alpha: 0.01\n")
    found = json.loads(gated("--json", "--policy", "policy.yaml").stdout)
    assert found["versions"] == {
        "harness": metadata.version("refusal-displacement"),
        "python": platform.python_version(),
        "before": ["lm-eval 0.4.13"],
        "after": ["lm-eval 0.4.13"],
    }
    assert timedelta(0) <= datetime.now(UTC) - datetime.fromisoformat(found["decided"]) < timedelta(minutes=5)
    assert found["policy_file"] == {"path": "policy.yaml", "sha256": hashlib.sha256(b"alpha: 0.01\n").hexdigest()}
    canonical = json.dumps(found["policy"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert found["policy_sha256"] == hashlib.sha256(canonical.encode()).hexdigest()
    assert json.loads(gated("--json").stdout)["policy_file"] is None


def test_the_policys_hash_is_of_its_settings_and_not_of_how_they_were_written():
    assert policy_sha256(Policy()) == policy_sha256(Policy(alpha=0.025))
    assert policy_sha256(Policy()) != policy_sha256(Policy(alpha=0.02))


@pytest.mark.parametrize("texts", [False, True])
@pytest.mark.parametrize("after", [60, 88, 90])
def test_it_fits_the_published_schema(tmp_path, after, texts):
    paths = sides(tmp_path, 90, after)
    record = record_decision(run_gate(*paths, Policy()), Policy(), paths)
    content = json.loads(json.dumps(gate_json(record, texts=texts), allow_nan=False))
    jsonschema.validate(content, SCHEMA)
    assert content.keys() == SCHEMA["properties"].keys()


def test_what_is_not_finite_is_null_in_it(tmp_path):
    paths = sides(tmp_path, 90, 60)
    outcome = run_gate(*paths, Policy())
    odd = replace(outcome, checks=(replace(outcome.checks[0], p_value=math.nan), *outcome.checks[1:]))
    content = gate_json(record_decision(odd, Policy(), paths))
    assert content["checks"][0]["p_value"] is None
    jsonschema.validate(json.loads(json.dumps(content)), SCHEMA)


@pytest.mark.parametrize("key", ["decision", "policy_sha256", "sides", "versions"])
def test_the_schema_refuses_what_lacks_a_key(tmp_path, key):
    paths = sides(tmp_path, 90, 90)
    content = json.loads(json.dumps(gate_json(record_decision(run_gate(*paths, Policy()), Policy(), paths))))
    del content[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, SCHEMA)


def test_the_published_schema_is_the_codes():
    assert gate_schema() == SCHEMA, "run `python docs/schema.py`"
