"""`harness forecast` as a person meets it: a small table on the miniature, and bad input in one line."""

import json

import pytest

from harness.organism.answers import gold_answers
from harness.organism.store import ensure_miniature
from harness.prompts.sets import load_prompts

EVIL = "\x1b[31mred\u202e"
SMALL = ("--probe-prompts", "8", "--probe-samples", "4", "--look-ahead", "1", "--batch-size", "4")


@pytest.fixture(scope="module")
def preferences(tmp_path_factory):
    rows = [row for row in load_prompts("bundled", "unsafe") if row["split"] == "train"][1::32]
    file = tmp_path_factory.mktemp("forecast") / "pairs.jsonl"
    pairs = [
        {
            "pair_id": f"{EVIL}{place}",
            "prompt": [{"role": "user", "content": row["prompt"]}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "chosen_verdict": "refusal",
            "rejected_verdict": "harmful",
            "hazard": row["hazard"],
        }
        for place, (row, (chosen, rejected)) in enumerate(zip(rows, gold_answers(rows), strict=True))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    return file


@pytest.mark.slow
def test_a_forecast_for_people_and_for_machines(command, preferences, tmp_path):
    out = tmp_path / "forecast.json"
    done = command(
        "forecast", preferences, "--model", "miniature", "--epochs", "2", "--with-text", *SMALL, "--out", out
    )
    assert done.returncode == 0, done.stderr
    for said in (
        "refusal rate",
        "rate of harmful completions",
        "mixed",
        "50%",
        "Lower refusals most",
        "would take 6 steps",
    ):
        assert said in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    content = json.loads(out.read_text())
    assert content["schema_version"] == 1
    assert content["whole"]["steps"] == 6
    assert [each["share"] for each in content["kept"]] == [0.85, 0.65, 0.5, 0.3]
    assert content["types"][0]["name"] == "mixed"
    assert content["lowest"][0]["chosen"][0]["role"] == "assistant"
    assert 0 < content["calibration"]["share"] < 1


@pytest.mark.slow
def test_scores_that_are_there_are_taken(command, preferences, tmp_path):
    scores = tmp_path / "scores.parquet"
    small = tmp_path / "prompts.jsonl"
    rows = load_prompts("bundled", "unsafe")[::40]
    small.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scored = command("score", preferences, "--model", ensure_miniature(), "--probes", small, "--out", scores)
    assert scored.returncode == 0, scored.stderr
    done = command("forecast", scores, "--model", "miniature", "--probes", small, *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    assert "Gradient of" not in done.stderr
    content = json.loads(done.stdout)
    assert {*content["whole"]["changes"]} == {"refusal", "harmful"}  # the file has no benign prompts
    assert "prompt" not in content["lowest"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "nowhere/at-all"), "nowhere/at-all"),
        (("--model", "miniature", "--judge", "nobody"), "nobody"),
        (("--model", "miniature", "--recipe", "no-such-recipe"), "no-such-recipe"),
        (("--model", "miniature", "--learning-rate", "0"), "--learning-rate"),
        (("--model", "miniature", "--probes", "none.jsonl"), "none.jsonl"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, preferences, arguments, said):
    done = command("forecast", preferences, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_table_that_cannot_be_read_is_told_before_any_answer_is_drawn(command, tmp_path):
    (tmp_path / "scores.parquet").write_text("no Parquet")
    for table in (tmp_path / "scores.parquet", tmp_path / "none.jsonl"):
        done = command("forecast", table, "--model", "miniature")
        assert done.returncode == 2
        assert str(table) in done.stderr
        assert "Drawing" not in done.stderr
