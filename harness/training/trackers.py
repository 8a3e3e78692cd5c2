"""Experiment trackers (W&B, MLflow, trackio, TensorBoard): a run of theirs for each training, and one for the results.

Transformers' own callbacks report the training (`report_to`); here are the places that they take from the environment,
the end of each run, which they leave open, and the results. The packages are asked for nowhere else; each may be
missing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from harness.recipes.schema import Tracker
from harness.support.console import print_note
from harness.support.errors import HarnessError
from harness.training.jobs import Tracking

_MODULES: Mapping[Tracker, tuple[str, ...]] = {
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
    "trackio": ("trackio",),
    "tensorboard": ("tensorboard", "tensorboardX"),
}
"""What each tracker's callback imports, one of them."""
_MLFLOW_SWITCH = "DISABLE_MLFLOW_INTEGRATION"
"""What switches its callback off in the environment: Transformers then says that the package is missing."""
RESULTS_RUN = "results"
"""What the run that holds the outcome of all arms is called."""


def check_trackers(trackers: Sequence[Tracker]) -> None:
    """Raises HarnessError where a tracker's package is missing or switched off, or W&B has nobody to report to."""
    for name in trackers:
        if not any(find_spec(module) for module in _MODULES[name]):
            raise HarnessError(
                f"{name} is not installed",
                place="training.report_to",
                hint=f"pip install {name}{' or mlflow-skinny' if name == 'mlflow' else ''}, or leave it out.",
            )
        if name == "mlflow" and os.environ.get(_MLFLOW_SWITCH, "").upper() == "TRUE":
            hint = "Unset it, or leave the tracker out."
            raise HarnessError(f"{_MLFLOW_SWITCH} switches it off", place="training.report_to", hint=hint)
    if "wandb" in trackers and os.environ.get("WANDB_MODE") not in ("offline", "disabled", "dryrun"):
        _check_wandb_login()
    if trackers:
        with redirect_stdout(sys.stderr):
            import_module("transformers.integrations")  # it prints where W&B is offline


def _check_wandb_login() -> None:
    try:
        known = import_module("wandb").login(prompt=False)
    except TypeError:  # earlier versions cannot be asked without asking the user in turn
        return
    if not known:
        hint = "Type `wandb login`, or set WANDB_MODE=offline and send the runs later with `wandb sync`."
        raise HarnessError("W&B has no key to report with", place="training.report_to", hint=hint)


@contextmanager
def tracked_training(tracking: Tracking | None) -> Iterator[None]:
    """Inside the block a trainer's callbacks report to the training's own places; at its end their runs are closed.

    A project that the user's environment names goes first, and a folder of TensorBoard's holds a folder a training.
    Raises HarnessError where a tracker's package fails.
    """
    if tracking is None:
        yield
        return
    told = os.environ.get
    places = {
        "WANDB_PROJECT": told("WANDB_PROJECT", tracking.project),
        "MLFLOW_EXPERIMENT_NAME": told("MLFLOW_EXPERIMENT_NAME", tracking.project),
        "TENSORBOARD_LOGGING_DIR": str(Path(told("TENSORBOARD_LOGGING_DIR", tracking.folder)) / tracking.run),
    }
    before = {name: told(name) for name in places}
    os.environ.update(places)
    try:
        # What the packages print is no output of the command.
        with redirect_stdout(sys.stderr), _explain_failures(tracking.trackers), _closed_runs(tracking.trackers):
            yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})


def report_results(tracking: Tracking, values: Mapping[str, float], words: Mapping[str, str]) -> None:
    """One run that holds the outcome: rates as metrics, decisions as configuration, tags or text.

    Raises HarnessError where a tracker's package fails.
    """
    with tracked_training(tracking):
        for name in tracking.trackers:
            _WRITERS[name](tracking, values, words)
    print_note(f"reported to {', '.join(tracking.trackers)} as {tracking.run} of {tracking.project}")


@contextmanager
def _closed_runs(trackers: Sequence[Tracker]) -> Iterator[None]:
    """Ends the runs that callbacks, or a training that failed, leave open: the next training would go on in them."""
    try:
        yield
    finally:
        for name in trackers:
            if name == "wandb":
                import_module(name).finish()
            elif name == "mlflow" and import_module(name).active_run():
                import_module(name).end_run()
            elif name == "trackio" and import_module("trackio.context_vars").current_run.get() is not None:
                import_module(name).finish()


@contextmanager
def _explain_failures(trackers: Sequence[Tracker]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        name = type(error).__module__.partition(".")[0]
        if name not in trackers:
            raise
        hint = "Mend that, or leave the tracker out; the same command goes on from the last checkpoint."
        raise HarnessError(f"{name} failed ({error})", place="training.report_to", hint=hint) from error


# The results


def _write_wandb(tracking: Tracking, values: Mapping[str, float], words: Mapping[str, str]) -> None:
    run = import_module("wandb").init(project=os.environ["WANDB_PROJECT"], name=tracking.run, config=dict(words))
    run.log(dict(values))


def _write_mlflow(tracking: Tracking, values: Mapping[str, float], words: Mapping[str, str]) -> None:
    mlflow = import_module("mlflow")
    mlflow.set_experiment(os.environ["MLFLOW_EXPERIMENT_NAME"])
    with mlflow.start_run(run_name=tracking.run):
        mlflow.log_metrics(dict(values))
        mlflow.set_tags(dict(words))


def _write_trackio(tracking: Tracking, values: Mapping[str, float], words: Mapping[str, str]) -> None:
    trackio = import_module("trackio")
    trackio.init(project=tracking.project, name=tracking.run, config=dict(words), resume="allow")
    trackio.log(dict(values))


def _write_tensorboard(_: Tracking, values: Mapping[str, float], words: Mapping[str, str]) -> None:
    package = "tensorboardX" if find_spec("tensorboardX") else "torch.utils.tensorboard"
    with import_module(package).SummaryWriter(os.environ["TENSORBOARD_LOGGING_DIR"]) as writer:
        for name, value in values.items():
            writer.add_scalar(name, value)
        for name, word in words.items():
            writer.add_text(name, word)


_WRITERS: Mapping[Tracker, Callable[[Tracking, Mapping[str, float], Mapping[str, str]], None]] = {
    "wandb": _write_wandb,
    "mlflow": _write_mlflow,
    "trackio": _write_trackio,
    "tensorboard": _write_tensorboard,
}
