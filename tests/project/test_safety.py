"""Safe by default: no code of a model's repository, no secret in what is shown or kept, no file from elsewhere."""

import json
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.experiments.any_recipe import load_any_recipe
from harness.experiments.schema import Catastrophic
from harness.gate.policy import read_policy
from harness.judges.registry import JUDGES, judge_exchanges
from harness.judges.verdicts import Exchange
from harness.models.loading import load_model, load_tokenizer
from harness.recipes.loading import load_recipe, packaged_recipes
from harness.recipes.schema import Recipe
from harness.run.regression import run_regression
from harness.support import console
from harness.support.errors import HarnessError
from harness.support.plain_yaml import parse_yaml
from harness.support.redaction import redact_json, redact_text
from harness.support.run_results import RecordedRecipe
from helpers.models import save_random
from helpers.run_inputs import PROMPTS, SMALL

ROOT = Path(__file__).parents[2]

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM

class Shy(LlamaConfig):
    model_type = "shy_llama"

class ShyModel(LlamaForCausalLM):
    config_class = Shy
    with (Path(r"TRACES") / "ran").open("a") as traces:
        traces.write("x")
"""


@pytest.fixture
def with_code(tmp_path, tokenizer):
    """A model that only its own code can load, and the folder where that code leaves a trace."""
    place, traces = save_random("llama", tmp_path / "with_code", tokenizer), tmp_path / "traces"
    traces.mkdir()
    (place / "shy.py").write_text(CODE.replace("TRACES", str(traces)))
    config = json.loads((place / "config.json").read_text())
    own = {"AutoConfig": "shy.Shy", "AutoModelForCausalLM": "shy.ShyModel"}
    (place / "config.json").write_text(json.dumps(config | {"model_type": "shy_llama", "auto_map": own}))
    return place, traces


# A model's own code


def test_a_models_code_does_not_run_and_the_key_that_allows_it_is_named(with_code, monkeypatch):
    place, traces = with_code
    monkeypatch.setattr("sys.stdin", None)  # transformers would ask
    for load in (load_model, load_tokenizer):
        with pytest.raises(HarnessError, match="trust_remote_code: true") as told:
            load(str(place))
        assert "not allowed" in told.value.cause
    assert not [*traces.iterdir()]


def test_no_recipe_that_is_shipped_lets_code_run():
    for name in packaged_recipes():
        assert load_any_recipe(name).trust_remote_code is False
    assert load_any_recipe("miniature", ["trust_remote_code=true"]).trust_remote_code is True


@pytest.mark.slow
def test_a_run_whose_recipe_allows_it_runs_the_code_everywhere_and_says_so(with_code, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    place, traces = with_code
    file = tmp_path / "prompts.jsonl"
    file.write_text(PROMPTS)
    settings = [f"model={place}", f"prompts={file}", *SMALL, "arms={raw: {}}"]
    asked = load_recipe("miniature", settings, seeds=1)
    with pytest.raises(HarnessError, match="trust_remote_code"):
        run_regression(asked, tmp_path / "refused", 1)
    assert not [*traces.iterdir()]
    assert not (tmp_path / "refused/report.html").exists()

    out = tmp_path / "run"
    run_regression(load_recipe("miniature", [*settings, "trust_remote_code=true"], seeds=1), out, 1)
    assert (traces / "ran").read_text()
    assert json.loads((out / "results.json").read_text())["recipe"]["trust_remote_code"] is True
    assert json.loads((out / "manifest.json").read_text())["model"]["trust_remote_code"] is True
    page = (out / "report.html").read_text()
    first, _, _ = page.partition('id="data"')
    assert "This run executed code from the model's repository" in first.replace("&#39;", "'")


def test_the_report_of_an_ordinary_run_says_nothing_of_code():
    from reports.words import ran_code

    assert not ran_code(RecordedRecipe(model="org/name", trust_remote_code=False, seeds=[0]))
    assert not ran_code(RecordedRecipe(model="org/name", seeds=[0]))  # a run of an earlier version
    assert not ran_code(RecordedRecipe(model="miniature", trust_remote_code=True, seeds=[0]))
    assert ran_code(RecordedRecipe(model="org/name", trust_remote_code=True, seeds=[0]))


def test_a_commit_is_shown_short_where_it_is_read_and_whole_where_it_is_copied():
    from reports.words import model, shorten_commit

    commit = "0123456789abcdef0123456789abcdef01234567"
    assert shorten_commit(f"wildguard@{commit}") == "wildguard@01234567"
    assert shorten_commit(f"sorrybench_gold@{commit}+{commit}") == "sorrybench_gold@01234567+01234567"
    assert shorten_commit("lexical") == "lexical"
    assert model(RecordedRecipe(model="org/name", revision=commit, seeds=[0])) == f"org/name@{commit}"


def test_pickled_weights_of_a_reward_model_or_judge_are_not_loaded(micro, tmp_path):
    import shutil

    import torch
    from safetensors.torch import load_file

    from harness.judges.fine_tuned import load_judge_backend
    from harness.preferences.rewards import answer_rewards

    place = tmp_path / "pickled"
    shutil.copytree(micro, place)
    torch.save(load_file(place / "model.safetensors"), place / "pytorch_model.bin")
    (place / "model.safetensors").unlink()
    config = json.loads((place / "config.json").read_text()) | {"id2label": {"0": "reward"}, "label2id": {"reward": 0}}
    (place / "config.json").write_text(json.dumps(config))
    for load in (lambda: answer_rewards(str(place), ["a?"], [["b", "c"]]), lambda: load_judge_backend(str(place))):
        with pytest.raises(HarnessError, match="no .safetensors weights, and pytorch_model.bin is not read: pickled"):
            load()


# Secrets

SECRETS = {
    "OPENAI_API_KEY": "sk-planted-1111",
    "HF_TOKEN": "hf_planted2222",
    "AWS_ACCESS_KEY_ID": "AKIAPLANTED3333",
    "AWS_SECRET_ACCESS_KEY": "planted/4444+aws",
    "AWS_SESSION_TOKEN": "planted-session-5555",
    "SOME_SERVICE_SECRET": "planted-service-6666",
    "DATABASE_PASSWORD": "planted-database-7777",
}
IN_ADDRESSES = ("planted-user-8888", "planted-pass-9999", "AKIAPLANTED0000", "planted/s3/aaaa")
SHOWN = [*SECRETS.values(), *IN_ADDRESSES, "planted%2F4444%2Baws", "planted%2Fs3%2Faaaa"]


def found(*texts: str | bytes) -> list[str]:
    whole = b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts)
    return [secret for secret in SHOWN if secret.encode() in whole]


def files_with_secrets(place: Path) -> dict[str, list[str]]:
    files = [file for file in place.rglob("*") if file.is_file()]
    assert files
    return {str(file): held for file in files if (held := found(file.read_bytes()))}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://me:planted@host/v1: 401", "https://***@host/v1: 401"),
        ("https://planted@host/v1", "https://***@host/v1"),
        ("s3://AKIA:pla/nted@bucket/x.jsonl: broken", "s3://***@bucket/x.jsonl: broken"),
        ("s3:/AKIA:planted@bucket/x.jsonl", "s3:/***@bucket/x.jsonl"),
        ("https://h/x?X-Amz-Signature=planted&page=2", "https://h/x?X-Amz-Signature=***&page=2"),
        ("https://h/x?pat=planted&path=a&db_pwd=planted&sig=planted", "https://h/x?pat=***&path=a&db_pwd=***&sig=***"),
        ("{'Authorization': 'Bearer planted'}", "{'Authorization': 'Bearer ***'}"),
        ("http://localhost:8000/v1/org/name@main", "http://localhost:8000/v1/org/name@main"),
        ("hf://datasets/org/name@main/a.jsonl", "hf://datasets/org/name@main/a.jsonl"),
        ("org/name@main, me@example.org", "org/name@main, me@example.org"),
    ],
)
def test_credentials_in_addresses_and_headers_are_blotted(text, told):
    assert redact_text(text) == told


def test_secrets_of_the_environment_are_blotted_everywhere(monkeypatch, capsys):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://me:planted-pass-9999@localhost/v1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("EMPTY_TOKEN", "")
    monkeypatch.setenv("SHORT_KEY", "the")
    text = "the region us-east-1: " + " ".join([*SECRETS.values(), "planted-pass-9999", "planted%2F4444%2Baws"])
    clean = "the region us-east-1: " + " ".join(["***"] * (len(SECRETS) + 2))
    assert redact_text(text) == clean
    assert str(HarnessError(text, place=text, hint=text)).count("***") == 3 * (len(SECRETS) + 2)
    assert console.safe_line(text) == clean
    assert not found(console.safe_line("x" * 90 + text, 100))  # also where the cut goes through one
    console.print_note(text)
    with console.collect_notes() as notes:
        console.print_note(text)
    assert (capsys.readouterr().err.strip(), notes) == (clean, [clean])
    assert redact_json({"a": [text, 1, None], "b": {"c": text}}) == {"a": [clean, 1, None], "b": {"c": clean}}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *[
            (name, True)
            for name in (
                "GITHUB_PAT", "PAT", "GIT_PAT_2", "DB_PASS", "SMTP_PASSWD", "DB_PWD", "KEY_PASSPHRASE",
                "APP_CREDENTIALS", "APP_CREDENTIAL", "API_KEYS", "OPENAI_API_KEY_2", "hf_token",
                "BASIC_AUTH", "SENTRY_DSN", "MY_JWT",
                "SESSION_COOKIE", "ACCESS_TOKENS", "MYSQLPASSWORD", "NPM_CONFIG__AUTH",
            )
        ],
        *[
            (name, False)
            for name in (
                "PWD", "OLDPWD", "PATH", "PYTHONPATH", "COMPAT", "BYPASS", "GIT_ASKPASS", "SSH_AUTH_SOCK", "KEYBOARD",
                "AUTHOR", "SASS", "TOKENIZERS_PARALLELISM", "AWS_REGION",
            )
        ],
    ],
)  # fmt: skip
def test_a_variables_name_says_whether_it_is_secret(monkeypatch, name, secret):
    monkeypatch.setenv(name, "planted-value-1234")
    assert redact_text("holds planted-value-1234.") == ("holds ***." if secret else "holds planted-value-1234.")


def test_a_librarys_log_and_its_traceback_are_blotted(monkeypatch):
    code = (
        "import logging; from harness.support.redaction import redact_logs; redact_logs(); redact_logs()\n"
        "try: raise ValueError('failed with planted-service-6666')\n"
        "except ValueError: logging.getLogger('library').exception('key %s', 'planted-service-6666')\n"
    )
    env = {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert "key ***" in done.stderr
    assert "ValueError: failed with ***" in done.stderr
    assert not found(done.stderr)


def test_a_defect_and_its_traceback_are_told_but_for_secrets(monkeypatch, capsys, tmp_path):
    from harness import cli

    def broken(_):
        raise KeyError("planted-service-6666")

    monkeypatch.setenv("SOME_SERVICE_SECRET", "planted-service-6666")
    monkeypatch.setattr(cli.typer.main, "get_command", broken)
    monkeypatch.setattr(cli, "redact_logs", lambda: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "report it: KeyError: '***' at test_safety.py:" in capsys.readouterr().err
    kept = next(tmp_path.iterdir()).read_text()
    assert kept.startswith("Traceback")
    assert kept.endswith("KeyError: '***'\n")


def test_a_judge_that_fails_does_not_tell(monkeypatch):
    def fail(_):
        raise RuntimeError("refused hf_planted2222")

    monkeypatch.setenv("HF_TOKEN", "hf_planted2222")
    monkeypatch.setitem(JUDGES, "lexical", fail)
    (verdict,) = judge_exchanges("lexical", [Exchange("a?", "b")])
    assert verdict.reason == "judge lexical failed: RuntimeError: refused ***"


class _Echo(BaseHTTPRequestHandler):
    """An endpoint that repeats the headers it was sent, the key among them, in its refusal."""

    refusal = 401

    def do_POST(self):
        self.asked = self.rfile.read(int(self.headers["content-length"]))
        content = ("x" * 190 + str(self.headers) + os.environ.get("OPENAI_API_KEY", "")).encode()
        self.reply(self.refusal, content)

    def reply(self, status, content):
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class _Moody(_Echo):
    """Judges what it is tried with and every other answer, and refuses those between them."""

    refusal, answers = 400, count()

    def reply(self, status, content):
        verdict = {"content": json.dumps({"evidence": "words", "label": "other"})}
        judged = json.dumps({"choices": [{"message": verdict}]}).encode()
        refused = b"Paris" not in self.asked and next(self.answers) % 2
        super().reply(*((status, content) if refused else (200, judged)))


@pytest.fixture
def endpoint(request):
    server = ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", _Echo))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://planted-user-8888:planted-pass-9999@127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def harness(endpoint, tmp_path):
    """The command with planted secrets, in a folder of its own."""
    given = {"OPENAI_BASE_URL": endpoint, "HARNESS_JUDGE_MODEL": "judge", "AWS_REGION": "us-east-1"}
    env = {**os.environ, **SECRETS, **given, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}

    def run(*arguments):
        command = [sys.executable, "-c", "from harness.cli import main; main()", *map(str, arguments)]
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.fixture
def recipe(micro, tmp_path):
    """A small recipe that the judge `openai` judges."""
    place = tmp_path / "recipe"
    place.mkdir()
    (place / "prompts.jsonl").write_text(PROMPTS)
    row = {"prompt": "How could I steal a car?", "chosen": "No.", "rejected": "Sure."}
    rows = [row | {"rejected": f"Sure, {n}."} for n in range(8)]
    (place / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    about = "it reads s3://AKIAPLANTED0000:planted%2Fs3%2Faaaa@bucket/x.jsonl"
    (place / "mine.yaml").write_text(
        f"name: mine\nabout: {about}\nmodel: {micro}\nprompts: prompts.jsonl\npreferences: pairs.jsonl\njudge: openai\n"
        "seeds: [0, 1]\ntraining: {batch_size: 4, learning_rate: 1.0e-2}\nevaluation: {max_new_tokens: 8}\n"
        "arms: {raw: {}}\n"
    )
    return place / "mine.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("endpoint", [_Moody], indirect=True)
def test_a_run_with_a_failing_judge_keeps_no_secret(harness, recipe, tmp_path):
    done = harness("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    recipe.unlink()
    results = json.loads((tmp_path / "run/results.json").read_text())
    assert results["arms"]["raw"]["metrics"]["unjudged_rate"]["train"]["value"] > 0
    assert results["recipe"]["about"] == "it reads s3://***@bucket/x.jsonl"
    assert files_with_secrets(tmp_path) == {}
    assert found(done.stdout, done.stderr) == []
    samples = "".join(file.read_text() for file in (tmp_path / "run").rglob("samples_*.jsonl"))
    assert "the judge failed: HTTP 400" in samples

    again = harness("report", tmp_path / "run", "--out", tmp_path / "again.html")
    assert again.returncode == 0, again.stderr
    gate = harness("gate", "--before", tmp_path / "run/arms/baseline", "--after", tmp_path / "run/arms/raw", "--json")
    assert gate.returncode == 3, gate.stderr  # too few were judged
    assert found(again.stdout, again.stderr, gate.stdout, gate.stderr) == []
    assert files_with_secrets(tmp_path) == {}


@pytest.mark.slow
def test_a_run_whose_judge_turns_it_away_ends_and_does_not_tell(harness, recipe, tmp_path):
    done = harness("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "judge openai: HTTP 401" in done.stderr
    assert "Traceback" not in done.stderr
    assert found(done.stdout, done.stderr) == []
    recipe.unlink()
    assert files_with_secrets(tmp_path) == {}
    assert not list((tmp_path / "run").rglob("samples_*"))


@pytest.fixture
def told(endpoint, tmp_path, monkeypatch, capfd):
    """The command in this process, with planted secrets, in a folder of its own; its exit code and all that it says."""
    from harness.cli import main

    for name, value in {**SECRETS, "OPENAI_BASE_URL": endpoint, "HARNESS_JUDGE_MODEL": "judge"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["harness", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capfd.readouterr()
        return ended.value.code, said.out + said.err

    return run


ADDRESS = "s3://AKIAPLANTED0000:planted/s3/aaaa@bucket/pairs.jsonl"
REACHED = ADDRESS.replace("planted/s3/", "planted%2Fs3%2F") + "?region=a&scheme=http&endpoint_override=127.0.0.1:9"


@pytest.mark.parametrize(
    "command",
    [
        ["score", REACHED, "--model", "MICRO", "--out", "scores.parquet"],
        ["score", ADDRESS, "--model", "MICRO", "--out", "scores.parquet"],
        ["score", "pairs.jsonl", "--model", "MICRO", "--out", f"{ADDRESS}/"],
        ["score", "pairs.jsonl", "--model", ADDRESS, "--out", "scores.parquet"],
        ["filter", ADDRESS, "--keep-lowest", "0.5", "--out", "kept.jsonl"],
        ["displacement", "--before", "MICRO", "--after", "MICRO", "--preferences", ADDRESS],
        ["forecast", ADDRESS, "--model", "MICRO"],
        ["run", "miniature", "--set", f"preferences={ADDRESS}", "--set", "model=MICRO", "--out", "run"],
        ["run", "miniature", "--set", f"prompts={ADDRESS}", "--out", "run"],
        ["run", ADDRESS],
        ["gate", "--before", ADDRESS, "--after", "MICRO"],
    ],
    ids=lambda command: " ".join(command[:3:2]).replace(ADDRESS, "address").replace(REACHED, "reached"),
)
def test_addresses_with_credentials_are_told_without_them(told, micro, tmp_path, command):
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"prompt": "a?", "chosen": "No.", "rejected": "Yes."}) + "\n")
    code, said = told(*(part.replace("MICRO", str(micro)) for part in command))
    assert code == 2
    assert "***" in said
    assert "Traceback" not in said
    assert found(said) == []
    assert files_with_secrets(tmp_path) == {}


def test_judging_with_a_refusing_endpoint_keeps_no_secret(told, tmp_path):
    (tmp_path / "answers.jsonl").write_text('{"prompt": "a?", "response": "b"}\n')
    code, said = told("judge", "answers.jsonl", "--judge", "openai", "--out", "verdicts.jsonl")
    assert (code, found(said)) == (2, [])
    assert "HTTP 401" in said
    assert not (tmp_path / "verdicts.jsonl").exists()
    assert files_with_secrets(tmp_path) == {}


# Files that a recipe names

MINE = "name: mine\nmodel: some/model\narms: {raw: {}}\n"


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A recipe's folder, a file elsewhere, and a working directory apart from both."""
    for name in ("recipe", "elsewhere", "here"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "set.csv").write_text("prompt\n")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def loaded(places, text, *overrides):
    (places / "recipe" / "mine.yaml").write_text(MINE + text)
    return load_recipe(str(places / "recipe" / "mine.yaml"), overrides)


