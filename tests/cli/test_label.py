"""`harness label`: from a run or from evaluations to a file and a page, and what it says to do next."""

import shlex
import shutil

import pytest

from harness.support.label_files import read_label_file
from helpers.labels import as_judged, labelled, own_texts
from helpers.report_runs import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("label") / "run")


def test_from_a_run_to_the_gate(run, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("label", run, "--n", "20")
    assert done.returncode == 0, done.stderr
    file = read_label_file(tmp_path / "labels.csv")
    assert not file.labelled
    assert (tmp_path / "labels.html").stat().st_size
    gate, calibrate = (shlex.split(line) for line in done.stdout.splitlines()[-2:])
    assert gate[:3] == ["harness", "gate", "--before"]
    assert gate[3].endswith("arms/baseline")
    assert gate[5].endswith("arms/raw")
    assert calibrate[-1] == "calibration.json"
    assert "the gate takes 30 or more a side" in " ".join(done.stdout.split())
    filled = labelled(type("Queue", (), {"file": file}), tmp_path / "labels.csv", lambda row: "refusal")
    assert command(*gate[1:]).returncode in {0, 1, 3}
    assert command(*calibrate[1:]).returncode == 0
    again = command("label", run, "--n", "20")
    assert again.returncode == 2
    assert f"holds {len(file.rows)} labels" in again.stderr
    assert read_label_file(filled).labelled


def test_from_two_evaluations_and_from_one(tmp_path, command):
    before, after = own_texts(tmp_path, 90, 80, prompts=100)
    two = command("label", "--before", before, "--after", after, "--out", tmp_path / "two.csv")
    assert two.returncode == 0, two.stderr
    file = read_label_file(tmp_path / "two.csv")
    assert len(file.rows) == 60
    assert {row.side for row in file.rows} == {"before", "after"}
    one = command("label", before, "--out", tmp_path / "one.csv", "--prompts", "all")
    assert one.returncode == 0, one.stderr
    assert "harness gate" not in one.stdout
    assert {row.unsafe for row in read_label_file(tmp_path / "one.csv").rows} == {True, False}


def test_no_verdict_of_the_judge_is_in_the_files(tmp_path, command):
    before, after = own_texts(tmp_path, 90, 80, prompts=100)
    command("label", "--before", before, "--after", after, "--out", tmp_path / "l.csv")
    for name in ("l.csv", "l.html"):
        assert "by rule" not in (tmp_path / name).read_text(encoding="utf-8")  # the judge's reason in the samples
    assert {row.verdict for row in read_label_file(tmp_path / "l.csv").rows} == {None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a run, a directory"),
        (["RUN", "--before", "B", "--after", "A"], "name a run, a directory"),
        (["--before", "B"], "name a run, a directory"),
        (["--before", "B", "--after", "A", "--arm", "raw"], "--arm: is for a run"),
        (["B", "--arm", "raw"], "is no run, which alone has arms"),
        (["RUN", "--arm", "nothing"], "has no arm 'nothing'"),
        (["RUN", "--out", "labels.jsonl"], "is no .csv file"),
        (["RUN", "--out", "mine.csv"], "is another file"),
        (["RUN", "--second", "nobody"], "no judge is called 'nobody'"),
        (["RUN", "--second", "lexical"], "--second: names the first judge, lexical"),
        (["GONE"], "no such directory"),
    ],
)
def test_what_it_refuses(words, said, run, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, "RUN")
    own_texts(tmp_path, 9, 9, prompts=10)
    (tmp_path / "before").rename("B")
    (tmp_path / "after").rename("A")
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    done = command("label", *words)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.split())
    assert not (tmp_path / "labels.csv").exists()


def test_labels_that_agree_leave_the_decision(tmp_path, command):
    before, after = own_texts(tmp_path, 400, 100)
    out = tmp_path / "l.csv"
    assert command("label", "--before", before, "--after", after, "--out", out).returncode == 0
    labelled(type("Queue", (), {"file": read_label_file(out)}), out, as_judged)
    done = command("gate", "--before", before, "--after", after, "--labels", out)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "drawn in" in done.stdout
