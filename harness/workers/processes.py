"""Independent pieces of a run side by side: one process a GPU, or several on one machine's cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
) -> None:
    """Does `work` on every item, in processes beside each other; a plan of one process does it here.

    Args:
        work: a module's function; it leaves its results in files.
        items: what to work on; pickled.
        plan: how.
        label: what the bar says.
        log: where the processes' standard error goes.
        name: an item's, by which the bar says what is worked on.

    Raises the first item's error, after the processes are stopped; HarnessError where one was killed.
    """
    if plan.processes == 1 or len(items) < 2:
        for item in items:
            work(item)
        return
    preload_imports()
    context = _forkserver_context()
    devices = context.SimpleQueue()
    for place in range(plan.processes):
        devices.put(plan.devices[place] if plan.devices else None)
    start = partial(_start_worker, devices, plan.threads, log)
    pool = ProcessPoolExecutor(min(plan.processes, len(items)), context, start)
    try:
        with console.progress_bar(label, len(items)) as advance:
            waiting = {pool.submit(_collect_notes, work, item): name(item) for item in items}
            advance(0, _first_names(waiting.values(), plan.processes))
            for future in as_completed([*waiting]):
                for note in future.result():
                    console.print_note(note)
                del waiting[future]
                advance(1, _first_names(waiting.values(), plan.processes))
    except BaseException as error:
        _kill_pool(pool)
        if isinstance(error, BrokenProcessPool):
            told, hint = "a worker process was killed (out of memory?)", "Use fewer: --workers 1."
            raise HarnessError(told, place=str(log), hint=hint) from error
        raise
    pool.shutdown()


def _first_names(names: Iterable[str], processes: int) -> str:
    """Those that the processes are at: they take them in their order."""
    return ", ".join(islice(names, processes))


def _collect_notes(work: Callable[[Item], object], item: Item) -> list[str]:
    """Does the work in this process and returns its notes, but for those that something begins."""
    with console.collect_notes() as notes:
        work(item)
    return [note for note in notes if not note.endswith("…")]


def _kill_pool(pool: ProcessPoolExecutor) -> None:
    """Ends the pool now: what is unfinished leaves nothing behind, as stages write whole files only."""
    processes = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.kill()
        process.join()


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


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