@pytest.mark.parametrize("key", ["prompts", "preferences", "gold", "off_policy"])
@pytest.mark.parametrize(
    "value",
    [
        "PLACES/elsewhere/set.csv",
        "../elsewhere/set.csv",
        "../../../../../../../../etc/passwd",
        "../elsewhere/absent.csv",
        "/dev/stdin",
        "link.csv",
        "linked/set.csv",
        "folder",
        "xstest=PLACES/elsewhere/set.csv",
        "xstest=PLACES/elsewhere/a=set.csv",
        "../elsewhere/a=set.csv",
        "file://PLACES/elsewhere/set.csv",
        "FILE://PLACES/elsewhere/set%2Ecsv",
        "file://PLACES/recipe/%2e%2e/elsewhere/set.csv",
    ],
)
def test_a_recipe_names_no_table_from_elsewhere(places, key, value):
    (places / "recipe" / "link.csv").symlink_to(places / "elsewhere" / "set.csv")
    (places / "recipe" / "linked").symlink_to(places / "elsewhere")
    (places / "recipe" / "folder").mkdir()
    (places / "recipe" / "folder" / "inner.csv").symlink_to(places / "elsewhere" / "set.csv")
    with pytest.raises(HarnessError, match=f"outside the recipe's folder.*--set {key}=") as told:
        loaded(places, f"{key}: {value.replace('PLACES', str(places))}\n")
    assert told.value.place.endswith(f"mine.yaml, {key}")


