"""The files that hand a decision on: whole or not at all, each its own, and without harmful text."""

from __future__ import annotations

import hashlib
import json
from itertools import combinations
from pathlib import Path

import pytest

from helpers.samples_files import side, sides

READERS = Path(__file__).parents[1] / "data" / "readers"
FILES = ("junit", "markdown", "json", "sarif", "statement", "annotations")


@pytest.fixture
def gated(tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sides(tmp_path, 90, 60)
    return lambda *arguments: command("gate", "--before", "before", "--after", "after", *arguments)


def options(*names: str) -> list[str]:
    return [word for name in names for word in (f"--{name}", f"{name}.out")]


def test_all_are_written_before_the_exit_code(gated):
    done = gated(*options(*FILES))
    assert done.returncode == 1, done.stderr
    assert all(Path(f"{name}.out").stat().st_size for name in FILES)
    assert json.loads(Path("sarif.out").read_text())["version"] == "2.1.0"


def test_texts_are_in_none_but_the_two_that_were_asked(gated):
    assert gated(*options(*FILES), "--with-text").returncode == 1
    holding = {name for name in FILES if "harmful answer 0 to" in Path(f"{name}.out").read_text()}
    assert holding == {"markdown", "json"}
    for name in FILES:
        Path(f"{name}.out").unlink()
    gated(*options(*FILES))
    assert not [name for name in FILES if "answer 0 to" in Path(f"{name}.out").read_text()]


@pytest.mark.parametrize(("first", "second"), [*combinations(FILES, 2)])
def test_two_outputs_are_not_one_file(gated, first, second):
    Path("link").symlink_to("one")
    done = gated(f"--{first}", "one", f"--{second}", "link")
    assert done.returncode == 2
    assert "Give each its own file" in done.stderr
    assert not Path("one").exists()


def test_an_output_is_none_of_the_files_that_are_gated(tmp_path, command):
    names = ("base", "tuned")
    for number, name in enumerate(names):
        rows = ({"prompt": f"Request {n}?", "response": f"I can't help with that. {number}"} for n in range(60))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(tmp_path / f"{name}.jsonl") for name in names]
    texts = [Path(file).read_text() for file in files]
    for arguments, told in (
        (("gate", "--markdown", files[1]), "is both --after and --markdown"),
        (("gate", "--noise", *files, "--json", files[0]), "is both --noise 1 and --json"),
        (("report", "--out", files[0]), "is both --before and --out"),
    ):
        done = command(*arguments, "--before", files[0], "--after", files[1])
        assert done.returncode == 2
        assert told in done.stderr
    assert [Path(file).read_text() for file in files] == texts


@pytest.mark.parametrize("option", FILES)
def test_an_output_is_no_input(gated, option):
    Path("policy.yaml").write_text("alpha: 0.02\n")
    done = gated("--policy", "policy.yaml", f"--{option}", "policy.yaml")
    assert done.returncode == 2
    assert f"is both --policy and --{option}" in done.stderr
    assert Path("policy.yaml").read_text() == "alpha: 0.02\n"


@pytest.mark.parametrize("option", FILES)
def test_one_that_cannot_be_written_is_bad_usage_and_nothing_is_half_there(gated, option):
    Path("file").write_text("")
    done = gated(f"--{option}", "file/out")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert {path.name for path in Path().iterdir()} == {"before", "after", "file"}


@pytest.mark.parametrize("option", FILES)
def test_a_gate_that_refuses_its_input_writes_nothing(gated, option):
    assert gated(f"--{option}", "out", "--labels", "missing.csv").returncode == 2
    assert not Path("out").exists()


@pytest.mark.parametrize("asked", [("--junit", "g.xml"), ("--json", "g.json"), ("--comment", "gate")])
def test_noise_alone_is_no_decision_to_hand_on(gated, command, asked):
    for seed in (0, 1):
        side(Path(f"seed-{seed}"), 90, model="base", seed=seed, signed=f"seed {seed}", date=1000.0 + seed)
    noise = ("gate", "--noise", "seed-0", "seed-1")
    assert command(*noise).returncode == 0
    done = command(*noise, *asked)
    assert done.returncode == 2
    assert f"{asked[0]}: hands a decision on" in done.stderr
    assert not Path(asked[1]).exists()


def test_a_models_card_is_an_output_as_others_are(gated):
    Path("model").mkdir()
    assert gated("--hub", "model", "--hub-dataset", "org/benchmark").returncode == 1
    assert "## Safety gate: FAIL" in Path("model/README.md").read_text()
    assert Path("model/.eval_results/refusal_displacement.yaml").is_file()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--hub-dataset", "org/benchmark"), "--hub-dataset org/benchmark: is for --hub"),
        (("--hub", "model", "--markdown", "model/README.md"), "is both --markdown and --hub"),
    ],
)
def test_a_card_that_cannot_be_is_refused_before_anything_is_read(gated, asked, told):
    Path("model").mkdir()
    done = gated(*asked)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
    assert not [*Path("model").iterdir()]


@pytest.mark.parametrize(
    ("tool", "name", "made_with"),
    [
        ("garak", "{}.report.jsonl.gz", ["garak 0.17.1"]),
        ("promptfoo", "{}.json.gz", ["promptfoo 0.121.20"]),
        ("pyrit", "{}.json.gz", ["PyRIT 1.1.0"]),
        ("plain", "{}.jsonl", []),
    ],
)
def test_other_tools_results_are_handed_on_alike(tmp_path, command, monkeypatch, tool, name, made_with):
    monkeypatch.chdir(tmp_path)
    before, after = (READERS / tool / name.format(side) for side in ("base", "tuned"))
    Path("policy.yaml").write_text("metrics: {refusal_rate: {}}\n")
    compared = ("--before", before, "--after", after, "--policy", "policy.yaml")
    done = command("gate", *compared, *options(*FILES))
    assert done.returncode in (0, 1, 3), done.stderr
    content, statement = (json.loads(Path(f"{kind}.out").read_text()) for kind in ("json", "statement"))
    assert content["versions"]["after"] == made_with
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    assert digests == {
        f"{side}/{path.name}": hashlib.sha256(path.read_bytes()).hexdigest()
        for side, path in (("before", before), ("after", after))
    }
    assert all(Path(f"{kind}.out").exists() for kind in FILES)
