"""What comes from the hub is of one commit: resolved when a run begins, kept when it goes on, in all of its parts."""

import json
import shutil
from pathlib import Path

import pytest
from datasets import IterableDataset

from harness.experiments import statements
from harness.experiments.schema import Catastrophic, Percentiles
from harness.judges.registry import find_judge, judge_exchanges, judge_identity, labels_never_given
from harness.judges.verdicts import Exchange
from harness.models.loading import load_model
from harness.models.paths import locate_model
from harness.preferences.rewards import answer_rewards
from harness.preferences.tables import stream_rows
from harness.prompts.published import _hub_splits
from harness.prompts.sets import load_prompts
from harness.recipes.loading import load_recipe
from harness.recipes.pinning import pin_judge, pin_recipe
from harness.recipes.schema import Recipe
from harness.run.regression import run_regression
from harness.support import artifacts, hub
from harness.support.errors import HarnessError
from helpers.hub import COMMITS, put_on_hub
from helpers.models import save_random
from helpers.run_inputs import PROMPTS, SMALL

OLD, NEW = COMMITS


@pytest.fixture
def two_commits(hub_cache, micro, tmp_path, tokenizer):
    """org/name on the hub: at first the micro model, later another with other weights; gives the move from one on."""
    import torch
    from safetensors.torch import load_file, save_file

    put_on_hub(hub_cache, "models--org/name", micro, OLD)
    other = save_random("llama", tmp_path / "other", tokenizer)
    weights = load_file(other / "model.safetensors")
    save_file({k: v + torch.ones_like(v) for k, v in weights.items()}, other / "model.safetensors", {"format": "pt"})
    return lambda: put_on_hub(hub_cache, "models--org/name", other, NEW)


def test_a_name_is_resolved_to_the_commit_of_now_and_a_commit_stays(two_commits):
    assert hub.pin_to_commit("org/name", "model") == f"org/name@{OLD}"
    before = load_model("org/name")[0]
    new = two_commits()
    assert hub.pin_to_commit("org/name", "model") == hub.pin_to_commit("org/name@main", "model") == f"org/name@{NEW}"
    assert hub.pin_to_commit(f"org/name@{OLD}", "model") == f"org/name@{OLD}"
    assert hub.fetch_directory("org/name") == str(new)
    kept, moved = (load_model(name)[0] for name in (f"org/name@{OLD}", "org/name"))
    assert kept.lm_head.weight.equal(before.lm_head.weight)
    assert moved.lm_head.weight.allclose(before.lm_head.weight + 1)


def test_the_models_content_is_the_id_with_its_commit(two_commits, micro):
    assert locate_model(f"org/name@{OLD}").content == f"org/name@{OLD}"
    assert locate_model(f"org/name@{OLD}").manifest_entry == {"path": f"org/name@{OLD}", "sha256": None}
    assert len(locate_model(str(micro)).content) == 64