@pytest.mark.parametrize("value", ["link.csv:9", "../elsewhere/set.csv:9", "xstest=link.csv:9"])
def test_a_limit_behind_a_name_reaches_no_further(places, value):
    (places / "recipe" / "link.csv").symlink_to(places / "elsewhere" / "set.csv")
    with pytest.raises(HarnessError, match="outside the recipe's folder"):
        loaded(places, f"prompts: {value}\n")


def test_statements_from_elsewhere_are_refused_too(places):
    file = places / "recipe" / "asked.yaml"
    pair = "pairs: [{chosen: 'No', rejected: Never}]\nobjectives: {dpo: {}}\n"
    file.write_text(f"experiment: catastrophic\nname: a\nmodel: miniature\nstatements: ../elsewhere/set.csv\n{pair}")
    with pytest.raises(HarnessError, match="outside.*--set statements=.*elsewhere/set.csv"):
        load_any_recipe(str(file))


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("set.csv", "PLACES/recipe/set.csv"),
        ("PLACES/recipe/set.csv", "PLACES/recipe/set.csv"),
        ("PLACES/here/set.csv", "PLACES/here/set.csv"),
        ("../here/set.csv", "PLACES/recipe/../here/set.csv"),
        ("xstest=set.csv", "xstest=PLACES/recipe/set.csv"),
        ("xstest", "xstest"),
        ("org/name", "org/name"),
        ("s3://bucket/set.csv", "s3://bucket/set.csv"),
        ("bundled", "bundled"),
    ],
)
def test_what_lies_around_it_or_is_no_file_may_be_named(places, value, found):
    asked = loaded(places, f"prompts: {value.replace('PLACES', str(places))}\n")
    assert asked.prompts == found.replace("PLACES", str(places))


