"""The dry run: tokens counted by hand on a world of single-token words, nothing written, nothing hidden."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.cli.printing.dry_run import _stages_table
from harness.cli.printing.terminal import stdout_console
from harness.recipes.loading import load_recipe
from harness.run.cost.dry_run import Cost, dry_run
from harness.run.cost.memory import training_memory
from harness.run.cost.tokens import Workload
from harness.run.stages import Stage
from harness.support.errors import HarnessError
from helpers.models import save_random

PROMPTS = [
    {"prompt_id": "a", "prompt": "a b c", "split": "train", "label": "unsafe"},
    {"prompt_id": "b", "prompt": "a b c d e", "split": "train", "label": "unsafe"},
    {"prompt_id": "c", "prompt": "a", "split": "test", "label": "unsafe"},
    {"prompt_id": "d", "prompt": "b b", "split": "train", "label": "safe"},
]
"""With <bos>, <user>, <end> and <assistant> around them: 7, 9, 5 and 6 tokens."""
SETTINGS = [
    "seeds=[0]",
    "pairs={samples: 2, temperature: 1, max_new_tokens: 3, batch_size: 8}",
    "evaluation={temperature: 1, max_new_tokens: 4, batch_size: 8}",
    "training={batch_size: 2, micro_batch_size: 2}",
    "arms={raw: {}, half: {filter: {keep_lowest: 0.5}, steps: as_raw}, gold: {pairs: gold}}",
]


@pytest.fixture(scope="module")
def words():
    """A tokenizer of one token a word, with the miniature's chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    from harness.organism import train

    names = ["<pad>", "<bos>", "<end>", "<system>", "<user>", "<assistant>", "<unknown>", *"abcde", "yes", "no"]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unknown>", additional_special_tokens=[*train.ROLES], **train.SPECIAL
    )
    fast.chat_template = train.CHAT_TEMPLATE
    return fast


