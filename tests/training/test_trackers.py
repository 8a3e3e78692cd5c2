"""Experiment trackers: each training a run of its own there, the outcome another, and nothing else depends on them."""

import json
import os
import struct
import sys
from importlib.util import find_spec as find_installed
from types import ModuleType, SimpleNamespace

import pytest
from typer.testing import CliRunner

from harness.cli import app
from harness.gate.decision import run_gate
from harness.gate.policy import Policy
from harness.recipes.loading import load_recipe
from harness.recipes.schema import Arm, TrainingSettings
from harness.run.regression import _tracked_rates, run_regression
from harness.run.stages import _training_inputs
from harness.support.errors import HarnessError
from harness.support.run_results import TaskMetric
from harness.training import trackers
from harness.training.jobs import Tracking, TrainingJob
from harness.training.launched import read_job, write_job
from harness.training.trackers import check_trackers, tracked_training
from harness.training.train import train_on_pairs
from helpers.run_inputs import PROMPTS, SMALL

ALL = ("wandb", "mlflow", "trackio", "tensorboard")
PLACES = ("WANDB_PROJECT", "MLFLOW_EXPERIMENT_NAME", "TENSORBOARD_LOGGING_DIR")


def tracking(folder, *names, run="raw-seed-0"):
    return Tracking(names or ("tensorboard",), "mine", run, str(folder))


@pytest.fixture(autouse=True)
def no_places(monkeypatch):
    for name in PLACES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def packages(monkeypatch):
    """Stand-ins for the packages, and what was called of them."""
    called = []
    run = SimpleNamespace(get=lambda: "open")
    made = {
        "wandb": {"finish": lambda: called.append("wandb"), "login": lambda prompt: False},
        "mlflow": {"active_run": lambda: True, "end_run": lambda: called.append("mlflow")},
        "trackio": {"finish": lambda: called.append("trackio")},
        "trackio.context_vars": {"current_run": run},
    }
    for name, parts in made.items():
        module = ModuleType(name)
        vars(module).update(parts)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name in made)
    return called


