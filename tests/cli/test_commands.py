"""The command as a person meets it: help, listings, and bad input in one line with exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.cli.displacement import _find_model
from harness.support.errors import HarnessError
from helpers.command import CLEAN, harness

COMMANDS = ("init", "run", "evaluate", "preferences", "score", "filter", "forecast", "displacement", "judge", "label",
            "calibrate", "report", "gate")  # fmt: skip
"""Those whose help shows how they are used."""


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from harness.cli import app; from typer.testing import CliRunner;"
        "out = CliRunner().invoke(app, ['--help']).output;"
        "heavy = {'torch', 'transformers', 'datasets', 'lm_eval', 'trl', 'scipy', 'numpy'};"
        "heavy |= {'pyarrow', 'pydantic', 'altair'};"
        "assert not heavy & set(sys.modules); print(out)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=CLEAN)
    assert done.returncode == 0, done.stderr
    for name in (*COMMANDS, "power", "recipes", "judges"):
        assert f" {name} " in done.stdout


def test_the_list_of_commands_cuts_no_summary_at_80_columns():
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "80"}).output
    lines = said.partition("Commands:")[2].splitlines()
    assert len(lines) > 10
    assert not [line for line in lines if line.endswith("...") or len(line) > 80]


@pytest.mark.parametrize("name", COMMANDS)
def test_each_help_has_an_example(command, name):
    done = command(name, "--help")
    assert done.returncode == 0
    assert f"harness {name} " in done.stdout


def test_listings(command):
    assert "\nminiature " in command("recipes").stdout
    assert command("judges").stdout.startswith("lexical")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("run", "nothing"), "no such recipe"),
        (("run", "--set", "jugde=x"), "Did you mean 'judge'?"),
        (("run", "--set", "judge"), "is not key=value"),
        (("run", "--set", "model=./none", "--out", "out"), "no such model directory"),
        (("run", "--out", "file/out"), "cannot be written"),
        (("report", "none"), "is not there"),
        (("score", "none.jsonl", "--model", "here", "--out", "s.parquet"), "no such file"),
        (("filter", "none.parquet", "--keep-lowest", "0.1", "--out", "k.jsonl"), "none.parquet"),
        (("displacement", "--before", "here", "--after", "here"), "--preferences: is not given"),
        (
            ("displacement", "--before", "miniature", "--after", "miniature", "--preferences", "none.jsonl"),
            "no such file",
        ),
        (("displacement", "--before", "here", "--after", "run"), "run/arms/raw/seed-0/displacement.json"),
        (("displacement", "--before", "here", "--after", "run/arms/raw"), "models: run/arms/raw/seed-0/model;"),
        (("displacement", "--before", "run/arms/baseline", "--after", "here"), "the `model` under `recipe`"),
        (("judge", "none.jsonl", "--judge", "lexical", "--out", "v.jsonl"), "none.jsonl"),
        (("calibrate", "none.csv", "--judge", "lexical"), "none.csv"),
        (("gate", "--before", "none", "--after", "none"), "none"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path, monkeypatch, command, arguments, told):
    (tmp_path / "file").touch()
    (tmp_path / "here").mkdir()
    model = tmp_path / "run/arms/raw/seed-0/model"
    model.mkdir(parents=True)
    (model / "config.json").touch()
    (tmp_path / "run/arms/baseline").mkdir()
    (tmp_path / "run/manifest.json").touch()
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert done.returncode == 2, done.stderr
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert sorted(each.name for each in tmp_path.iterdir() if each.name != "out") == ["file", "here", "run"]


def test_the_miniature_is_a_model_by_its_name_unless_a_directory_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _find_model("--before", "miniature").endswith("harness/organism/default")
    (tmp_path / "miniature").mkdir()
    assert _find_model("--before", "miniature") == "miniature"


def test_a_process_of_its_own_says_the_same(command):
    own = harness("run", "nothing")
    here = command("run", "nothing")
    assert (own.returncode, own.stdout, own.stderr) == (here.returncode, here.stdout, here.stderr)
    assert own.stderr.startswith("harness: nothing: no such recipe")
    assert own.stderr.count("\n") == 1


@pytest.mark.parametrize("start", [("-c", "from harness.cli import main; main()"), ("-m", "harness")])
def test_a_full_output_is_exit_2_and_a_reader_who_leaves_changes_nothing(start):
    words = [sys.executable, *start, "recipes"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, env=CLEAN)
    assert done.returncode == 2
    assert done.stderr == "harness: standard output cannot be written (No space left on device)\n"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True, env=CLEAN)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("raised", "code", "told"),
    [
        (KeyboardInterrupt, 130, "harness: stopped; the same command goes on from here"),
        (BrokenPipeError(32, "gone"), 2, "report it: BrokenPipeError: [Errno 32] gone"),
        (SystemExit(1), 2, "report it: SystemExit: 1 at"),
        (EOFError, 2, "report it: EOFError at"),
    ],
)
def test_nothing_that_goes_wrong_ends_with_the_code_of_a_failed_gate(command, monkeypatch, raised, code, told):
    """Typer alone would end all of these with 0 or 1, and without a word."""
    monkeypatch.setattr("harness.judges.registry.JUDGE_DESCRIPTIONS", Raising(raised))
    done = command("judges")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    assert told in done.stderr


class Raising(dict):
    def __init__(self, error):
        self.error = error

    def __iter__(self):
        raise self.error


@pytest.mark.parametrize("arguments", [("nonsense",), ("gate", "--nonsense"), ("gate", "--before"), ("score",)])
def test_a_wrong_command_line_is_exit_2(command, arguments):
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Error: " in done.stderr


@pytest.mark.parametrize(
    ("given", "where"),
    [([], "runs/miniature"), (["--limit", "9"], "runs/miniature-limit9"), (["--limit", "9", "--out", "here"], "here")],
)
def test_a_smoke_run_does_not_lie_where_the_whole_one_does(given, where, monkeypatch):
    asked = []

    def run(recipe, directory, workers):
        asked.append((recipe.prompts, str(directory)))
        raise HarnessError("far enough")

    monkeypatch.setattr("harness.experiments.any_recipe.run_any_recipe", run)
    CliRunner().invoke(app, ["run", *given])
    assert asked == [("bundled:9" if "--limit" in given else "bundled", where)]


@pytest.mark.parametrize("held", ['{"prompt": "a"}\n', "prompt\n"])
def test_a_report_takes_the_place_of_a_page_alone(tmp_path, command, held):
    out = tmp_path / "answers.jsonl"
    out.write_text(held)
    done = command("report", "--before", out, "--after", out, "--out", out)
    assert (done.returncode, out.read_text()) == (2, held)
    assert "is there already, and no page" in done.stderr
    out.write_text("<!doctype html>\n")
    assert "no page" not in command("report", tmp_path / "none", "--out", out).stderr


@pytest.mark.parametrize(
    ("out", "told"),
    [
        ("scores.parquet", "is the file of scores itself"),
        ("./scores.parquet", "is the file of scores itself"),
        ("kept.csv", "is named like another kind of file. Name a .jsonl or a .parquet file."),
        ("kept.jsonl.gz", "is named like another kind of file"),
    ],
)
def test_kept_pairs_are_no_file_of_another_kind(tmp_path, command, monkeypatch, out, told):
    monkeypatch.chdir(tmp_path)
    Path("scores.parquet").write_bytes(b"x")
    done = command("filter", "scores.parquet", "--keep-lowest", "1", "--out", out)
    assert done.returncode == 2
    assert told in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["scores.parquet"]


def test_a_shell_that_asks_for_what_is_not_known_gets_no_verdicts_code(command, monkeypatch):
    monkeypatch.setenv("_HARNESS_COMPLETE", "nonsense")
    assert command("gate").returncode == 2
