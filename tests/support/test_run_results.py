"""The model of results.json: what it writes is what it read, its schema is the published one, and it is strict."""

import json
from pathlib import Path

import jsonschema
import pytest

from harness.support.errors import HarnessError
from harness.support.run_results import (
    RunResults,
    parse_experiment_results,
    parse_run_results,
    results_schema,
)

DOCS = Path(__file__).parents[2] / "docs"
COMMITTED = sorted((DOCS / "results").glob("*.json"))
SCHEMA = json.loads((DOCS / "results.schema.json").read_text())


@pytest.fixture
def content():
    return json.loads((DOCS / "results" / "smollm2_draw0.json").read_text())


def parsed(content):
    return (parse_experiment_results if "experiment" in content else parse_run_results)(content, "results.json")


@pytest.mark.parametrize("file", COMMITTED, ids=lambda file: file.stem)
def test_results_are_written_as_they_were_read_and_fit_the_schema(file):
    text = json.dumps(json.loads(file.read_text()))
    assert json.dumps(parsed(json.loads(text)).to_json()) == text
    jsonschema.validate(json.loads(text), SCHEMA)


def test_the_published_schema_is_the_models():
    assert results_schema() == SCHEMA, "run `python docs/schema.py`"


def test_what_another_version_wrote_is_kept(content):
    content["recipe"]["later"] = "hf"
    content["arms"]["raw"]["later"] = {"value": 1}
    content["recipe"]["arms"]["raw"]["filter"] = {"later": 2}
    results = parsed(content)
    assert json.dumps(results.to_json()) == json.dumps(content)
    assert results.recipe.arms["raw"].filter.keep_lowest is None


def damaged(content, path, value=...):
    *parents, last = path
    place = content
    for part in parents:
        place = place[part]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["arms"], ..., "lacks arms. Run `harness run` again."),
        (["recipe", "judge"], ..., "lacks recipe.judge."),
        (["arms", "raw", "metrics", "refusal_rate", "test"], ..., "lacks arms.raw.metrics.refusal_rate.test."),
        (["arms", "raw", "pairs"], "3", "arms.raw.pairs: needs a whole number, not '3'"),
        (["arms", "raw", "preferred_logprob_change", "value"], float("nan"), "needs a finite number"),
        (["schema_version"], 2, "schema_version: must be 1, not 2"),
    ],
)
def test_what_is_needed_and_not_there_is_told_in_one_line(content, path, value, said):
    with pytest.raises(HarnessError) as error:
        parsed(damaged(content, path, value))
    assert str(error.value).startswith("results.json: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_experiment_is_told():
    with pytest.raises(HarnessError, match="is of no known experiment \\('alchemy'\\)"):
        parsed({"experiment": "alchemy"})


def test_the_results_cannot_be_changed(content):
    with pytest.raises(ValueError, match="frozen"):
        RunResults.model_validate(content).arms = {}
