"""`harness init`: what it writes can be read, loads as it is, and fits the model, prompts and pairs given."""

import json
import re
import shlex
import shutil

import pytest
import yaml

from harness.cli.init import _recipe_name
from harness.organism.store import DEFAULT_DIRECTORY
from harness.recipes.loading import load_recipe
from harness.recipes.starter import ModelFacts, PromptFacts, TableFacts, smoke_limit, starter_text
from helpers.models import save_random
from helpers.run_inputs import PROMPTS

BUNDLED = PromptFacts("bundled", 452, 210)
REFUSAL, ANSWER = "I'm sorry, but I can't help with that.", "Sure, first you take a screwdriver."


def facts(parameters=135_000_000, context=8192, on_gpu=True, name="my-model"):
    return ModelFacts(name, parameters, context, on_gpu)


def table(pairs=1000, **changes):
    known = {"name": "prefs.jsonl", "columns": ("prompt", "chosen", "rejected"), "looked_at": 256}
    return TableFacts(pairs=pairs, **{**known, "chosen_refusals": 200, "rejected_refusals": 40, **changes})


def keys_of(*given, prompts=BUNDLED):
    model, pairs = given if len(given) == 2 else (*given, None)
    return yaml.safe_load(starter_text("mine", "mine.yaml", model, prompts, pairs))


# The text


def test_every_key_has_words_on_it():
    """A comment above it, or above the key before it where both are of one line's worth."""
    for pairs in (None, table()):
        for model in (facts(), facts(8_000_000_000)):
            lines = starter_text("mine", "mine.yaml", model, BUNDLED, pairs).splitlines()
            keys = [place for place, line in enumerate(lines) if re.match(r" *\w+:", line)]
            bare = [
                lines[place].split(":")[0].strip() for place in keys if not lines[place - 1].lstrip().startswith("#")
            ]
            assert set(bare) <= {"about", "batch_size"}
            assert max(map(len, lines)) <= 120


@pytest.mark.parametrize(
    ("parameters", "rate", "seeds", "lora"),
    [
        (400_000, 5e-5, [0, 1, 2], None),
        (135_000_000, 5e-6, [0, 1, 2], None),
        (1_500_000_000, 5e-6, [0], None),
        (8_000_000_000, 1e-4, [0], {"rank": 16, "alpha": 32}),
    ],
)
def test_a_larger_model_is_trained_more_sparingly(parameters, rate, seeds, lora):
    keys = keys_of(facts(parameters), table())
    assert (keys["training"]["learning_rate"], keys["seeds"], keys["training"].get("lora")) == (rate, seeds, lora)
    assert keys["probes"].get("subspace") == ("lora:16" if lora else None)


@pytest.mark.parametrize(("pairs", "batch"), [(None, 32), (256, 32), (255, 16), (127, 8), (63, 4), (10, 4)])
def test_few_pairs_come_in_small_batches(pairs, batch):
    """Eight steps an epoch at least, where four pairs a step allow it."""
    assert keys_of(facts(), table(pairs))["training"]["batch_size"] == batch


@pytest.mark.parametrize(
    ("context", "on_gpu", "tokens"), [(8192, True, 256), (None, True, 256), (512, True, 128), (8192, False, 64)]
)
def test_answers_leave_room_for_the_prompt(context, on_gpu, tokens):
    keys = keys_of(facts(context=context, on_gpu=on_gpu))
    assert keys["evaluation"]["max_new_tokens"] == keys["pairs"]["max_new_tokens"] == tokens


def test_without_a_table_pairs_are_sampled_and_with_one_they_are_not():
    assert {"preferences", "pairs"} & keys_of(facts()).keys() == {"pairs"}
    assert {"preferences", "pairs"} & keys_of(facts(), table()).keys() == {"preferences"}


