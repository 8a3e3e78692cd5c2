"""Task files of the user's own: what a recipe may name, and what does not run or is not read unasked."""

import json

import pytest

from harness.experiments.any_recipe import load_any_recipe
from harness.recipes.loading import load_recipe
from harness.recipes.schema import OwnTask, Recipe
from harness.recipes.task_files import fingerprint_tasks, read_task_file
from harness.support.errors import HarnessError
from helpers.own_tasks import SUMS, write_tasks

MINE = "name: mine\nmodel: some/model\narms: {raw: {}}\n"


def read(path, *, trusted=False):
    return read_task_file(OwnTask(name=str(path)), trusted=trusted)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A task's folder, a table elsewhere, and a working directory apart from both."""
    for name in ("tasks", "elsewhere", "here"):
        (tmp_path / name).mkdir()
    (tmp_path / "elsewhere" / "sums.jsonl").write_text(json.dumps({"question": "a", "answer": "b"}) + "\n")
    write_tasks(tmp_path / "tasks")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def test_a_plain_task_is_read(places):
    found = read(places / "tasks" / "sums.yaml")
    assert (found.name, found.is_group, found.data, found.metrics, found.code) == (
        "my_sums", False, ("sums.jsonl",), ("exact_match",), None
    )  # fmt: skip
    assert found.data_folder == places / "tasks"
    assert {name.rsplit("/", 1)[1] for name in found.fingerprint()} == {"sums.yaml", "sums.jsonl"}


CODE = {
    "function": (SUMS + "process_docs: !function utils.steal\n", "names code"),
    "class": (SUMS + "class: !function utils.Steal\n", "names code"),
    "plain class": (SUMS + "class: utils.Steal\n", "asks to run code .class"),
    "unsafe": (SUMS + "unsafe_code: true\n", "asks to run code .unsafe_code"),
    "script": (SUMS.replace("dataset_path: json", "dataset_path: ./load.py"), "by a script"),
    "evaluate": (SUMS.replace("aggregation: mean", "aggregation: mean, hf_evaluate: true"), "from the hub"),
    "nested": (SUMS.replace("{function: take_first}", "{function: !function utils.steal}"), "names code"),
    "included": (SUMS + "include: [base.yaml]\n", "base.yaml names code"),
}


@pytest.mark.parametrize(("text", "told"), CODE.values(), ids=CODE)
def test_code_does_not_run_unasked(places, text, told):
    (places / "tasks" / "base.yaml").write_text("doc_to_text: !function utils.steal\n")
    (places / "tasks" / "sums.yaml").write_text(text)
    with pytest.raises(HarnessError, match=f"{told}.*trust_task_code"):
        read(places / "tasks" / "sums.yaml")
    assert read(places / "tasks" / "sums.yaml", trusted=True).code


def test_of_a_group_every_file_beside_it_counts(places):
    (places / "tasks" / "both.yaml").write_text("group: both\ntask: [my_sums, my_capitals]\n")
    assert {file.name for file in read(places / "tasks" / "both.yaml").yaml_files} == {
        "both.yaml", "sums.yaml", "capitals.yaml"
    }  # fmt: skip
    assert not read(places / "tasks" / "both.yaml").needs_packaged
    (places / "tasks" / "more.yaml").write_text("group: more\ntask: [my_sums, {task: gsm8k, num_fewshot: 2}]\n")
    assert read(places / "tasks" / "more.yaml").needs_packaged
    (places / "tasks" / "sums.yaml").write_text(CODE["function"][0])
    with pytest.raises(HarnessError, match="sums.yaml names code"):
        read(places / "tasks" / "both.yaml")