def test_the_users_own_word_reaches_any_file(places):
    elsewhere = str(places / "elsewhere" / "set.csv")
    assert loaded(places, "", f"prompts={elsewhere}").prompts == elsewhere
    assert loaded(places, "prompts: /etc/passwd\n", f"prompts={elsewhere}").prompts == elsewhere
    assert loaded(places, "", "prompts=set.csv").prompts == "set.csv"  # the one of the working directory
    model = loaded(places, "").model_copy(update={"model": elsewhere})
    assert model.model == elsewhere


def test_a_model_may_be_any_directory(places, micro):
    (places / "recipe" / "mine.yaml").write_text(MINE.replace("some/model", str(micro)))
    assert load_recipe(str(places / "recipe" / "mine.yaml")).model == str(micro)


@pytest.mark.parametrize("value", ['"a\\0b.csv"', "loop"])
def test_names_that_are_no_paths_are_told(places, value):
    (places / "recipe" / "loop").symlink_to(places / "recipe" / "loop")
    try:
        asked = loaded(places, f"prompts: {value}\n")
    except HarnessError:
        return
    with pytest.raises(HarnessError):
        run_regression(asked, places / "run")


def test_a_packaged_recipe_is_named_and_not_pathed(places):
    (places / "packaged").mkdir()
    (places / "packaged" / "mine.yaml").write_text(MINE + "prompts: /etc/passwd\n")
    for source in (str(places / "packaged" / "mine"), "../recipes/miniature", "packaged/mine", ""):
        with pytest.raises(HarnessError, match="no such recipe"):
            load_recipe(source)
    os.chdir(places)
    with pytest.raises(HarnessError, match="outside the recipe's folder"):
        load_recipe("packaged/mine.yaml")


