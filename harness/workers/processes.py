"""Independent pieces of a run side by side: one process a GPU, or several on one machine's cores."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psutil
from tqdm import tqdm

from harness.support import console
from harness.support.errors import HarnessError
from harness.support.redaction import redact_logs
from harness.workers.machine import gpu_names, set_thread_count

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext


Item = TypeVar("Item")

MODEL_COPIES = 6
"""Times its weights that a model in training takes at most: weights, gradients, optimizer, activations."""
LARGE_MODEL, LARGE_THREADS = 1 << 26, 4
"""Bytes of weights from which on a CPU's cores are better spent on one model than on several beside each other, and
how many: a matrix is large enough to be parted, memory is taken once, and no core idles while the last piece runs or
while pairs are sampled and scored. Below, a core's own process is faster."""
PRELOADED_MODULES = ["harness.training.train", "harness.evaluation.lm_eval"]
"""Imported once, while the run samples and scores; each process starts as a copy of that."""


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """How many processes, how many of torch's threads in each, and the GPU that each one sees (none: the CPU)."""

    processes: int
    threads: int
    devices: tuple[int, ...] = ()


def plan_processes(model_bytes: int, at_most: int | None = None) -> ProcessPlan:
    """One process a GPU; on the CPU as many as cores and free memory hold, sharing the cores evenly.

    Without a limit, a large model's processes have `LARGE_THREADS` cores each, or all where there are fewer.

    Args:
        model_bytes: size of the model's weights.
        at_most: a limit on the processes.
    """
    devices = len(gpu_names())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fit = int(psutil.virtual_memory().available // (MODEL_COPIES * max(model_bytes, 1) + (1 << 30)))
    share = LARGE_THREADS if model_bytes >= LARGE_MODEL and at_most is None else 1
    most = devices or min(max(1, cores // share), fit)
    processes = max(1, min(most, at_most or most))
    threads = max(1, cores // processes)
    return ProcessPlan(processes, threads, tuple(range(processes)) if devices else ())


def preload_imports() -> None:
    """Starts the imports that all processes need, in the background, where Ctrl-C does not reach them."""
    _forkserver_context()
    resource_tracker.ensure_running()  # at its start it would let Ctrl-C through again
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def run_in_processes(
    work: Callable[[Item], object],
    items: Sequence[Item],
    plan: ProcessPlan,
    label: str,
    log: Path,
    name: Callable[[Item], str] = str,
    *,
    first: Sequence[Callable[[], object]] = (),
    is_ready: Callable[[Item], bool] = lambda _: True,
) -> None:
    """Does `work` on every item, in processes beside each other; a plan of one process does it here.

    Args:
        work: a module's function; it leaves its results in files. Each process has it as it is now.
        items: what to work on; pickled.
        plan: how.
        label: what the bar says.
        log: where the processes' standard error goes.
        name: an item's, by which the bar says what is worked on.
        first: what this process does itself, one after another. Where there is no GPU, on which it would need the
            memory, the items that are ready are worked on meanwhile, in one process fewer.
        is_ready: whether what an item reads is there; asked again after each of `first`, and true after all of them.

    Raises the first item's error, after the processes are stopped; HarnessError where one was killed.
    """
    alone = plan.processes == 1 or len(items) < 2
    if alone or plan.devices:
        for step in first:
            step()
        first = ()
    if alone:
        for item in items:
            work(item)
        return
    crew = _Crew(_start_pool(plan, log), work, items, is_ready)
    try:
        crew.add_seats(plan.processes - bool(first))
        for step in first:
            step()
            crew.look_again()
        crew.add_seats(bool(first))
        crew.tell_ends(label, name)
    except BaseException as error:
        crew.stop()
        if isinstance(error, BrokenProcessPool):
            told, hint = "a worker process was killed (out of memory?)", "Use fewer: --workers 1."
            raise HarnessError(told, place=str(log), hint=hint) from error
        raise
    crew.pool.shutdown()


def _start_pool(plan: ProcessPlan, log: Path) -> ProcessPoolExecutor:
    """A pool whose processes start with the first items that they get."""
    preload_imports()
    context = _forkserver_context()
    devices = context.SimpleQueue()
    for place in range(plan.processes):
        devices.put(plan.devices[place] if plan.devices else None)
    return ProcessPoolExecutor(plan.processes, context, partial(_start_worker, devices, plan.threads, log))


class _Crew(Generic[Item]):
    """A pool's processes, each with a thread, its seat, that hands it one item after another once they are ready.

    The threads, as the first process waits for the imports of `PRELOADED_MODULES`, and whoever asks for it with it.
    """

    def __init__(
        self,
        pool: ProcessPoolExecutor,
        work: Callable[[Item], object],
        items: Sequence[Item],
        is_ready: Callable[[Item], bool],
    ) -> None:
        self.pool = pool
        self._work = pickle.dumps(work)  # now: this process may change meanwhile what it refers to
        self._is_ready = is_ready
        self._waiting, self._at_work, self._left = [*items], list[Item](), len(items)
        self._changed = threading.Condition()
        self._ends: SimpleQueue[list[str] | BaseException] = SimpleQueue()

    def add_seats(self, count: int) -> None:
        """So many more processes work."""
        for _ in range(count):
            threading.Thread(target=self._fill_seat, daemon=True).start()

    def look_again(self) -> None:
        """More items may be ready. Raises the error of one that failed."""
        with self._changed:
            self._changed.notify_all()
        while not self._ends.empty():
            self._take_end()

    def tell_ends(self, label: str, name: Callable[[Item], str]) -> None:
        """Waits for all items under a bar. Raises the error of the first that fails."""
        self.look_again()
        with console.progress_bar(label, self._left) as advance:
            while True:
                advance(0, ", ".join(map(name, self._at_work)))
                if not self._left:
                    return
                self._take_end()
                advance(1)

    def stop(self) -> None:
        """Ends all now: what is unfinished leaves nothing behind, as stages write whole files only."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
        processes = list((self.pool._processes or {}).values())
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()
            process.join()

    def _fill_seat(self) -> None:
        while (item := self._next_item()) is not None:
            try:
                end: list[str] | BaseException = self.pool.submit(_collect_notes, self._work, item).result()
            except BaseException as error:  # whatever it is, it is raised where the ends are waited for
                end = error
            with self._changed:
                self._at_work.remove(item)
            self._ends.put(end)

    def _next_item(self) -> Item | None:
        """The first item that is ready, once there is one; None where none waits any more."""
        with self._changed:
            while self._waiting:
                if (found := next(filter(self._is_ready, self._waiting), None)) is not None:
                    self._waiting.remove(found)
                    self._at_work.append(found)
                    return found
                self._changed.wait()
        return None

    def _take_end(self) -> None:
        end = self._ends.get()
        if isinstance(end, BaseException):
            raise end
        self._left -= 1
        for note in end:
            console.print_note(note)


def _collect_notes(work: bytes, item: object) -> list[str]:
    """Does the pickled work in this process and returns its notes, but for those that something begins."""
    with console.collect_notes() as notes:
        pickle.loads(work)(item)  # noqa: S301
    return [note for note in notes if not note.endswith("…")]


def _forkserver_context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    if not gpu_names():  # a library that looks for GPUs at its import, as bitsandbytes does, leaves the copies none
        context.set_forkserver_preload(PRELOADED_MODULES)
    return context


def _start_worker(devices: Any, threads: int, log: Path) -> None:
    """In a new process: its GPU, its threads, its log; and it ends when the run does, however that ended."""
    device = devices.get()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(device)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stderr = log.open("a", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), 2)
    redact_logs()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system's, which a killed process leaves behind
    set_thread_count(threads)
    gc.freeze()  # the imports' objects stay: to look at half a million of them took a third of a second each time


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
