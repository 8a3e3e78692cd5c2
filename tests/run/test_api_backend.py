"""The backend `api`: recipes that ask an address, and runs that serve their checkpoints themselves."""

import json
from collections import Counter

import pytest

from harness.evaluation.output import read_evaluations
from harness.models.paths import ModelPath
from harness.models.served.answering import sample_served
from harness.recipes.loading import load_recipe
from harness.recipes.reaching import reach_model
from harness.recipes.schema import Endpoint
from harness.run.cost.dry_run import dry_run
from harness.run.regression import run_regression
from harness.support.errors import HarnessError
from helpers.run_inputs import PROMPTS, SMALL
from helpers.strict_api import COMPLIANCE, REFUSAL, StrictApi, serving_command


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text(PROMPTS)
    return f"prompts={file}"


ASKED = ["backend=api", "endpoint={base_url: 'http://127.0.0.1:9/v1', model: tiny}"]


@pytest.mark.parametrize(("override", "told"), [
    (["backend=api"], "say what the backend api asks"),
    (ASKED[1:], "the backend hf asks none; choose backend: api"),
    (["backend=api", "endpoint={}"], "give base_url, where a model is asked, or serve"),
    (["backend=api", "endpoint={base_url: 'http://a/v1', serve: 'a {port}'}"], "give base_url"),
    (["backend=api", "endpoint={base_url: 'http://a/v1'}"], "say what the API at base_url calls the model"),
    (["backend=api", "endpoint={base_url: a, model: b}"], "endpoint.base_url: must be of the form"),
    (["backend=api", "endpoint={base_url: 'http://u:pass12@a/v1', model: b}"], "endpoint.base_url: must be of"),
    (["backend=api", "endpoint={base_url: 'http://a/v1?key=pass12', model: b}"], "endpoint.base_url: must be of"),
    (["backend=api", "endpoint={serve: vllm serve}"], "say where the command takes its port"),
    (["backend=api", "endpoint={serve: 'vllm {port} \"'}"], "is no command"),
    (["backend=api", "endpoint={serve: 'a {port}', api_key: x}"], "unknown key 'endpoint.api_key'"),
])  # fmt: skip
def test_an_endpoint_that_is_none_is_refused(override, told):
    with pytest.raises(HarnessError) as error:
        load_recipe("miniature", override)
    assert told in str(error.value)
    assert "pass12" not in str(error.value)


def test_a_run_whose_trained_arms_nothing_serves_is_refused_before_anything_is_run(tmp_path, prompts):
    for start in (run_regression, dry_run):
        with pytest.raises(HarnessError, match="has trained ones to evaluate. Give endpoint.serve.*harness evaluate"):
            start(load_recipe("miniature", [prompts, *ASKED]), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_server_that_is_not_installed_is_told_before_anything_is_run(tmp_path, prompts):
    chosen = load_recipe("miniature", [prompts, "backend=api", "endpoint={serve: 'no-such-server --port {port}'}"])
    with pytest.raises(HarnessError, match="endpoint.serve: no-such-server: no such command"):
        run_regression(chosen, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pairs_are_sampled_from_an_address_and_no_model_is_looked_for(tmp_path, prompts, command, monkeypatch):
    monkeypatch.setenv("HARNESS_ENDPOINT_KEY", "sk-secret-0123456789")
    with StrictApi() as api:
        api.key = "sk-secret-0123456789"
        api.plan = lambda body, before: "429:0.01" if body["seed"] % 2 and not before else "ok"
        endpoint = f"endpoint={{base_url: '{api.url}', model: tiny}}"
        chosen = ["backend=api", endpoint, "model=nobody/nothing", "pairs.temperature=1", "pairs.samples=4", prompts]
        asked = ["preferences", "miniature", "--out", tmp_path / "p.jsonl", *(w for c in chosen for w in ("--set", c))]
        done = command(*asked)
    assert done.returncode == 0, done.stderr
    assert api.refused == []
    assert len(api.answered) == 14 * 4  # unsafe prompts of both splits
    bodies = [json.loads(body) for body in api.answered]
    assert {(body["temperature"], body["max_tokens"], body["model"]) for body in bodies} == {(1.0, 64, "tiny")}
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert rows
    mixed = [row for row in rows if row["chosen_verdict"] != row["rejected_verdict"]]
    assert mixed
    for row in mixed:
        assert row["chosen"][0]["content"].startswith(REFUSAL)
        assert row["rejected"][0]["content"].startswith(COMPLIANCE)
    card = (tmp_path / "p.md").read_text()
    assert f"Model: tiny at {api.url}" in card
    assert not (tmp_path / ".p.jsonl.partial").exists()
    assert "sk-secret" not in card + done.stderr + done.stdout


@pytest.mark.slow
def test_a_run_serves_its_checkpoints_asks_each_once_and_leaves_no_server(tmp_path, prompts, micro):
    mark = tmp_path / "mark"
    chosen = load_recipe(
        "miniature",
        [f"model={micro}", prompts, *SMALL, "arms={raw: {}}", "seeds=[0]", "backend=api",
         f"endpoint={{serve: '{serving_command(mark)}'}}"],
    )  # fmt: skip
    run = tmp_path / "run"
    found = dry_run(chosen, run)
    assert any("as the backend api is not measured" in told for told in found.missing)
    assert not run.exists()
    results = run_regression(chosen, run)
    trained = run / "arms" / "raw" / "seed-0" / "model"
    assert Counter(line.split("\t")[0] for line in mark.read_text().splitlines()) == {str(micro): 2, str(trained): 1}
    for arm in ("baseline", "raw"):
        (evaluation,) = read_evaluations(run / "arms" / arm)
        assert len(evaluation.answers) == 16
        loading = json.loads(evaluation.settings["refusal_displacement_unsafe"].generation)["loading"]
        assert loading == {"backend": "local-chat-completions", "serve": chosen.endpoint.serve}
    (evaluation,) = read_evaluations(run / "arms" / "baseline")
    said = [each.response for each in evaluation.answers if each.doc["unsafe"] and each.doc["split"] == "train"]
    assert all(
        text.startswith((REFUSAL, COMPLIANCE)) for text in said
    )  # the server's words; the model has none of them
    refused = sum(text.startswith(REFUSAL) for text in said) / len(said)
    assert results.arms["baseline"].metrics["refusal_rate"].train.value == pytest.approx(refused)
    assert not list(run.rglob("eval.partial"))
    before = mark.read_text()
    run_regression(chosen, run)
    assert mark.read_text() == before


def test_answers_are_kept_of_the_checkpoint_whatever_its_servers_port(tmp_path, capsys):
    weights = tmp_path / "model" / "weights"
    weights.parent.mkdir()
    endpoint = Endpoint(serve=serving_command(tmp_path / "mark"))
    asked, answers = [], []
    for content in ("one", "one", "two"):
        weights.write_text(content)
        with reach_model(endpoint, ModelPath(str(weights.parent)), tmp_path / "keep") as reached:
            how = {"temperature": 1.0, "max_new_tokens": 4, "seed": 0}
            answers.append(sample_served(reached.use, reached.journal, ["a", "b"], **how))
        asked.append(capsys.readouterr().err.count("2 requests (0 repeated)"))
    assert asked == [1, 0, 1]
    assert answers[0] == answers[1] == answers[2]  # by the server's rule