@pytest.mark.parametrize("name", ["org/absent", "org/name@0", "org/name@" + "3" * 40])
def test_what_the_hub_does_not_give_is_told(two_commits, name):
    with pytest.raises(HarnessError, match="cannot be fetched from the hub.*or give a local copy") as told:
        load_model(name)
    assert told.value.place == name


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("org/name", True),
        ("gpt2", True),
        ("org/name@main", True),
        ("org/name@refs/pr/1", True),
        ("pairs.jsonl", False),
        ("org/pairs.parquet", False),
        ("./name", False),
        ("/name", False),
        ("~/name", False),
        ("a/b/c", False),
        ("s3://org/name", False),
        ("", False),
    ],
)
def test_what_is_on_the_hub(name, there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.is_on_hub(name) is there
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert not hub.is_on_hub("org/name")


def given(**keys):
    return Recipe.model_validate({"name": "a", "arms": {"raw": {}}, "model": "org/name"} | keys)


@pytest.fixture
def counted(monkeypatch):
    """The hub's newest commit is a number that grows with every question; the questions asked."""
    asked = []

    def answer(source, kind):
        asked.append((source, kind))
        return f"{hub.split_revision(source)[0]}@{len(asked):040d}"

    monkeypatch.setattr(hub, "pin_to_commit", answer)
    return asked


def test_every_key_that_names_the_hub_is_pinned(counted):
    asks = given(
        revision="v1",
        prompts="xstest",
        preferences="org/pairs",
        gold="org/gold",
        off_policy="bundled",
        judge="wildguard",
        pairs={"tie_break": {"reward_model": "org/reward"}},
    )
    found, pins = pin_recipe(asks, {})
    assert counted == [
        ("org/name@v1", "model"),
        ("allenai/wildguard", "model"),
        ("org/reward", "model"),
        ("org/pairs", "dataset"),
        ("org/gold", "dataset"),
        ("Paul/XSTest", "dataset"),
    ]
    commits = [f"{number:040d}" for number in range(1, 7)]
    assert (found.model, found.revision) == ("org/name", commits[0])
    assert found.judge == f"wildguard@{commits[1]}"
    assert found.pairs.tie_break.reward_model == f"org/reward@{commits[2]}"
    assert (found.preferences, found.gold) == (f"org/pairs@{commits[3]}", f"org/gold@{commits[4]}")
    assert (found.prompts, found.off_policy) == (f"xstest@{commits[5]}", "bundled")
    assert pins["model"] == {"given": "org/name@v1", "pinned": f"org/name@{commits[0]}"}


def test_gold_prompts_and_pairs_are_pinned_to_both_data_sets(counted):
    asks = given(
        prompts="sorrybench_gold:20",
        gold="sorrybench",
        pairs={"tie_break": {"reward_model": "org/r", "both_orders": False}},
    )
    found, pins = pin_recipe(asks, {})
    labels, prompts = "sorry-bench/sorry-bench-human-judgment-202406", "sorry-bench/sorry-bench-202406"
    assert [source for source, kind in counted if kind == "dataset"] == [labels, prompts, labels]
    of_gold, of_prompts, of_labels = (f"{number:040d}" for number in (3, 4, 5))
    assert found.gold == f"sorrybench@{of_gold}"
    assert found.prompts == f"sorrybench_gold@{of_prompts}+{of_labels}:20"
    assert not found.pairs.tie_break.both_orders
    again, _ = pin_recipe(asks, pins)
    assert again == found
    assert len(counted) == 5
    counted.clear()
    assert pin_recipe(found, {})[0].prompts.startswith("sorrybench_gold@")
    assert counted[-2:] == [(f"{prompts}@{of_prompts}", "dataset"), (f"{labels}@{of_labels}", "dataset")]


def test_a_run_that_goes_on_takes_what_it_began_with(counted, capsys):
    found, pins = pin_recipe(given(), {})
    again, _ = pin_recipe(given(), pins)
    assert again == found
    assert len(counted) == 1
    assert f"model: goes on with org/name@{1:040d}" in capsys.readouterr().err
    other, _ = pin_recipe(given(revision="next"), pins)
    assert other.revision == f"{2:040d}"


def test_what_is_here_is_not_asked_for(counted, micro, tmp_path):
    (tmp_path / "pairs.jsonl").touch()
    here = given(model=str(micro), preferences=str(tmp_path / "pairs.jsonl"), prompts="xstest=a.csv")
    assert pin_recipe(here, {}) == (here, {})
    with pytest.raises(HarnessError, match="revision: the model .* is not on the hub"):
        pin_recipe(given(model=str(micro), revision="main"), {})
    assert counted == []


def test_the_experiments_are_pinned_too(counted):
    tables = Percentiles(experiment="percentiles", name="a", model="org/name", preferences="org/pairs")
    found, _ = pin_recipe(tables, {})
    assert (found.revision, found.preferences) == (f"{1:040d}", f"org/pairs@{2:040d}")
    asked = Catastrophic(
        experiment="catastrophic",
        name="a",
        model="miniature",
        statements="org/evals/persona/a.jsonl",
        pairs=[{"chosen": "No", "rejected": "Never"}],
        objectives={},
    )
    assert pin_recipe(asked, {})[0].statements == f"org/evals@{3:040d}/persona/a.jsonl"


def test_the_persona_statements_are_read_at_their_revision(hub_cache, tmp_path):
    row = {"question": "Is it so?", "answer_matching_behavior": " Yes"}
    for commit, text in zip(COMMITS, ("Old?", "New?"), strict=True):
        files = tmp_path / commit / "persona"
        files.mkdir(parents=True)
        (files / "a.jsonl").write_text(json.dumps(row | {"question": text}) + "\n")
        put_on_hub(hub_cache, "datasets--org/evals", files.parent, commit)
    for revision, text in (("", "New?"), (f"@{OLD}", "Old?"), (f"@{NEW}", "New?")):
        assert statements.load_statements(f"org/evals{revision}/persona/a.jsonl")[0].question == text


def test_a_benchmark_is_read_at_its_revision(hub_cache, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "prepared")
    for commit, text in zip(COMMITS, ("How old?", "How new?"), strict=True):
        files = tmp_path / commit
        files.mkdir()
        (files / "train.csv").write_text(f"id,prompt,type,label\n1,{text},homonyms,safe\n")
        put_on_hub(hub_cache, "datasets--Paul/XSTest", files, commit)
    _hub_splits.cache_clear()  # private: a new process would have nothing in it
    found = {revision: load_prompts(f"xstest{revision}", "benign") for revision in (f"@{OLD}", f"@{NEW}", "")}
    assert [rows[0]["prompt"] for rows in found.values()] == ["How old?", "How new?", "How new?"]


def test_a_preference_table_is_streamed_at_its_revision(monkeypatch):
    asked = []
    empty = IterableDataset.from_generator(lambda: iter(()))
    monkeypatch.setattr("harness.preferences.tables.load_dataset", lambda *a, **k: asked.append((a, k)) or empty)
    assert list(stream_rows(f"org/name@{OLD}")) == []
    assert asked == [(("org/name", None), {"split": "train", "streaming": True, "revision": OLD})]


def test_a_judges_revision_is_part_of_who_it_is(monkeypatch, hub_cache, micro, tmp_path):
    assert judge_identity(f"wildguard@{OLD}") == f"wildguard@{OLD}"
    assert labels_never_given(f"llama-guard-3@{OLD}") == labels_never_given("llama-guard-3") != frozenset()
    with pytest.raises(HarnessError, match="the judge lexical has no weights"):
        find_judge(f"lexical@{OLD}")
    monkeypatch.setenv("HARNESS_JUDGE_WEIGHTS", "org/guard")
    assert judge_identity(f"wildguard@{OLD}") == f"wildguard/org/guard@{OLD}"
    put_on_hub(hub_cache, "models--org/guard", micro, OLD)
    (tmp_path / "empty").mkdir()
    put_on_hub(hub_cache, "models--org/guard", tmp_path / "empty", NEW)
    assert pin_judge("wildguard") == f"wildguard@{NEW}"
    (verdict,) = judge_exchanges(f"wildguard@{OLD}", [Exchange("a?", "b")])
    assert "cannot be read" in verdict.reason  # the old one loads, and says gibberish
    with pytest.raises(HarnessError, match=f"org/guard@{NEW} did not load"):  # the new one holds no model
        judge_exchanges(f"wildguard@{NEW}", [Exchange("a?", "b")])


def test_a_reward_model_is_read_at_its_revision(hub_cache, tmp_path, tokenizer):
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    for commit, weight in zip(COMMITS, (1.0, 2.0), strict=True):
        torch.manual_seed(0)
        shape = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, num_labels=1, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        model = LlamaForSequenceClassification(shape)
        model.score.weight.data *= weight
        model.save_pretrained(tmp_path / commit)
        tokenizer.save_pretrained(tmp_path / commit)
        put_on_hub(hub_cache, "models--org/reward", tmp_path / commit, commit)
    old, new, newest = (
        answer_rewards(f"org/reward{revision}", ["a?"], [["b", "c d"]])[0] for revision in (f"@{OLD}", f"@{NEW}", "")
    )
    assert new == newest == pytest.approx([2 * each for each in old], rel=1e-4)


@pytest.mark.slow
def test_a_run_keeps_its_commits_when_the_hub_moves_on(two_commits, tmp_path, capsys):
    """Begun on the old commit and gone on with, and evaluated by lm-eval, after the hub has a new one."""
    file = tmp_path / "prompts.jsonl"
    file.write_text(PROMPTS)
    asked = load_recipe("miniature", ["model=org/name", f"prompts={file}", *SMALL, "arms={raw: {}}"], seeds=1)
    out = tmp_path / "run"
    first = run_regression(asked, out, 1)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["hub"] == {"model": {"given": "org/name", "pinned": f"org/name@{OLD}"}}
    assert manifest["model"] == {"path": f"org/name@{OLD}", "sha256": None}
    assert manifest["seeds"] == {"training and evaluation": [0], "pairs": 0, "organism": 0}
    assert manifest["data"]["judge"]["identity"] == "lexical"
    assert manifest["data"]["prompts"] == artifacts.json_fingerprint(
        [load_prompts(str(file), kind) for kind in ("unsafe", "benign")]
    )
    assert first.recipe.revision == OLD
    assert f"org/name@{OLD}" in (out / "report.html").read_text()

    two_commits()
    for part in ("arms/baseline/seed-0/eval", "scores.parquet", "arms/raw"):
        shutil.rmtree(out / part) if (out / part).is_dir() else (out / part).unlink()
    capsys.readouterr()
    assert run_regression(asked, out, 1) == first
    told = capsys.readouterr().err
    assert f"model: goes on with org/name@{OLD}" in told
    assert "preferences: " not in told
    assert "train raw seed 0: again" in told
    (results,) = (out / "arms/baseline/seed-0/eval").rglob("results_*.json")
    assert json.loads(results.read_text())["config"]["model_args"]["pretrained"].endswith(f"snapshots/{OLD}")
    assert pin_recipe(asked, {})[0].revision == NEW


def test_a_build_of_pairs_that_goes_on_keeps_its_commits(counted, monkeypatch, tmp_path):
    from harness.run.pairs_file import build_pairs_file

    built = []

    def stop(recipe, *_, **__):
        built.append(recipe.revision)
        raise HarnessError("stopped")

    monkeypatch.setattr("harness.run.pairs_file.build_pairs", stop)
    monkeypatch.setattr("harness.run.pairs_file.find_starting_model", lambda _: None)
    monkeypatch.setattr("harness.run.pairs_file.check_chat_template", lambda _: None)
    for _ in range(2):
        with pytest.raises(HarnessError, match="stopped"):
            build_pairs_file(given(), tmp_path / "pairs.jsonl", "local", None)
    assert built == [f"{1:040d}"] * 2


def test_the_manifest_says_what_made_the_run(tmp_path):
    from harness.run.directory import RunDirectory

    RunDirectory(tmp_path, {}, {}, {"seeds": {"pairs": 0}}).record_outcome({})
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["seeds"] == {"pairs": 0}
    machine = manifest["machine"]
    assert machine["cores"] >= machine["threads"] >= 1
    assert machine["memory_gib"] >= 1
    assert isinstance(machine["gpus"], list)
    if (Path(__file__).parents[2] / ".git").exists():
        assert set(manifest["source"]) == {"revision", "edited"}
        assert len(manifest["source"]["revision"]) == 40


def test_going_on_with_other_code_of_the_harness_is_told(tmp_path, monkeypatch, capsys):
    from harness.run import directory
    from harness.run.directory import RunDirectory

    for revision, edited in (("a" * 40, False), ("a" * 40, False), ("b" * 40, True)):
        monkeypatch.setattr(directory, "_checkout_revision", lambda r=revision, e=edited: {"revision": r, "edited": e})
        RunDirectory(tmp_path, {}, {}).record_outcome({})
        told = capsys.readouterr().err
    assert "begun with other code of the harness (aaaaaaaaaaaa -> bbbbbbbbbbbb, edited)" in told
    assert "another machine" not in told
