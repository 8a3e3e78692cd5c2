"""Building preference tables: what is kept, what comes out, and the command."""

import json

import pytest

from harness.judges.verdicts import Verdict
from harness.models.sampling import sample_answers
from harness.organism import answers
from harness.preferences import building
from harness.preferences.building import (
    BuiltPairs,
    Counter,
    _prompt_chunks,
    _sample_seed,
    build_pairs,
    data_card,
    pair_statistics,
    pairs_from_answers,
)
from harness.prompts.sets import load_prompts
from harness.recipes.loading import load_recipe
from harness.support.errors import HarnessError
from helpers.run_inputs import PROMPTS

SETTINGS = ["pairs.max_new_tokens=8", "pairs.temperature=1", "pairs.batch_size=4"]


@pytest.fixture(scope="module")
def prompt_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    file.write_text(PROMPTS)
    return file


@pytest.fixture
def rows(prompt_file):
    return load_prompts(str(prompt_file), "unsafe")


@pytest.fixture
def chosen(micro, prompt_file):
    return load_recipe("miniature", [f"model={micro}", f"prompts={prompt_file}", *SETTINGS])


def test_verdicts_are_kept_with_their_flags_and_what_was_cut(chosen, tmp_path, monkeypatch):
    """Judged once; the second time they are read, and are the same, tuples and all."""
    given = [
        Verdict("refusal", "no", 0.9, flags=("partial", "fallback"), cut=("reasoning",), judged=""),
        Verdict("other", "ended", flags=("unfinished",)),
    ]
    seen = []

    def choose(rows, candidates, seed, **_):
        seen.append([candidate.verdict for candidate in candidates[0]])
        return [], Counter()

    monkeypatch.setattr(building, "judge_exchanges", lambda name, exchanges: given)
    monkeypatch.setattr(building, "choose_pairs", choose)
    rows = [{"prompt": "p", "prompt_id": "1", "hazard": "h", "split": "train"}]
    pairs_from_answers(chosen, rows, [["a", "b"]], tmp_path, "train-0")
    monkeypatch.setattr(building, "judge_exchanges", None)
    pairs_from_answers(chosen, rows, [["a", "b"]], tmp_path, "train-0")
    assert seen == [given, given]


@pytest.mark.parametrize(
    ("settings", "pairs", "dropped"),
    [
        ({}, [], {"identical answers": 1, "unjudged": 1}),
        ({"identical": "keep"}, ["1"], {"unjudged": 1}),
        ({"unjudged": "random"}, ["2"], {"identical answers": 1}),
        ({"identical": "keep", "unjudged": "random"}, ["1", "2"], {}),
    ],
)
def test_identical_and_unjudged_answers_as_the_recipe_says(chosen, tmp_path, monkeypatch, settings, pairs, dropped):
    """The first prompt's answers are alike, one of the second's could not be judged."""
    labels = iter(["refusal", "refusal", "refusal", "unjudged"])
    monkeypatch.setattr(building, "judge_exchanges", lambda _, given: [Verdict(next(labels), "") for _ in given])
    recipe = chosen.model_copy(update={"pairs": chosen.pairs.model_copy(update=settings)})
    rows = [{"prompt": "p", "prompt_id": name, "hazard": "h", "split": "train"} for name in ("1", "2")]
    built = pairs_from_answers(recipe, rows, [["a", "a"], ["a", "b"]], tmp_path, "train-0")
    assert [row["prompt_id"] for row in built.rows] == pairs
    assert built.dropped == dropped
    types = {"two_refusals": int("1" in pairs), "mixed": 0, "two_non_refusals": 0}  # one unjudged is of no type
    assert pair_statistics(built)["pair_types"] == types


