"""The starting model's side of a comparison is measured in float32, as trained models are, however it was saved."""

import json

import pytest

from harness.displacement.compare_models import compare_models
from harness.models import loading
from harness.models.loading import load_model
from harness.models.paths import locate_model
from harness.preferences.tables import load_preferences
from harness.recipes.loading import load_recipe
from harness.recipes.pinning import pin_recipe
from harness.run.directory import read_pins
from harness.run.stages import arm_stages, run_stages, shared_stages
from harness.run.state import open_run
from harness.scoring.logprobs import pair_logprobs
from helpers.preference_rows import conversations, lines
from helpers.run_inputs import PROMPTS, SMALL

SETTINGS = ["arms={raw: {}}", "training.learning_rate=1e-12", "gold=null"]
"""A rate that no float32 weight follows, so that what changes is the measuring."""


@pytest.fixture(scope="module")
def halved(micro, tmp_path_factory):
    """The micro model as it is published: weights, and so the configuration's type, in bfloat16."""
    import torch

    place = tmp_path_factory.mktemp("halved") / "model"
    model, tokenizer = load_model(str(micro))
    with torch.no_grad():  # certain enough of its tokens for bfloat16 to show
        model.get_output_embeddings().weight.mul_(20)
    model.to(torch.bfloat16).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return str(place)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return str(lines(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", conversations(8)))


@pytest.fixture(scope="module")
def trained(halved, pairs, tmp_path_factory):
    """The stages of a run up to its one training."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "prompts.jsonl").write_text(PROMPTS)
    own = [f"model={halved}", f"prompts={folder / 'prompts.jsonl'}", f"preferences={pairs}"]
    recipe, pins = pin_recipe(load_recipe("miniature", [*own, *SMALL, *SETTINGS], seeds=1), read_pins(folder / "out"))
    run = open_run(recipe, locate_model(halved), folder / "out", pins)
    training = next(piece[0] for piece in arm_stages(run) if piece[0].kind == "train")
    run_stages(run, [*shared_stages(run), training])
    return run


def differences(ours, theirs):
    return [abs(a - b) for name in theirs for a, b in zip(ours[name], theirs[name], strict=True)]


def logprobs(model, tokenizer, pairs):
    found = pair_logprobs(model, tokenizer, load_preferences(pairs))
    return {name: [each.chosen, each.rejected] for name, each in found.items()}


@pytest.mark.slow
def test_the_reference_is_that_of_the_widened_weights(trained, halved, pairs):
    kept = json.loads(trained.files.reference.logprobs.read_text())
    model, tokenizer = load_model(halved)
    assert max(differences(kept, logprobs(model, tokenizer, pairs))) > 0.01  # what bfloat16 would have made of it
    assert max(differences(kept, logprobs(model.float(), tokenizer, pairs))) < 1e-4


@pytest.mark.slow
def test_a_training_that_moves_no_weight_changes_no_likelihood(trained):
    files = trained.files.arm("raw", 0)
    change = json.loads(files.displacement.read_text())["pairs"]
    assert change["n"] == 8
    assert max(abs(change["chosen_change"]), abs(change["rejected_change"])) < 1e-4


@pytest.mark.slow
def test_two_checkpoints_are_compared_in_float32(trained, halved, pairs, tmp_path, monkeypatch):
    """The start in bfloat16 against its trained model in float32, each loaded as where there is a GPU."""
    monkeypatch.setattr(loading, "_spread_options", lambda: {"dtype": "auto"})
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    model = str(trained.files.arm("raw", 0).model)
    found = compare_models(halved, model, pairs, str(tmp_path / "prompts.jsonl")).change
    assert max(abs(each.chosen) for each in found.pairs.values()) < 1e-4