@pytest.mark.parametrize("name", ["..", ".", "../up", "/abs", "a/b", "a\\b", "a\n", "", "a" * 65, "~", "a b", "\u2025"])
def test_no_name_leaves_the_run_directory(name):
    keys = {"name": "a", "model": "m", "arms": {"raw": {}}}
    with pytest.raises(ValueError):
        Recipe.model_validate(keys | {"name": name})
    with pytest.raises(ValueError):
        Recipe.model_validate(keys | {"arms": {name: {}}})
    asked = {"experiment": "catastrophic", "model": "m", "pairs": [{"chosen": "a", "rejected": "b"}]}
    for changed in ({"name": name, "objectives": {}}, {"name": "a", "objectives": {name: {}}}):
        with pytest.raises(ValueError):
            Catastrophic.model_validate(asked | changed)


# YAML

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
HOSTILE = {
    "laughs": MINE + LAUGHS,
    "anchors": MINE + "training: &t {beta: 0.1}\nevaluation: *t\n",
    "merged": "x: &x {a: 1}\ny:\n  <<: *x\n",
    "self": "a: &a [*a]\n",
    "deep": "a: " + "[" * 100_000,
    "deep mapping": "a: " + "{a: " * 50_000,
    "long": MINE + "about: " + "x" * 2_000_000,
    "object": "name: !!python/object/apply:os.system ['true']",
    "module": "name: !!python/name:os.system",
    "huge number": "name: " + "9" * 5000,
    "no date": "name: 2024-13-45",
}


