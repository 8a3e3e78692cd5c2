"""The files that hand a decision on: whole or not at all, each its own, and without harmful text."""

from __future__ import annotations

import hashlib
import json
import os
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
        (("gate", "--noise", *files, "--json", files[0]), "is both --noise and --json"),
        (("report", "--out", files[0]), "is there already, and no page"),
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


def test_all_files_are_written_or_none(gated):
    """A statement that stays beside exit code 2 would be signed."""
    Path("file").write_text("")
    Path("model").mkdir()
    written = [name for name in FILES if name != "markdown"]
    done = gated(*options(*written), "--hub", "model", "--markdown", "file/out")
    assert done.returncode == 2
    assert done.stderr.count("cannot be written") == 1
    assert "file/out: cannot be written" in done.stderr
    assert {path.name for path in Path().iterdir()} == {"before", "after", "file", "model"}
    assert not [*Path("model").iterdir()]


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


@pytest.mark.parametrize("option", [*FILES, "hub"])
@pytest.mark.parametrize("given", ["--before", "--after"])
def test_no_side_is_lost_to_an_output(tmp_path, command, monkeypatch, option, given):
    monkeypatch.chdir(tmp_path)
    files = {"--before": Path("a/README.md"), "--after": Path("b/README.md")}
    for (side_option, path), name in zip(files.items(), ("base", "tuned"), strict=True):
        path.parent.mkdir()
        path.write_bytes((READERS / "plain" / f"{name}.jsonl").read_bytes())
        files[side_option] = path.rename(path.with_suffix(".jsonl")) if option != "hub" else path
    held = files[given].read_bytes()
    output = files[given].parent if option == "hub" else files[given]
    done = command("gate", *(word for pair in files.items() for word in pair), f"--{option}", output)
    assert done.returncode == 2
    assert f"is both {given} and --{option}" in done.stderr
    assert files[given].read_bytes() == held


@pytest.mark.parametrize("option", FILES)
def test_no_file_of_a_sides_directory_is_lost_to_an_output(gated, option):
    (samples,) = Path("after").rglob("samples_*unsafe*.jsonl")
    held = samples.read_bytes()
    Path("link").symlink_to(samples)
    for place in (samples, "link"):
        done = gated(f"--{option}", place)
        assert done.returncode == 2
        assert f"is a file that was gated, and would be lost to --{option}" in done.stderr
        assert samples.read_bytes() == held


@pytest.mark.parametrize("name", ["manifest.json", "results.json"])
def test_no_file_of_a_run_is_lost_to_an_output(gated, name):
    run = Path("run")
    (run / "arms").mkdir(parents=True)
    (run / "results.json").write_text("{}")
    (run / "own.json").write_text("{}")
    (run / "manifest.json").write_text(json.dumps({"schema_version": 1, "recipe": {}, "files": {"results.json": "0"}}))
    held = (run / name).read_bytes()
    done = gated("--json", run / name)
    assert (done.returncode, (run / name).read_bytes()) == (2, held)
    assert "is a file of a run, and would be lost to --json" in done.stderr
    assert gated("--json", run / "own.json").returncode == 1


@pytest.mark.parametrize("option", FILES)
def test_a_directory_is_no_output(gated, option):
    Path("folder").mkdir()
    for given, shown in (("", "."), ("folder", "folder")):
        done = gated(f"--{option}", given)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"--{option} {shown}: is a directory" in done.stderr


def test_a_policy_that_can_be_read_once_only_is_refused_as_its_hash_would_be_anothers(gated):
    os.mkfifo("policy.yaml")
    done = gated("--policy", "policy.yaml", "--statement", "s.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--policy policy.yaml: is no file" in done.stderr


@pytest.mark.parametrize(
    ("held", "kept"),
    [
        (b"one\r\ntwo\n", b"one\r\ntwo\n"),
        (b"no end", b"no end\n"),
        (b"\xffnot UTF-8\n", b"\xffnot UTF-8\n"),
        (b"", b""),
    ],
)
def test_markdown_leaves_what_the_file_holds_as_it_is(gated, held, kept):
    Path("summary.md").write_bytes(held)
    assert gated("--markdown", "summary.md").returncode == 1
    assert Path("summary.md").read_bytes().startswith(kept + b"## Safety gate: FAIL\n")
