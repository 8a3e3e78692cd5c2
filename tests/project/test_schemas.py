"""The JSON Schemas of what people write: of the models that read it, whole, and what editors need to find them."""

import importlib.util
import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from harness.experiments import schema as experiments
from harness.gate import policy
from harness.gate.policy import POLICY_TEMPLATE, Guard, Policy
from harness.recipes import schema as recipes
from harness.support.json_schema import describe_keys, schema_comment, yaml_comments

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("schema", ROOT / "docs" / "schema.py")
written = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(written)

RECIPE = json.loads((ROOT / "harness/recipes/recipe.schema.json").read_text())
POLICY = json.loads((ROOT / "harness/gate/policy.schema.json").read_text())
PACKAGED = sorted((ROOT / "harness/recipes").glob("*.yaml"))
KINDS = {
    kind
    for module in (recipes, experiments, policy)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ == module.__name__
}


@pytest.mark.parametrize("path", written.SCHEMAS, ids=lambda path: path.name)
def test_the_schemas_are_those_of_the_models(path):
    assert json.loads(path.read_text()) == written.SCHEMAS[path](), "run `python docs/schema.py`"


@pytest.mark.parametrize("schema", [RECIPE, POLICY], ids=["recipe", "policy"])
def test_a_schema_is_one(schema):
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_packaged_recipes_fit_the_schema_that_their_first_line_names(path):
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", path.read_text().splitlines()[0])
    jsonschema.validate(yaml.safe_load(path.read_text()), json.loads((path.parent / found[1]).read_text()))


def test_what_init_writes_names_a_schema_that_is_there(tmp_path, command):
    file = tmp_path / "policy.yaml"
    assert command("gate", "--init", "--policy", file).returncode == 0
    comment, text = file.read_text().split("\n", 1)
    address = urlsplit(comment.removeprefix("# yaml-language-server: $schema="))
    assert (address.scheme, text) == ("file", POLICY_TEMPLATE)
    jsonschema.validate(yaml.safe_load(text), json.loads(Path(unquote(address.path)).read_text()))


def test_a_schemas_address_is_one_word_wherever_it_lies(tmp_path, monkeypatch):
    """Editors read to the next blank."""
    folder = tmp_path / "my packages" / "held"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(folder.parent)
    (address,) = re.findall(r"schema=(.*)", schema_comment("held", "some.schema.json"))
    assert unquote(address) == f"file://{folder}/some.schema.json"
    assert " " not in address


MINIMAL = {"name": "mine", "model": "here", "arms": {"raw": {}}}
CATASTROPHIC = yaml.safe_load((ROOT / "harness/recipes/catastrophic.yaml").read_text())


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ({**MINIMAL, "jugde": "lexical"}, "jugde"),
        ({**MINIMAL, "training": {"learning_rat": 1e-6}}, "learning_rat"),
        ({**MINIMAL, "arms": {"raw": {"filter": {"keep_lowest": 5}}}}, "5"),
        ({**MINIMAL, "arms": {"raw": {"loss": "dpo"}}}, "dpo"),
        ({**MINIMAL, "seeds": 3}, "3"),
        ({key: value for key, value in MINIMAL.items() if key != "model"}, "model"),
        ({**CATASTROPHIC, "experimnt": "x"}, "experimnt"),
        ({**CATASTROPHIC, "arms": {}}, "arms"),
    ],
)
def test_a_recipe_that_is_none_does_not_fit(keys, wrong):
    with pytest.raises(jsonschema.ValidationError) as error:
        jsonschema.validate(keys, RECIPE)
    assert wrong in error.value.message + str([each.message for each in error.value.context])


def test_several_models_stand_for_the_one():
    keys = {key: value for key, value in MINIMAL.items() if key != "model"}
    jsonschema.validate({**keys, "models": ["here", "there"]}, RECIPE)
    jsonschema.validate(MINIMAL, RECIPE)


@pytest.mark.parametrize(
    ("keys", "fits"),
    [
        ({"tasks": ["arc_easy", {"name": "gsm8k", "limit": 9}]}, True),
        ({"tasks": [3]}, False),
        ({"training": {"report_to": "wandb"}}, True),
        ({"training": {"report_to": ["wandb"]}}, True),
        ({"training": {"report_to": "wandbb"}}, False),
    ],
)
def test_what_may_be_written_shortly_fits_either_way(keys, fits):
    assert jsonschema.Draft202012Validator(RECIPE).is_valid({**MINIMAL, **keys}) == fits


@pytest.mark.parametrize("keys", [{"alhpa": 0.05}, {"alpha": 0.5}, {"metrics": {"refusal_rate": {"margn": 0.1}}}])
def test_a_policy_that_is_none_does_not_fit(keys):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(keys, POLICY)


@pytest.mark.parametrize("kind", sorted(KINDS, key=lambda kind: kind.__name__), ids=lambda kind: kind.__name__)
def test_every_key_is_described(kind):
    """In its model's docstring; a policy's in the template; one that holds a model of its own, by that one's."""
    known = {**describe_keys(kind), **(yaml_comments(POLICY_TEMPLATE) if kind is Policy else {})}
    inner = {name for name, field in kind.model_fields.items() if "schema." in str(field.annotation)}
    assert not [name for name in kind.model_fields if not known.get(name) and name not in inner]


def test_what_a_docstring_says_of_its_keys():
    class Base(recipes.Strict):
        """What it is.

        `one`: a first thing. `two`, `three`: things of `one`: not a key here. `four`: over
        two lines; `five`: after a semicolon.

        Words on `six`: none, as no sentence begins with it. `nothing`: no key.
        """

        one: int
        two: int
        three: int
        four: int
        five: int
        six: int

    class Further(Base):
        """More.

        `one`: another thing (of these). `seven`: new.
        """

        seven: int

    assert describe_keys(Base) == {
        "one": "A first thing.",
        "two": "Things of `one`: not a key here.",
        "three": "Things of `one`: not a key here.",
        "four": "Over two lines.",
        "five": "After a semicolon.",
    }
    assert describe_keys(Further)["one"] == "Another thing (of these)."
    assert describe_keys(Further)["seven"] == "New."


def test_what_editors_show_of_a_key():
    properties = RECIPE["$defs"]["Recipe"]["properties"]
    assert properties["judge"]["description"].startswith("Who says which answers refuse")
    assert properties["model"]["description"].startswith("`miniature`, `smollm2`, a checkpoint directory")
    assert RECIPE["$defs"]["Filter"]["description"].endswith("with none of the four, all of them.")
    assert POLICY["properties"]["minimum_prompts"]["description"] == "Under this many prompts a metric cannot pass."
    assert POLICY["$defs"]["Guard"]["properties"]["margin"]["description"] == describe_keys(Guard)["margin"]
