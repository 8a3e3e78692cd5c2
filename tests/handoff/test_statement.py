"""The in-toto statement: its fields by the specification, its digests by hand, and a signature over it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.handoff.record import policy_sha256, record_decision
from harness.handoff.statement import gate_statement
from helpers.samples_files import sides


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def gated(tmp_path, command, monkeypatch):
    """Writes the statement of two sides, and reads it."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)

    def gate(after: int, *arguments: str, **changes: object) -> tuple[dict, str]:
        sides(Path(), 90, after, **changes)
        done = command("gate", "--before", "before", "--after", "after", "--statement", "s.json", *arguments)
        return json.loads(Path("s.json").read_text()), done.stdout

    return gate


def check_descriptor(resource: dict) -> None:
    """By spec/v1/resource_descriptor.md: one of three at least, and no field of another name."""
    assert resource.keys() & {"uri", "digest", "content"}
    assert resource.keys() <= {"name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations"}
    for kind, value in resource.get("digest", {}).items():
        assert re.fullmatch({"sha256": r"[0-9a-f]{64}", "gitCommit": r"[0-9a-f]{40}"}[kind], value)


def test_its_fields_are_those_of_the_specification(gated):
    statement, _ = gated(60)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert statement.keys() == {"_type", "subject", "predicateType", "predicate"}
    predicate = statement["predicate"]
    assert predicate.keys() == {"result", "configuration", "passedTests", "warnedTests", "failedTests"}
    for resource in [*statement["subject"], *predicate["configuration"]]:
        check_descriptor(resource)
    assert all("digest" in subject for subject in statement["subject"])


@pytest.mark.parametrize(
    ("after", "policy", "word"),
    [
        (90, "stop", "PASSED"),
        (60, "pass", "FAILED"),
        (88, "stop", "FAILED"),
        (88, "fail", "FAILED"),
        (88, "pass", "WARNED"),
    ],
)
def test_only_what_passed_is_passed(gated, after, policy, word):
    Path("policy.yaml").write_text(f"inconclusive: {policy}\n")
    statement, _ = gated(after, "--policy", "policy.yaml")
    assert statement["predicate"]["result"] == word


def test_every_check_is_in_one_of_the_lists(gated):
    predicate = gated(60)[0]["predicate"]
    assert "refusal_rate" in predicate["failedTests"]
    assert "benign_compliance_rate" in predicate["passedTests"]
    outcome = run_gate(Path("before"), Path("after"), Policy())
    assert len({*predicate["passedTests"], *predicate["warnedTests"], *predicate["failedTests"]}) == len(outcome.checks)


def test_its_subject_are_the_evaluations_of_both_sides_and_the_models_commit(gated):
    commit = "0123456789abcdef0123456789abcdef01234567"
    config = {"model": "hf", "model_args": {"pretrained": "org/tuned"}, "random_seed": 0, "numpy_seed": 1234}
    statement, _ = gated(90, config=config | {"model_sha": commit})
    digests = {subject["name"]: subject["digest"] for subject in statement["subject"]}
    assert digests.pop("tuned") == {"gitCommit": commit}
    assert statement["predicate"]["configuration"][-1]["annotations"]["modelIdentified"] is True
    paths = [path for side in ("before", "after") for path in Path(side).rglob("*.json*")]
    files = {str(path): {"sha256": sha(path.read_bytes())} for path in paths}
    assert digests == files
    assert len(files) == 6


def test_weights_that_lie_where_the_evaluation_says_are_hashed(gated):
    Path("weights").mkdir()
    Path("weights/model.safetensors").write_bytes(b"w")
    Path("weights/notes.txt").write_bytes(b"n")
    statement, _ = gated(90, model="weights")
    found = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert found["weights/model.safetensors"] == sha(b"w")
    assert not [name for name in found if "notes" in name]