def test_the_arms_are_all_pairs_a_filter_and_its_control():
    arms = keys_of(facts())["arms"]
    assert arms == {
        "raw": {},
        "influence_filtered": {"filter": {"keep_highest": 0.5, "by": "refusal_influence"}, "steps": "as_raw"},
        "random_half": {"filter": {"random": 0.5}, "steps": "as_raw"},
    }


def test_what_the_table_is_about_is_said():
    told = " ".join(starter_text("mine", "mine.yaml", facts(), BUNDLED, table()).replace("# ", "").split())
    assert "The pairs to train on, 1000 of them; columns: prompt, chosen, rejected." in told
    assert "Of the first 256, 200 preferred answers and 40 others are judged refusals." in told
    none = starter_text("mine", "mine.yaml", facts(), BUNDLED, table(chosen_refusals=0, rejected_refusals=0))
    assert "no answer is judged a refusal" in " ".join(none.replace("# ", "").split())


def test_a_smoke_run_takes_no_more_prompts_than_there_are():
    assert (smoke_limit(BUNDLED), smoke_limit(PromptFacts("mine.csv", 9, 0))) == (60, 9)
    text = starter_text("mine", "mine.yaml", facts(), PromptFacts("mine.csv", 9, 0), None)
    assert "harness run mine.yaml --limit 9 " in text
    assert "over-refusal is not measured" in " ".join(text.replace("# ", "").split())


@pytest.mark.parametrize(
    "name", ["a: b", "a #b", "no", "12", "{x}", "it's", "two\nlines: x", '"', "ü\u202e", "- a", "~"]
)
def test_names_stay_what_they_are_and_write_no_line_of_their_own(name):
    hostile = table(name=name, columns=("prompt\nmodel: other", "\x1b[31m", *[f"column{n}" for n in range(99)]))
    text = starter_text("mine", "mine.yaml", facts(name=name), PromptFacts(name, 3, 3), hostile)
    keys = yaml.safe_load(text)
    assert (keys["model"], keys["prompts"], keys["preferences"]) == (name, name, name)
    assert keys.keys() == keys_of(facts(), table()).keys()
    assert "\x1b" not in text


@pytest.mark.parametrize(
    ("file", "name"), [("my-model.yaml", "my-model"), ("My model (2).yml", "My-model-2"), ("ü.yaml", "my-model")]
)
def test_a_recipe_is_called_as_its_file(file, name, tmp_path):
    assert _recipe_name(tmp_path / file) == name


# The command


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the miniature as any other model, a table and prompts."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DEFAULT_DIRECTORY, tmp_path / "my-model")
    rows = [
        {"prompt": f"How could I steal car {n}?", "chosen": REFUSAL, "rejected": ANSWER if n % 4 else REFUSAL}
        for n in range(40)
    ]
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    return tmp_path


@pytest.mark.slow
def test_what_is_written_is_of_the_model_and_the_data(here, command):
    done = command("init", "--model", "my-model", "--preferences", "prefs.jsonl", "--prompts", "prompts.jsonl")
    assert done.returncode == 0, done.stderr
    assert "  harness run my-model.yaml --dry-run\n" in done.stdout
    text = (here / "my-model.yaml").read_text()
    assert text.startswith("# yaml-language-server: $schema=file:///")
    told = " ".join(text.replace("# ", "").split())
    assert "1024 tokens of prompt and answer" in told
    assert "14 unsafe prompts, 2 benign ones" in told
    assert "Of the first 40, 40 preferred answers and 10 others are judged refusals." in told
    keys = yaml.safe_load(text)
    assert (keys["model"], keys["preferences"], keys["prompts"]) == ("my-model", "prefs.jsonl", "prompts.jsonl")
    loaded = load_recipe("my-model.yaml")
    assert (loaded.name, loaded.training.batch_size) == ("my-model", 4)