@pytest.mark.parametrize(
    "named",
    [
        "PLACES/elsewhere/sums.jsonl",
        "../elsewhere/sums.jsonl",
        "../elsewhere/*.jsonl",
        "link.jsonl",
        "file://PLACES/elsewhere/sums.jsonl",
        "../elsewhere/absent.jsonl",
    ],
)
def test_no_table_from_elsewhere_is_read(places, named):
    (places / "tasks" / "link.jsonl").symlink_to(places / "elsewhere" / "sums.jsonl")
    (places / "tasks" / "sums.yaml").write_text(SUMS.replace("sums.jsonl", named.replace("PLACES", str(places))))
    with pytest.raises(HarnessError, match="outside the task's folder"):
        read(places / "tasks" / "sums.yaml")
    assert read(places / "tasks" / "sums.yaml", trusted=True).name == "my_sums"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: 1\n", "names no task or group"),
        ("- a\n", "holds no keys"),
        ("task: [", "is not YAML"),
        ("task: &a x\nb: *a\n", "aliases"),
        ("task: refusal_displacement_mine\n", "calls itself refusal_displacement_mine"),
        ("task: x\ninclude: absent.yaml\n", "no such task"),
    ],
)
def test_what_is_no_task_is_told(places, text, told):
    (places / "tasks" / "sums.yaml").write_text(text)
    with pytest.raises(HarnessError, match=told):
        read(places / "tasks" / "sums.yaml")


# In recipes


def written(places, text):
    (places / "tasks" / "mine.yaml").write_text(MINE + text)
    return str(places / "tasks" / "mine.yaml")


def test_a_recipe_names_tasks_in_either_form(places):
    found = load_recipe(written(places, "tasks: [gsm8k, sums.yaml, {name: capitals.yaml, limit: 3, metric: acc}]\n"))
    assert [(task.name, task.limit, task.metric) for task in found.tasks] == [
        ("gsm8k", None, None),
        (str(places / "tasks" / "sums.yaml"), None, None),
        (str(places / "tasks" / "capitals.yaml"), 3, "acc"),
    ]
    assert Recipe.model_validate(found.model_dump(mode="json")) == found


def test_the_command_line_adds_tasks_and_limits_all(places):
    file = written(places, "tasks: [gsm8k, {name: sums.yaml, limit: 3}]\n")
    found = load_any_recipe(file, limit=5, tasks=["../tasks/capitals.yaml"])
    assert [(task.name.rsplit("/", 1)[-1], task.limit) for task in found.tasks] == [
        ("gsm8k", 5), ("sums.yaml", 3), ("capitals.yaml", 5)
    ]  # fmt: skip
    with pytest.raises(HarnessError, match="--tasks does not know the experiment"):
        load_any_recipe("catastrophic", tasks=["gsm8k"])


@pytest.mark.parametrize("form", ["{}", "{{name: {}, limit: 2}}"])
def test_a_recipe_names_no_task_from_elsewhere(places, form):
    write_tasks(places / "elsewhere")
    with pytest.raises(HarnessError, match="outside the recipe's folder.*--tasks .*elsewhere/sums.yaml"):
        load_recipe(written(places, f"tasks: [{form.format('../elsewhere/sums.yaml')}]\n"))
    elsewhere = str(places / "elsewhere" / "sums.yaml")
    assert load_any_recipe(written(places, ""), tasks=[elsewhere]).tasks[0].name == elsewhere


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ("[gsm8k, gsm8k]", "gsm8k is there twice"),
        ("[refusal_displacement_xstest]", "one of the harness's own"),
        ("[{name: a, limits: 3}]", "Did you mean 'limit'"),
        ("[{name: a, limit: 0}]", "tasks.0.limit"),
    ],
)
def test_wrong_tasks_are_told(places, tasks, told):
    with pytest.raises(HarnessError, match=told):
        load_recipe(written(places, f"tasks: {tasks}\n"))


def test_what_an_evaluation_depends_on_follows_the_files(places):
    found = load_recipe(written(places, "tasks: [sums.yaml, {name: gsm8k, limit: 3}]\n"))
    first = fingerprint_tasks(found)
    assert fingerprint_tasks(found) == first
    guarded = [task.model_copy(update={"metric": "exact_match"}) for task in found.tasks]
    assert fingerprint_tasks(found.model_copy(update={"tasks": tuple(guarded)})) == first
    (places / "tasks" / "sums.jsonl").write_text(json.dumps({"question": "c", "answer": "d"}) + "\n")
    assert fingerprint_tasks(found) != first
