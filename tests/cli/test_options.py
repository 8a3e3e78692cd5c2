"""What every command takes, and what `harness` does without one: versions, how much is told, completion."""

import os
import subprocess
import sys
from importlib import metadata

import pytest

from harness.cli.listing import complete_measure, complete_recipe
from harness.recipes.loading import packaged_recipes
from harness.scoring.targets import TARGETS, influence_column
from helpers.command import CLEAN

HEAVY = {"torch", "transformers", "datasets", "lm_eval", "trl", "scipy", "numpy", "pyarrow", "altair"}
NO_DETECTION = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"


def run_python(code, *words, **variables):
    env = {**CLEAN, **variables}
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=env)


def ask(*words, **variables):
    """The command in a process of its own."""
    return run_python("from harness.cli import main; main()", *words, **variables)


def ask_lightly(*words, **variables):
    """The same, which ends with 9 where it has imported anything heavy."""
    code = (
        "import sys\nfrom harness.cli import run_command_line\n"
        f"code = run_command_line()\nsys.exit(9 if {HEAVY!r} & set(sys.modules) else code)"
    )
    return run_python(code, *words, **variables)


def completed(line):
    """What a shell would offer at the end of a line."""
    done = ask_lightly(_HARNESS_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(line.count(" ")))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


# Versions


@pytest.mark.parametrize("start", [("-c", "from harness.cli import main; main()"), ("-m", "harness")])
def test_the_versions_are_told_either_way(start):
    done = subprocess.run([sys.executable, *start, "--version"], capture_output=True, text=True, env=CLEAN)
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert (done.returncode, done.stderr) == (0, "")
    assert [*told] == ["harness", "python", "torch", "transformers", "trl", "lm-eval"]
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["lm-eval"] == metadata.version("lm-eval")


def test_the_versions_are_told_without_importing_what_they_are_of():
    assert ask_lightly("--version").returncode == 0


# How much is told


@pytest.mark.parametrize("words", [("-q", "gate", "--init"), ("gate", "--init", "--quiet")])
def test_quiet_leaves_out_notes(command, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    done = command(*words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "policy.yaml").is_file()


def test_without_it_the_note_is_told_after_a_quiet_command_too(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("-q", "recipes")
    assert command("gate", "--init").stderr == "wrote policy.yaml\n"


def test_quiet_keeps_results_and_errors(command):
    assert command("-q", "judges").stdout == command("judges").stdout != ""
    assert command("run", "nothing", "-q").stderr.startswith("harness: nothing: no such recipe")


@pytest.mark.parametrize("words", [("-v", "run", "nothing"), ("run", "nothing", "--verbose")])
def test_verbose_tells_how_it_came_to_an_error_and_ends_alike(words):
    plain, told = ask("run", "nothing"), ask(*words)
    assert told.stderr.startswith("Traceback (most recent call last):")
    assert "in load_any_recipe" in told.stderr
    assert told.stderr.splitlines()[-1] == plain.stderr.strip()
    assert (told.returncode, told.stdout) == (plain.returncode, "")


def test_a_traceback_holds_no_secret_and_no_control_character():
    secret = "hf_abcdefghijklmnop"
    done = ask("-v", "run", f"\x1b[31m{secret}.yaml", HF_TOKEN=secret)
    assert "Traceback" in done.stderr
    assert secret not in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize("words", [("-q", "-v", "recipes"), ("-v", "recipes", "-q"), ("recipes", "-q", "-v")])
def test_both_at_once_are_refused(command, words):
    done = command(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not beside" in done.stderr


def test_libraries_are_told_how_much_to_say_before_they_are_imported():
    code = (
        "import os, sys\nimport harness.recipes.loading as loading\n"
        "for name in ('TRANSFORMERS_VERBOSITY', 'TQDM_DISABLE'):\n    os.environ.pop(name, None)\n"
        "told = lambda: {os.environ['TRANSFORMERS_VERBOSITY']: os.environ.get('TQDM_DISABLE', '')}\n"
        "loading.packaged_recipes = told\nsys.stderr.isatty = lambda: True\n"
        "from harness.cli import run_command_line\nrun_command_line()"
    )
    said = {flag: run_python(code, *filter(None, [flag]), "recipes").stdout.split() for flag in ("", "-q", "-v")}
    assert said == {"": ["error"], "-q": ["error", "1"], "-v": ["info"]}


# Completion


def test_names_are_completed_without_importing_anything_heavy():
    assert completed("harness run mini") == ["miniature"]
    assert completed("harness judge answers.jsonl --judge lex") == ["lexical"]
    assert completed("harness filter scores.parquet --by re") == ["refusal_influence"]
    assert completed("harness recip") == ["recipes"]
    assert completed("harness gate --verb") == ["--verbose"]


def test_what_is_completed_is_there():
    assert complete_recipe("") == [*packaged_recipes()]
    from harness.scoring.ches import MEASURES

    assert sorted(complete_measure("")) == sorted([*MEASURES, *map(influence_column, TARGETS)])


def test_the_script_for_a_shell_asks_this_command(tmp_path):
    done = ask("--show-completion", "bash", HOME=str(tmp_path), **{NO_DETECTION: "1"})
    assert done.returncode == 0
    assert "_HARNESS_COMPLETE=complete_bash" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "tcsh"])
def test_a_completion_is_installed_or_refused_with_2(tmp_path, shell):
    """1 is what a failed gate ends with, and nothing else."""
    variables = {"HOME": str(tmp_path), NO_DETECTION: "1"}
    done = ask("--install-completion", shell, **variables)
    assert done.returncode == (0 if shell == "bash" else 2)
    assert (tmp_path / ".bashrc").exists() == (shell == "bash")


def test_a_terminal_with_a_bash_completes(tmp_path):
    """As bash does it: the script is read, and its function fills COMPREPLY."""
    script = tmp_path / "completion.sh"
    script.write_text(ask("--show-completion", "bash", **{NO_DETECTION: "1"}).stdout)
    start = tmp_path / "harness"
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m harness "$@"\n')
    start.chmod(0o755)
    line = f'. {script}; COMP_WORDS=(harness run unal); COMP_CWORD=2; _harness_completion harness; echo "$COMPREPLY"'
    path = os.pathsep.join([str(tmp_path), CLEAN["PATH"]])
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env={**CLEAN, "PATH": path}, check=True)
    assert done.stdout.strip() == "unalignment"