@pytest.fixture(scope="module")
def place(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("dry")
    save_random("llama", folder / "model", words)
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PROMPTS))
    gold = {"prompt": "a b", "chosen": [{"role": "assistant", "content": "no"}]}
    rows = [gold | {"rejected": [{"role": "assistant", "content": text}]} for text in ("yes yes", "yes no yes")]
    (folder / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def chosen(place, *more):
    given = [f"model={place}/model", f"prompts={place}/prompts.jsonl", f"gold={place}/gold.jsonl"]
    return load_recipe("miniature", [*given, *SETTINGS, *more])


@pytest.fixture(scope="module")
def without_weights(place):
    """A dry run that cannot measure the speed, so that it is quick."""
    weights = place / "model" / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    try:
        return dry_run(chosen(place), place / "run")
    finally:
        weights.write_bytes(content)


@pytest.mark.slow
def test_tokens_by_hand(without_weights):
    found = {cost.stage.name: cost.at_most for cost in without_weights.costs}
    counts = {name: (work.pairs, work.answers, work.steps) for name, work in found.items()}
    tokens = {name: (work.read, work.trained, work.written) for name, work in found.items()}
    assert counts["preferences"] == (0, 4, 0)
    assert tokens["preferences"] == (2 * (7 + 9), 0, 4 * 3)
    assert tokens["scores"] == (7 + 9 + 4 * 3, 0, 0)
    # the recipe's table: prompts of <bos> <user> a b <end> <assistant>, answers of 2, 3 and 2, 4 tokens with <end>
    assert tokens["gold scores"] == (6 + 6 + 11, 0, 0)
    assert counts["reference"][0] == 4
    # 2 x (7 + 9) + 4 x 3 tokens of sampled pairs, 4 x 6 + 11 of the recipe's
    assert tokens["reference"] == (44 + 35 + (7 + 9) + (7 + 9 + 5), 0, 0)
    assert counts["train raw seed 0"] == (2, 0, 1)
    assert tokens["train raw seed 0"] == (44, 7 + 9 + 4 * 3, 0)  # packed: each prompt once
    assert counts["train half seed 0"] == (1, 0, 1)  # as many steps as on both pairs: one, of one pair
    assert tokens["train half seed 0"] == (44, 14, 0)
    assert tokens["train gold seed 0"] == (44 + 35, 6 + 6 + 11, 0)
    assert counts["evaluate raw seed 0"] == (0, 4, 0)
    assert tokens["evaluate raw seed 0"] == (7 + 9 + 5 + 6, 0, 4 * 4)
    assert found["reference"].openings == 3


@pytest.mark.slow
def test_each_refresh_draws_answers_and_measures_the_pairs(place, monkeypatch):
    monkeypatch.setattr("harness.run.cost.dry_run.has_weights", lambda _: False)
    rule = "keep_highest: 0.5, by: refusal_influence"
    arms = (
        f"arms={{once: {{filter: {{{rule}}}, steps: as_raw}}, anew: {{filter: {{{rule}, refresh: 1}}, steps: as_raw}}}}"
    )
    costs = dry_run(chosen(place, arms, "training.epochs=3"), place / "run").costs
    work = {cost.stage.name: cost.at_most for cost in costs}
    once, anew = work["train once seed 0"], work["train anew seed 0"]
    assert (once.steps, anew.steps) == (3, 3)
    # After the first step and the second: four answers of 4 tokens to prompts of 7 and 9, whose gradient is taken with
    # each prompt once, and four passes over the pairs.
    assert (anew.answers - once.answers, anew.written - once.written) == (2 * 8, 2 * 8 * 4)
    assert anew.read - once.read == 2 * (4 * (7 + 9) + 4 * (7 + 9 + 4 * 3))
    assert anew.trained - once.trained == 2 * ((7 + 9) + 8 * 4)


@pytest.mark.slow
def test_without_weights_tokens_and_memory_are_told_and_why_there_is_no_time(without_weights, place):
    assert without_weights.seconds is None
    assert without_weights.missing == [f"everything, as the weights of {place}/model are not here to be tried"]
    assert all(cost.reason and cost.seconds is None for cost in without_weights.costs)
    assert set(without_weights.memory) == {"scoring", "sampling", "training", "evaluation"}
    assert not (place / "run").exists()


@pytest.mark.slow
def test_memory_is_that_of_the_longest_pair(place, without_weights, monkeypatch):
    """Two pairs at once: 9 + 3 + 3 tokens where they are sampled, 6 + 2 + 4 in the table; padded, twice 9 + 3."""
    monkeypatch.setattr("harness.models.paths.has_weights", lambda _: False)
    shape = without_weights.shape
    assert without_weights.memory["training"] == training_memory(shape, 2 * 15, on_gpu=False)
    given = dry_run(chosen(place, f"preferences={place}/gold.jsonl"), place / "run")
    assert given.memory["training"] == training_memory(shape, 2 * 12, on_gpu=False)
    padded = dry_run(chosen(place, "training.packed=false"), place / "run")
    assert padded.memory["training"] == training_memory(shape, 2 * 2 * 12, on_gpu=False)
    assert given.costs[0].at_most.tokens == 0  # nothing is sampled


@pytest.mark.slow
def test_the_reasons_follow_each_other(without_weights):
    reasons = {cost.stage.name: cost.reason for cost in without_weights.costs}
    assert reasons["preferences"] == "not run yet"
    assert reasons["scores"] == "after preferences"
    assert reasons["evaluate baseline seed 0"] == "not run yet"
    assert reasons["evaluate raw seed 0"] == "after train raw seed 0"


@pytest.mark.slow
def test_json_on_standard_output_and_nothing_written(place, command):
    arguments = [part for each in SETTINGS for part in ("--set", each)]
    for key in ("model=model", "prompts=prompts.jsonl", "gold=gold.jsonl"):
        name, _, file = key.partition("=")
        arguments += ["--set", f"{name}={place / file}"]
    before = sorted(place.rglob("*"))
    done = command("run", "--dry-run", "--json", "--out", place / "run", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sorted(place.rglob("*")) == before
    assert found["seconds"] > sum(stage["seconds"] for stage in found["stages"][:5]) > 0
    assert found["missing"] == []
    assert found["speed"]["arms"]["trained"] > 0
    for stage in found["stages"]:
        assert 0 < stage["tokens"]["expected"] <= stage["tokens"]["at_most"] or stage["name"] == "gold pairs"
    printed = command("run", "--dry-run", "--out", place / "run", *arguments).stdout
    assert "train half" in printed
    assert "Time from start to end" in printed


@pytest.mark.slow
def test_a_training_that_does_not_fit_is_not_tried(place, monkeypatch, without_weights):
    """With room for all but the training, all but the training is timed."""
    room = max(each.total for kind, each in without_weights.memory.items() if kind != "training")
    # Private, as no machine has just so much room.
    monkeypatch.setattr("harness.run.cost.dry_run._available_bytes", lambda _: room)
    found = dry_run(chosen(place, "training={batch_size: 512, micro_batch_size: 512}"), place / "run")
    assert found.memory["training"].total > room
    seconds = {cost.stage.name: cost.seconds for cost in found.costs}
    assert seconds["train raw seed 0"] is None
    assert seconds["evaluate raw seed 0"] > 0
    assert found.seconds is None
    assert found.missing[0].startswith("training, as ")


def test_experiments_are_refused(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    for name in ("catastrophic", "percentiles", "selection"):
        done = command("run", name, "--dry-run")
        assert done.returncode == 2
        assert f"--dry-run does not know the experiment '{name}'" in done.stderr
        assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_more_layers_than_the_model_has_are_told_beforehand(place):
    arm = "arms={by: {filter: {keep_highest: 0.5, by: refusal_influence}}}"
    with pytest.raises(HarnessError, match="3 layers are too many. The model has 1"):
        dry_run(chosen(place, arm, "probes.subspace=last:3"), place / "run")


@pytest.mark.slow
def test_prompts_without_benign_ones_are_told_beforehand(place, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("harness.run.cost.dry_run.has_weights", lambda _: False)
    dry_run(chosen(place), tmp_path / "run")
    assert "benign" not in capsys.readouterr().err
    unsafe = tmp_path / "unsafe.jsonl"
    unsafe.write_text("".join(json.dumps(row) + "\n" for row in PROMPTS if row["label"] == "unsafe"))
    dry_run(chosen(place, f"prompts={unsafe}"), tmp_path / "run")
    assert f"warning: {unsafe} holds no benign prompts, so over-refusal will not be" in capsys.readouterr().err
    benign = "arms={by: {filter: {keep_highest: 0.5, by: benign_influence}}}"
    with pytest.raises(
        HarnessError, match="arms.by.filter: benign_influence cannot be measured, as .* no benign train"
    ):
        dry_run(chosen(place, f"prompts={unsafe}", benign), tmp_path / "run")


@pytest.mark.slow
def test_what_cannot_be_had_is_told(place, tmp_path):
    with pytest.raises(HarnessError, match="no such model directory"):
        dry_run(chosen(place, f"model={tmp_path}/none"), tmp_path / "run")


@pytest.mark.slow
def test_a_miniature_that_is_not_grown_is_not_grown_now(tmp_path, monkeypatch):
    monkeypatch.setenv("REFUSAL_DISPLACEMENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.models.paths.has_weights", lambda _: False)
    found = dry_run(load_recipe("miniature", ["organism_seed=9"]), tmp_path / "run")
    assert found.shape.parameters == 418_464
    assert "growing the miniature of seed 9" in found.missing[0]
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_what_is_timed_as_imports_is_not_loaded_before():
    code = "import sys, harness.run.cost.dry_run; sys.exit(bool({'trl', 'lm_eval'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_stages_of_a_large_run_fit_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    stage = Stage("evaluate ches_filtered_matched seed 0", "evaluate", dict, ())
    work = Workload(pairs=849_842, answers=1_000_000, read=999_900_000)
    costs = [Cost(stage, "not run yet", work, work, seconds=2 * 3600 + 46 * 60)]
    stdout_console().print(_stages_table(SimpleNamespace(costs=costs)))
    _, row = capsys.readouterr().out.splitlines()
    assert row.split("matched")[1].split() == [
        "1",
        "849,842",
        "1.0",
        "M",
        "999.9",
        "M",
        "999.9",
        "M",
        "2",
        "h",
        "46",
        "min",
    ]


@pytest.mark.slow
def test_several_draws_start_once(without_weights):
    found = replace(without_weights, starting=10.0, seconds=70.0)
    assert found.draws_seconds(3) == 10 + 3 * 60
    assert without_weights.draws_seconds(3) is None
