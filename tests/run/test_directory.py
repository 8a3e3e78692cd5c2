"""A run directory: what a stage's work, done or stopped, leaves of what an earlier run came to."""

import json
import re

import pytest

from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.run.directory import RunDirectory
from harness.support.errors import HarnessError
from harness.support.run_results import refuse_unfinished_run
from helpers.samples_files import manifest, side
from reports.reading import read_run


def run_of(path, rate, stop=False) -> RunDirectory:
    """A run of one stage, whose file says the rate; stopped in the middle of its work, or brought to its results."""
    path.mkdir(exist_ok=True)
    directory = RunDirectory(path, {"rate": rate}, {})
    out = path / "stage.json"

    def work():
        if stop:
            raise KeyboardInterrupt
        out.write_text(json.dumps(rate))

    directory.run_stage("stage", {"rate": rate}, [out], work)
    directory.record_outcome({"rate": rate})
    (path / "report.html").write_text(str(rate))
    return directory


def names(path) -> set[str]:
    return {file.name for file in path.iterdir() if not file.name.startswith(".")}


def test_a_stage_that_runs_again_takes_the_earlier_results_away_before_it_works(tmp_path):
    run_of(tmp_path, 1)
    assert names(tmp_path) == {"manifest.json", "stage.json", "results.json", "report.html"}
    refuse_unfinished_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run_of(tmp_path, 2, stop=True)
    assert names(tmp_path) == {"manifest.json", "stage.json"}
    assert "results.json" not in json.loads((tmp_path / "manifest.json").read_text())["files"]
    for reader in (refuse_unfinished_run, read_run):
        with pytest.raises(HarnessError, match=r"not finished.*Finish the run"):
            reader(tmp_path)


def test_a_stopped_run_loses_no_work_of_the_recipe_before(tmp_path, capsys):
    run_of(tmp_path, 1)
    with pytest.raises(KeyboardInterrupt):
        run_of(tmp_path, 2, stop=True)
    capsys.readouterr()
    run_of(tmp_path, 1, stop=True)  # its stage is done, so nothing stops it
    assert "nothing to do: all 1 stages were done before" in capsys.readouterr().err
    assert json.loads((tmp_path / "results.json").read_text()) == {"rate": 1}
    refuse_unfinished_run(tmp_path)


def test_where_all_is_done_the_results_stay_and_what_never_began_leaves_nothing(tmp_path):
    done = tmp_path / "done"
    run_of(done, 1)
    before = (done / "results.json").read_bytes()
    run_of(done, 1, stop=True)
    assert (done / "results.json").read_bytes() == before
    with pytest.raises(KeyboardInterrupt):
        run_of(tmp_path / "new", 1, stop=True)
    assert names(tmp_path / "new") == set()


def test_an_earlier_page_does_not_stand_beside_new_results(tmp_path):
    directory = run_of(tmp_path, 1)
    directory.record_outcome({"rate": 2})  # and stopped before the page is written
    assert names(tmp_path) == {"manifest.json", "stage.json", "results.json"}


@pytest.mark.parametrize("finished", [True, False, None])
def test_the_gate_takes_arms_of_finished_runs_only(tmp_path, finished):
    arms = [side(tmp_path / "arms" / arm / "eval", 95, 100, model=arm) for arm in ("baseline", "raw")]
    outcome = {} if finished is None else {"finished": finished}
    manifest(tmp_path)
    recorded = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(recorded | outcome))
    if finished is False:
        with pytest.raises(HarnessError, match="Finish the run"):
            run_gate(*arms, Policy())
    else:
        assert run_gate(*arms, Policy()).exit_code in {0, 1, 3}


def test_a_run_of_another_recipe_is_refused_unless_it_is_said_to_be_that_one(tmp_path):
    RunDirectory(tmp_path, {"name": "mine"}, {}).record_outcome({})
    with pytest.raises(HarnessError, match=r"a run of the recipe 'mine', not of 'other'.*--set name=mine"):
        RunDirectory(tmp_path, {"name": "other"}, {})
    RunDirectory(tmp_path, {"name": "mine", "seeds": [7]}, {})


def test_what_was_done_before_is_one_line(tmp_path, capsys):
    def run(*rates):
        directory = RunDirectory(tmp_path, {}, {})
        for number, rate in enumerate(rates):
            out = tmp_path / f"{number}.json"
            directory.run_stage(f"stage {number}", {"rate": rate}, [out], lambda o=out: o.write_text("1"))
        directory.record_outcome({})
        return capsys.readouterr().err.splitlines()

    assert run(1, 2, 3) == []
    assert run(1, 2, 3) == ["nothing to do: all 3 stages were done before"]
    assert run(1, 2, 4) == ["2 stages done before", "stage 2: again, because rate changed"]


def test_a_stages_time_is_told_where_all_is(tmp_path, capsys, monkeypatch):
    run_of(tmp_path, 1)
    assert "stage: " not in capsys.readouterr().err
    monkeypatch.setenv("HARNESS_VERBOSITY", "verbose")
    run_of(tmp_path, 2)
    assert re.search(r"^stage: \d\.\d s$", capsys.readouterr().err, re.MULTILINE)