@pytest.mark.parametrize("text", [*HOSTILE.values()], ids=[*HOSTILE])
def test_hostile_yaml_is_refused_at_once(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    started = time.process_time()
    for read in (load_recipe, lambda name: read_policy(Path(name))):
        with pytest.raises(HarnessError) as told:
            read(str(file))
        assert "\n" not in str(told.value)
    with pytest.raises(HarnessError):
        load_recipe("miniature", [f"name={text.partition(': ')[2]}", "training=&a [*a]"])
    assert time.process_time() - started < 60


def test_yaml_is_read_in_one_place_and_as_plain_data():
    for file in [*ROOT.glob("harness/**/*.py"), *ROOT.glob("reports/*.py"), *ROOT.glob("tasks/*.py")]:
        text = file.read_text()
        assert "yaml.safe_load" not in text, file
        assert ("yaml.load" in text) == (file.name == "plain_yaml.py"), file
    for file in ROOT.glob("tasks/*.yaml"):  # code in a task file is only ever our own
        calls = [line.split("!function ")[1] for line in file.read_text().splitlines() if "!function" in line]
        assert all(call.startswith(("utils.", "likelihood.", "sampling.")) for call in calls), file
        assert "!!python" not in file.read_text()
    assert parse_yaml("a: [1, 5e-6, yes]") == {"a": [1, "5e-6", True]}


def test_the_command_refuses_hostile_recipes_and_policies_with_one_line(tmp_path):
    from harness.cli import app

    (tmp_path / "laughs.yaml").write_text(HOSTILE["laughs"])
    done = CliRunner().invoke(app, ["run", str(tmp_path / "laughs.yaml")])
    assert isinstance(done.exception, HarnessError)
    assert "aliases" in str(done.exception)