def read_events(folder):
    """The scalars and texts of TensorBoard's event files, read record by record as TFRecord's format says."""
    from tensorboardX.proto.event_pb2 import Event

    scalars, texts = {}, {}
    for file in sorted(folder.glob("events.*")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            (size,) = struct.unpack_from("<Q", content, place)
            for value in Event.FromString(content[place + 12 : place + 12 + size]).summary.value:
                if value.HasField("simple_value"):
                    scalars.setdefault(value.tag, []).append(value.simple_value)
                else:
                    texts[value.tag] = value.tensor.string_val[0].decode()
            place += size + 16
    return scalars, texts


# The key


@pytest.mark.parametrize(
    ("given", "read"),
    [("none", ()), ("wandb", ("wandb",)), (["mlflow", "trackio"], ("mlflow", "trackio")), ([], ())],
)
def test_trackers_are_named_one_or_several(given, read):
    assert TrainingSettings(report_to=given).report_to == read


def test_trackers_are_no_input_of_anything_that_is_kept():
    """As without them, so that what was trained before the key was there counts as done."""
    plain, tracked = TrainingSettings(), TrainingSettings(report_to=ALL)
    assert "report_to" not in _training_inputs(plain)
    assert _training_inputs(tracked) == _training_inputs(plain)
    recipe = load_recipe("miniature", ["training.report_to=wandb"])
    assert recipe.training.report_to == ("wandb",)
    assert "wandb" not in json.dumps(recipe.model_dump(mode="json"))


def test_an_unknown_tracker_and_an_experiment_are_refused_in_one_line(tmp_path):
    for recipe, said in {"miniature": "must be 'wandb', 'mlflow'", "selection": "does not know the experiment"}.items():
        named = "wandbb" if recipe == "miniature" else "wandb"
        done = CliRunner().invoke(app, ["run", recipe, "--report-to", named, "--out", str(tmp_path / "run")])
        assert isinstance(done.exception, HarnessError)
        assert "report_to" in str(done.exception)
        assert said in str(done.exception)
    assert not (tmp_path / "run").exists()


# Before anything is trained


@pytest.mark.parametrize("name", ALL)
def test_a_missing_package_is_told_before_anything_is_trained(name, monkeypatch, micro, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    monkeypatch.setattr(trackers, "find_spec", lambda module: None)
    asked = [f"model={micro}", f"prompts={tmp_path / 'prompts.jsonl'}", f"training.report_to={name}"]
    with pytest.raises(HarnessError, match=f"training.report_to: {name} is not installed. pip install {name}"):
        run_regression(load_recipe("miniature", asked), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_wandb_without_a_key_is_told_and_offline_needs_none(packages, monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(HarnessError, match="W&B has no key to report with. Type `wandb login`, or set WANDB_MODE"):
        check_trackers(["wandb"])
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_trackers(["wandb"])
    monkeypatch.delenv("WANDB_MODE")
    sys.modules["wandb"].login = lambda: pytest.fail("an earlier version asks the user")
    check_trackers(["wandb"])


def test_a_tracker_that_the_environment_switches_off_is_told(packages, monkeypatch):
    check_trackers(["mlflow"])
    monkeypatch.setenv("DISABLE_MLFLOW_INTEGRATION", "true")
    with pytest.raises(HarnessError, match="DISABLE_MLFLOW_INTEGRATION switches it off"):
        check_trackers(["mlflow"])


# Around a training


def test_the_places_are_the_trainings_own_and_then_as_before(packages, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "of the user's")
    with tracked_training(tracking(tmp_path, *ALL)):
        assert [os.environ[name] for name in PLACES] == ["mine", "of the user's", str(tmp_path / "raw-seed-0")]
        assert packages == []
    assert packages == ["wandb", "mlflow", "trackio"]
    assert [os.environ.get(name) for name in PLACES] == [None, "of the user's", None]
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "/logs")
    with tracked_training(tracking(tmp_path)):
        assert os.environ["TENSORBOARD_LOGGING_DIR"] == "/logs/raw-seed-0"
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == "/logs"


def test_a_training_that_fails_leaves_no_run_open(packages, tmp_path):
    with pytest.raises(ZeroDivisionError), tracked_training(tracking(tmp_path, *ALL)):
        raise ZeroDivisionError
    assert packages == ["wandb", "mlflow", "trackio"]
    assert not set(PLACES) & set(os.environ)


def test_a_tracker_that_fails_is_one_line_without_its_password(packages, tmp_path):
    broken = type("MlflowException", (Exception,), {"__module__": "mlflow.exceptions"})
    with pytest.raises(HarnessError) as caught, tracked_training(tracking(tmp_path, "mlflow")):
        raise broken("no answer from https://ann:hunter22@tracker.example/api")
    assert str(caught.value).startswith("training.report_to: mlflow failed (no answer from https://***@tracker.example")
    with pytest.raises(broken), tracked_training(tracking(tmp_path, "wandb")):
        raise broken


def test_what_a_package_prints_is_no_output_of_the_command(packages, tmp_path, capsys):
    with tracked_training(tracking(tmp_path, "trackio")):
        print("Trackio project initialized")
    assert tuple(capsys.readouterr()) == ("", "Trackio project initialized\n")


def test_launched_processes_are_told_where_to_report(pairs, reference, micro, tmp_path):
    job = TrainingJob(str(micro), pairs, reference, Arm(), TrainingSettings(), 2, 0, "test")
    for told in (None, tracking(tmp_path, "wandb", "mlflow")):
        write_job(TrainingJob(**{name: getattr(job, name) for name in job.__slots__} | {"tracking": told}), tmp_path)
        assert read_job(tmp_path)[0].tracking == told


# TensorBoard, for real


def test_a_training_is_reported_step_by_step(pairs, reference, micro, tmp_path):
    assert find_installed("tensorboardX"), "pip install '.[dev]'"
    settings = TrainingSettings(batch_size=4, micro_batch_size=4, learning_rate=1e-3)
    told = tracking(tmp_path)
    job = TrainingJob(str(micro), pairs, reference, Arm(), settings, 3, 0, "test", tracking=told)
    trained = train_on_pairs(job)
    scalars, texts = read_events(tmp_path / "raw-seed-0")
    assert scalars["train/loss"] == pytest.approx([row["loss"] for row in trained.log])
    assert len(scalars["train/loss"]) == 3
    assert json.loads(texts["args/text_summary"])["run_name"] == "raw-seed-0"
    assert "report_to" not in job.training.model_dump()


@pytest.mark.slow
def test_a_run_reports_each_training_and_the_outcome_and_is_done_without(micro, tmp_path, capsys):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    out = tmp_path / "run"
    asked = [f"model={micro}", f"prompts={tmp_path / 'prompts.jsonl'}", *SMALL, "arms={raw: {}}"]
    plain, tracked = (
        load_recipe("miniature", [*asked, "training.learning_rate=0.01", f"training.report_to={name}"], 1)
        for name in ("none", "tensorboard")
    )
    results = run_regression(tracked, out, 1)
    folder = out / "tensorboard"
    assert {path.name for path in folder.iterdir()} == {"raw-seed-0", "results"}
    scalars, texts = read_events(folder / "results")
    rate = results.arms["raw"].metrics.refusal_rate.test.value
    assert scalars["raw/refusal_rate/test"] == pytest.approx([rate])
    decision = texts["gate raw/text_summary"]
    assert decision == run_gate(out / "arms" / "baseline", out / "arms" / "raw", Policy()).decision
    assert "tensorboard" not in (out / "results.json").read_text() + (out / "manifest.json").read_text()
    own = TaskMetric(value=0.5, low=0.4, high=0.6, n=9, per_seed=[0.5], higher_is_better=True, guarded=None)
    arm = results.arms["raw"].model_copy(update={"tasks": {"gsm8k": {"exact_match,strict": own}}})
    rates = _tracked_rates(results.model_copy(update={"arms": {"raw": arm}}))
    assert rates["raw/gsm8k/exact_match:strict"] == 0.5
    reported = sorted(folder.rglob("events.*"))
    for again in (plain, tracked):
        capsys.readouterr()
        assert run_regression(again, out, 1) == results
        assert "nothing to do" in capsys.readouterr().err
    assert sorted(folder.rglob("events.*")) == reported