@pytest.mark.parametrize(
    ("weights", "identified"),
    [
        (("here",), True),
        (("here", "gone"), False),
        (("gone",), False),
        ((), False),
    ],
)
def test_a_model_is_identified_where_all_of_its_weights_are(tmp_path, monkeypatch, weights, identified):
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("here/model.safetensors").write_bytes(b"w")
    named = [{"name": name} for name in weights]
    assert identify(*named) is identified
    assert identify(*({**each, "commit": "0" * 40} for each in named)) is bool(named)
    assert identify(*({**each, "name": "here", "peft": each["name"]} for each in named)) is identified


def identify(*weights: dict) -> bool:
    """Whether the statement of a decision on models of these weights says that the model is identified."""
    sides(Path(), 90, 90)
    outcome = run_gate(Path("before"), Path("after"), Policy())
    outcome = replace(outcome, sides=(outcome.sides[0], replace(outcome.sides[1], weights=weights)))
    statement = gate_statement(record_decision(outcome, Policy(), (Path("before"), Path("after"))))
    return statement["predicate"]["configuration"][-1]["annotations"]["modelIdentified"]


def test_its_configuration_is_the_policy_and_what_else_decided(gated):
    text = "alpha: 0.03\nmetrics: {refusal_rate: {}, harmful_completion_rate: {}, benign_compliance_rate: {}}\n"
    Path("policy.yaml").write_text(text)
    statement, shown = gated(90, "--policy", "policy.yaml")
    policy, made_by = statement["predicate"]["configuration"]
    assert policy["name"] == "policy: policy.yaml"
    assert policy["digest"] == {"sha256": sha(text.encode())}
    assert policy["annotations"]["settings"]["alpha"] == 0.03
    settings = json.dumps(policy["annotations"]["settings"], sort_keys=True, separators=(",", ":"))
    assert policy["annotations"]["settingsSha256"] == sha(settings.encode())
    told = policy["annotations"]["registered"]["told"]
    assert policy["annotations"]["registered"]["beforeEvaluation"] is None
    assert f"Note: {told}" in shown
    assert made_by["annotations"]["decision"] == "pass"
    assert made_by["annotations"]["modelIdentified"] is False
    assert made_by["annotations"]["sides"]["after"]["tools"] == ["lm-eval 0.4.13"]


def test_without_a_file_the_policys_digest_is_that_of_its_settings(gated):
    policy = gated(90)[0]["predicate"]["configuration"][0]
    assert policy["name"] == "policy: the defaults"
    assert policy["digest"]["sha256"] == policy_sha256(Policy()) == policy["annotations"]["settingsSha256"]


def test_it_is_alike_but_for_the_time(tmp_path):
    paths = sides(tmp_path, 90, 60)
    first, second = (
        replace(record_decision(run_gate(*paths, Policy()), Policy(), paths), decided="2026-01-01T00:00:00Z")
        for _ in range(2)
    )
    assert json.dumps(gate_statement(first)) == json.dumps(gate_statement(second))
    later = replace(second, decided="2026-01-01T00:00:01Z")
    assert json.dumps(gate_statement(later)).replace("00:00:01Z", "00:00:00Z") == json.dumps(gate_statement(first))


def test_no_prompt_and_no_answer_is_in_it(gated):
    text = json.dumps(gated(60, "--with-text")[0])
    assert "answer 0" not in text
    assert "Request" not in text


def test_the_run_that_made_it_is_named(tmp_path):
    paths = sides(tmp_path, 90, 90)
    record = record_decision(run_gate(*paths, Policy()), Policy(), paths)
    assert gate_statement(record, "https://github.com/o/r/actions/runs/7")["predicate"]["url"].endswith("/runs/7")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_a_signature_over_it_holds_until_a_byte_changes(gated):
    gated(90)

    def openssl(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["openssl", *arguments], capture_output=True, text=True)

    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem")
    openssl("ec", "-in", "key.pem", "-pubout", "-out", "public.pem")
    openssl("dgst", "-sha256", "-sign", "key.pem", "-out", "s.sig", "s.json")
    checked = ("dgst", "-sha256", "-verify", "public.pem", "-signature", "s.sig", "s.json")
    assert openssl(*checked).stdout == "Verified OK\n"
    Path("s.json").write_text(Path("s.json").read_text().replace('"PASSED"', '"FAILED"'))
    assert openssl(*checked).returncode == 1
