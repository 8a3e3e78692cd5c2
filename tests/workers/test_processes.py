"""Pieces of a run beside each other: how many processes, what their ends leave, and that errors come home."""

import os
import signal
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from harness.support.errors import HarnessError
from harness.workers import processes
from harness.workers.processes import ProcessPlan, plan_processes, run_in_processes

TWO = ProcessPlan(2, 1)


def touch(folder: Path, name: str) -> None:
    import torch

    (folder / name).write_text(f"{os.getpid()} {torch.get_num_threads()}")


def refuse(folder: Path, name: str) -> None:
    if name == "bad":
        raise HarnessError("is bad", place=name, hint="Mend it.")


def die(folder: Path, name: str) -> None:
    if name == "bad":
        os.kill(os.getpid(), signal.SIGKILL)


def names(count):
    return [f"item-{number}" for number in range(count)]


@pytest.mark.parametrize(
    ("cores", "gibibytes", "model", "at_most", "expected"),
    [
        (8, 64, 10, None, (8, 1)),  # small: a process a core
        (16, 20, 1 << 29, None, (4, 4)),  # 20 / (6 x 0.5 + 1) = 5 of them fit, four cores for each
        (16, 14, 1 << 29, None, (3, 5)),  # 14 / (6 x 0.5 + 1) = 3.5 of them fit
        (2, 64, 1 << 29, None, (1, 2)),  # large: both cores work on it, whatever piece is the last
        (2, 64, 1 << 29, 2, (2, 1)),  # as asked for
        (2, 5, 1 << 29, 2, (1, 2)),  # as far as memory goes
        (2, 64, 1 << 25, None, (2, 1)),
        (8, 64, 1 << 40, None, (1, 8)),
        (8, 64, 10, 3, (3, 2)),
        (1, 2, 10, None, (1, 1)),
    ],
)
def test_a_plan_by_hand(monkeypatch, cores, gibibytes, model, at_most, expected):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    free = type("Memory", (), {"available": gibibytes << 30})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(processes, "gpu_names", list)
    assert plan_processes(model, at_most) == ProcessPlan(*expected)


def test_one_process_a_gpu(monkeypatch):
    monkeypatch.setattr(processes, "gpu_names", lambda: ["GPU"] * 4)
    assert plan_processes(1 << 40).devices == (0, 1, 2, 3)
    assert plan_processes(1 << 40, 2).devices == (0, 1)


def test_one_process_works_here(tmp_path):
    run_in_processes(partial(touch, tmp_path), names(3), ProcessPlan(1, 1), "working", tmp_path / "log")
    assert {file.read_text().split()[0] for file in tmp_path.iterdir()} == {str(os.getpid())}


@pytest.mark.slow
def test_two_processes_do_every_item_once_with_their_threads(tmp_path, monkeypatch):
    shown = []

    @contextmanager
    def bar(*_):
        yield lambda steps, extra="": shown.append((steps, extra))

    monkeypatch.setattr(processes.console, "progress_bar", bar)
    run_in_processes(partial(touch, tmp_path), names(6), TWO, "working", tmp_path / "log", lambda name: name[-1:])
    assert sum(steps for steps, _ in shown) == 6
    assert {name for _, extra in shown for name in extra.split(", ") if name} <= set("012345")
    assert shown[-1] == (0, "")
    said = [(tmp_path / name).read_text().split() for name in names(6)]
    assert str(os.getpid()) not in {process for process, _ in said}
    assert {threads for _, threads in said} == {"1"}


def wait_for(folder: Path, name: str) -> None:
    """Ends when `released` is there, for half a minute."""
    ends = time.monotonic() + 30
    while not (folder / "released").exists() and time.monotonic() < ends:
        time.sleep(0.05)
    (folder / name).write_text("released" if (folder / "released").exists() else "alone")


@pytest.mark.slow
def test_items_are_worked_on_beside_what_this_process_does_once_what_they_read_is_there(tmp_path):
    """The first item can only end because this process goes on meanwhile; the other one waits for the second step."""
    done = []

    def first_step():
        (tmp_path / "released").touch()
        done.append(1)

    def second_step():
        ends = time.monotonic() + 30
        while not (tmp_path / "early").exists() and time.monotonic() < ends:
            time.sleep(0.05)
        assert not (tmp_path / "late").exists()
        done.append(2)

    steps, ready = [first_step, second_step], lambda item: item == "early" or 2 in done
    run_in_processes(
        partial(wait_for, tmp_path), ["late", "early"], TWO, "working", tmp_path / "log", first=steps, is_ready=ready
    )
    assert done == [1, 2]
    assert {name: (tmp_path / name).read_text() for name in ("early", "late")} == dict.fromkeys(
        ("early", "late"), "released"
    )


@pytest.mark.parametrize("plan", [ProcessPlan(1, 1), ProcessPlan(2, 1, (0, 1))])
@pytest.mark.slow
def test_one_process_and_gpus_do_what_comes_first_before_all_items(tmp_path, plan):
    def first_step():
        assert not [*tmp_path.glob("item-*")]
        (tmp_path / "first").touch()

    run_in_processes(partial(touch, tmp_path), names(2), plan, "working", tmp_path / "log", first=[first_step])
    assert (tmp_path / "first").exists()
    assert len([*tmp_path.glob("item-*")]) == 2


@pytest.mark.slow
def test_an_error_of_what_comes_first_ends_the_processes(tmp_path):
    def first_step():
        raise HarnessError("is bad", place="first", hint="Mend it.")

    with pytest.raises(HarnessError, match="first: is bad"):
        run_in_processes(partial(touch, tmp_path), names(3), TWO, "working", tmp_path / "log", first=[first_step])


@pytest.mark.slow
def test_an_items_error_comes_home_whole(tmp_path):
    with pytest.raises(HarnessError, match=r"bad: is bad\. Mend it\."):
        run_in_processes(partial(refuse, tmp_path), ["bad", *names(3)], TWO, "working", tmp_path / "log")


@pytest.mark.slow
def test_a_killed_process_is_told(tmp_path):
    with pytest.raises(HarnessError, match="killed.*--workers 1"):
        run_in_processes(partial(die, tmp_path), ["bad", *names(3)], TWO, "working", tmp_path / "log")


def test_where_there_are_gpus_each_process_imports_for_itself(monkeypatch):
    """A copy of a process that has looked for GPUs may use none; bitsandbytes looks when it is imported."""
    preloaded = []
    monkeypatch.setattr(processes.forkserver, "set_forkserver_preload", preloaded.extend)
    monkeypatch.setattr(processes, "gpu_names", lambda: ["a card"])
    processes._forkserver_context()
    assert preloaded == []
    monkeypatch.setattr(processes, "gpu_names", lambda: [])
    processes._forkserver_context()
    assert preloaded == processes.PRELOADED_MODULES


def test_ctrl_c_does_not_reach_what_imports_for_the_processes():
    """Bit 2 - 1 of the process's blocked signals is SIGINT's; this process's own stay as they were."""
    processes.preload_imports()
    status = Path(f"/proc/{processes.forkserver._forkserver._forkserver_pid}/status").read_text()
    blocked = int(status.split("SigBlk:")[1].split()[0], 16)
    assert blocked >> (signal.SIGINT - 1) & 1
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