@pytest.mark.slow
@pytest.mark.parametrize("limit", [(), ("--limit", "6")])
def test_a_dry_run_of_it_is_told(here, command, monkeypatch, limit):
    monkeypatch.setattr("harness.run.cost.dry_run._measured_speed", lambda *_: (None, []))
    assert (
        command("init", "--model", "my-model", "--preferences", "prefs.jsonl", "--out", "sub/mine.yaml").returncode == 0
    )
    done = command("run", "sub/mine.yaml", "--dry-run", "--json", *limit)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["recipe"], found["limit"]) == ("mine", 6 if limit else None)
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert stages["preferences"]["pairs"] == 40
    assert stages["evaluate baseline seed 0"]["prompts"] == (9 if limit else 662)


@pytest.mark.slow
def test_without_anything_it_is_the_miniature(here, command):
    assert command("init", "--out", "mine.yaml").returncode == 0
    assert load_recipe("mine.yaml").model == "miniature"
    shutil.copytree(DEFAULT_DIRECTORY, here / "miniature")
    assert command("init", "--out", "other.yaml").returncode == 0
    assert load_recipe("other.yaml").model == "miniature", "x"


def test_a_recipe_that_is_there_is_kept(here, command):
    (here / "my-model.yaml").write_text("mine")
    done = command("init")
    assert (done.returncode, (here / "my-model.yaml").read_text()) == (2, "mine")
    assert done.stderr == "harness: my-model.yaml: is there already. Name another file with --out.\n"


@pytest.mark.slow
def test_the_commands_that_it_tells_are_those_of_the_file(here, command):
    done = command("init", "--out", "my model's.yaml")
    told = [shlex.split(line) for line in done.stdout.splitlines() if line.startswith("  harness run")]
    assert [words[:3] for words in told] == [["harness", "run", "my model's.yaml"]] * 2
    named = [line for line in (here / "my model's.yaml").read_text().splitlines() if line.startswith("#   harness run")]
    assert all(shlex.split(line)[1:4] == ["harness", "run", "my model's.yaml"] for line in named[:1])


@pytest.mark.slow
def test_the_files_name_writes_no_line_of_its_own(here, command):
    name = "a\nseeds: [7]\n#.yaml"
    assert command("init", "--out", name).returncode == 0
    assert load_recipe(name).seeds != [7]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--model", "none/at/all"), "none/at/all"),
        (("--model", "./none"), "no such model directory"),
        (("--preferences", "none.jsonl"), "no such file"),
        (("--preferences", "prompts.jsonl"), "has no columns 'chosen' and 'rejected'"),
        (("--preferences", "empty.jsonl"), "holds no usable pair among its first rows"),
        (("--prompts", "benign.jsonl"), "holds no unsafe prompts"),
        (("--prompts", "none"), "is no prompt set"),
        (("--preferences", "../far.jsonl"), "lies outside the recipe's folder and the working directory"),
        (("--out", "file/x.yaml"), "cannot be written"),
    ],
)
def test_what_cannot_be_run_is_not_written(here, command, words, told):
    (here / "empty.jsonl").write_text(json.dumps({"prompt": "a", "chosen": 3, "rejected": 4}) + "\n")
    (here / "benign.jsonl").write_text(json.dumps({"prompt": "a", "label": "safe"}) + "\n")
    (here / "file").touch()
    (here.parent / "far.jsonl").write_text((here / "prefs.jsonl").read_text())
    done = command("init", *words)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert told in done.stderr
    assert not [*here.glob("*.yaml*"), *here.glob(".*yaml*")]


@pytest.mark.slow
def test_a_model_without_a_chat_template_is_refused(here, command, tokenizer):
    save_random("llama", here / "bare", tokenizer)
    for file in ("chat_template.jinja", "tokenizer_config.json"):
        path = here / "bare" / file
        if file.endswith("jinja"):
            path.unlink(missing_ok=True)
        else:
            settings = json.loads(path.read_text())
            settings.pop("chat_template", None)
            path.write_text(json.dumps(settings))
    done = command("init", "--model", "bare")
    assert done.returncode == 2
    assert "the tokenizer has no chat template" in done.stderr