@pytest.mark.slow
def test_a_killed_build_goes_on_and_gives_the_same(chosen, micro, rows, tmp_path, monkeypatch):
    whole = build_pairs(chosen, str(micro), rows, tmp_path / "whole")
    original, calls = sample_answers, []

    def dies_at_third(*arguments, **settings):
        calls.append(settings["seed"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **settings)

    monkeypatch.setattr(building, "sample_answers", dies_at_third)
    with pytest.raises(KeyboardInterrupt):
        build_pairs(chosen, str(micro), rows, tmp_path / "killed")
    assert build_pairs(chosen, str(micro), rows, tmp_path / "killed") == whole
    assert len(calls) == 5  # two chunks of two samples, the third of them asked for twice
    assert len(set(calls)) == 4


@pytest.mark.slow
def test_a_splits_pairs_do_not_depend_on_the_other_split(chosen, micro, rows, tmp_path):
    both = build_pairs(chosen, str(micro), rows, tmp_path / "both")
    train = build_pairs(chosen, str(micro), [row for row in rows if row["split"] == "train"], tmp_path / "train")
    assert train.rows == [row for row in both.rows if row["split"] == "train"]


@pytest.mark.slow
def test_other_settings_begin_anew(chosen, micro, rows, tmp_path):
    first = build_pairs(chosen, str(micro), rows, tmp_path / "keep")
    other = chosen.model_copy(update={"pairs": chosen.pairs.model_copy(update={"seed": 1})})
    assert build_pairs(other, str(micro), rows, tmp_path / "keep").rows != first.rows


@pytest.mark.slow
def test_a_killed_build_on_ray_asks_for_what_is_missing_and_is_no_beginning_for_a_local_one(
    chosen, micro, rows, tmp_path, monkeypatch
):
    asked_for = []

    def samples(model, asked, **settings):
        assert (model, settings["workers"], settings["batch_size"]) == (str(micro), 3, 4)
        asked_for.append([seed for _, seed in asked])
        for count, (texts, seed) in enumerate(asked):
            if len(asked_for) == 1 and count == 3:
                raise KeyboardInterrupt
            yield [f"{text} {seed}" for text in texts]

    monkeypatch.setattr(building, "sample_on_ray", samples)
    keep = tmp_path / "keep"
    with pytest.raises(KeyboardInterrupt):
        build_pairs(chosen, str(micro), rows, keep, engine="ray", workers=3)
    built = build_pairs(chosen, str(micro), rows, keep, engine="ray", workers=3)
    assert (len(asked_for[0]), asked_for[1]) == (4, asked_for[0][3:])
    answers = {message["content"] for row in built.rows for message in (*row["chosen"], *row["rejected"])}
    assert answers == {f"{row['prompt']} {seed}" for row in rows for seed in _own_seeds(asked_for[0], row)}
    assert build_pairs(chosen, str(micro), rows, keep, engine="ray", workers=3) == built
    assert len(asked_for) == 2
    assert build_pairs(chosen, str(micro), rows, keep).rows != built.rows


def _own_seeds(seeds, row):
    """Two samples of the chunk train-0, then two of test-0."""
    return seeds[:2] if row["split"] == "train" else seeds[2:]


def test_every_sample_of_every_chunk_has_its_own_seed(chosen):
    settings = chosen.pairs.model_copy(update={"samples": 3, "seed": 2})
    names = ("train-0", "train-1", "test-0")
    seeds = [_sample_seed(settings, name, which) for name in names for which in range(3)]
    assert seeds[:3] == [6, 7, 8]
    assert len(set(seeds)) == 9


def test_chunks_keep_splits_apart(monkeypatch):
    monkeypatch.setattr(building, "_PROMPTS_PER_CHUNK", 2)
    rows = [{"prompt_id": str(n), "split": "test" if n == 1 else "train"} for n in range(4)]
    chunks = _prompt_chunks(rows)
    assert {name: [row["prompt_id"] for row in chunk] for name, chunk in chunks.items()} == {
        "train-0": ["0", "2"],
        "train-1": ["3"],
        "test-0": ["1"],
    }


def test_statistics_and_card(chosen):
    pairs = [
        {"split": split, "chosen_verdict": a, "rejected_verdict": b}
        for split, a, b in [
            ("train", "refusal", "refusal"),
            ("train", "refusal", "harmful"),
            ("train", "refusal", "refusal"),
            ("test", "other", "harmful"),
        ]
    ]
    counted = pair_statistics(BuiltPairs(pairs, Counter({"identical answers": 3})))
    assert counted["pair_types"] == {"two_refusals": 2, "mixed": 1, "two_non_refusals": 1}
    assert counted["splits"]["test"] == {"two_refusals": 0, "mixed": 0, "two_non_refusals": 1}
    text = data_card(chosen, "prefs.jsonl", counted)
    assert "| two refusals | 2 (67%) | 0 (0%) |" in text
    assert "data_files: prefs.jsonl" in text
    assert "3 identical answers" in text


def test_gold_answers_are_a_refusal_and_a_compliance():
    from harness.judges.registry import judge_exchanges
    from harness.judges.verdicts import Exchange

    rows = load_prompts("bundled", "unsafe")[::10]
    written = answers.gold_answers(rows)
    assert written == answers.gold_answers(rows)
    for which, label in ((0, "refusal"), (1, "harmful")):
        exchanges = [Exchange(row["prompt"], each[which]) for row, each in zip(rows, written, strict=True)]
        assert {verdict.label for verdict in judge_exchanges("lexical", exchanges)} == {label}


def test_off_policy_answers_follow_the_severity():
    from harness.organism import world

    rows = load_prompts("bundled", "unsafe")
    severity, compliant = world.severities(rows), [text.split()[0] for text in world.ANSWERS["compliance"]]
    for row, each in zip(rows, answers.off_policy_answers(rows), strict=True):
        if severity[row["prompt_id"]] < -2.9:  # where compliance has 99.9 %
            assert {text.split()[0] for text in each} <= set(compliant)


def run_command(*arguments):
    from typer.testing import CliRunner

    from harness.cli import app

    return CliRunner().invoke(app, ["preferences", *map(str, arguments)], catch_exceptions=False)


def sets(micro, prompt_file, *more):
    return [part for each in (f"model={micro}", f"prompts={prompt_file}", *SETTINGS, *more) for part in ("--set", each)]


@pytest.mark.slow
def test_the_command_writes_what_trl_trains_on(micro, prompt_file, tmp_path):
    out = tmp_path / "prefs.jsonl"
    result = run_command("miniature", "--out", out, "--json", *sets(micro, prompt_file, "pairs.samples=3"))
    told = json.loads(result.stdout)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert told["pairs"] == len(rows) > 8
    assert {row["split"] for row in rows} == {"train", "test"}
    assert len({row["prompt_id"] for row in rows}) == len(rows)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prefs.jsonl", "prefs.md"]
    assert f"Pairs: {len(rows)}" in (tmp_path / "prefs.md").read_text()

    from datasets import load_dataset
    from trl import DPOConfig, DPOTrainer

    from harness.models.loading import load_model

    model, tokenizer = load_model(str(micro))
    config = DPOConfig(
        output_dir=str(tmp_path / "trl"), max_steps=1, bf16=False, gradient_checkpointing=False, report_to="none",
        per_device_train_batch_size=2, save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    table = load_dataset("json", data_files=str(out), split="train", cache_dir=str(tmp_path / "cache"))
    DPOTrainer(model=model, args=config, train_dataset=table, processing_class=tokenizer).train()


def test_bad_usage_of_the_command(micro, prompt_file, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.workers.engines.find_spec", lambda _: True)
    for arguments, told in [
        (["--out", tmp_path / "prefs.json"], "no .jsonl file"),
        (["--out", tmp_path / "p.jsonl", "--set", "preferences=x.jsonl"], "table of its own"),
        (["--out", tmp_path / "p.jsonl", "--set", "judge=nobody"], "no judge is called"),
        (["--out", tmp_path / "p.jsonl", "--engine", "ray", "--set", "backend=vllm"], "samples with transformers"),
    ]:
        with pytest.raises(HarnessError, match=told):
            run_command("miniature", *arguments)
    assert not [*tmp_path.iterdir()]
