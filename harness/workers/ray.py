"""Work mapped over a Ray cluster's workers, one a GPU or a CPU core: batches streamed to them on Ray Data.

The only module that imports Ray. One task reads, so rows are numbered as a local run numbers them; workers are actors
that Ray restarts, and gives the batch they held again, when they or their machines die.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pyarrow as pa

from harness.support import storage
from harness.support.errors import HarnessError
from harness.support.redaction import redact_logs, redact_text
from harness.workers.engines import refuse_missing_ray
from harness.workers.machine import set_thread_count

Given = TypeVar("Given")
Made = TypeVar("Made")

BATCH_RETRIES = 5
"""How often the batch of a worker that died is given to another; a batch that kills each of them ends the run."""


def _load_ray() -> Any:
    """Ray with its data library, where work on a cluster begins: it may be missing, and takes seconds to load."""
    import ray.data

    return ray


@contextmanager
def ray_cluster() -> Iterator[None]:
    """The cluster this process is in, or the one RAY_ADDRESS names, or a local one that ends with the block.

    What is printed in the block goes to standard error: Ray prints there that workers died. Raises HarnessError where
    Ray is not installed or no cluster answers.
    """
    refuse_missing_ray()
    with redirect_stdout(sys.stderr), _connected_ray():
        yield


@contextmanager
def _connected_ray() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    ray = _load_ray()
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it would log what we raise, with all its traces
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    local = {"include_dashboard": False} if address == "local" else {}
    try:
        _check_listening(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        hint = "Start one, or unset RAY_ADDRESS for a local one."
        raise HarnessError(f"no Ray cluster answers ({error})", place=address, hint=hint) from error
    try:
        yield
    finally:
        ray.shutdown()


def cluster_path(place: str, *, new: bool = False) -> str:
    """A path that means the same in every directory; hub ids and addresses as they are. `new`: nothing is there yet."""
    if storage.is_remote(place) or not (new or Path(place).exists()):
        return place
    return f"{Path(place).absolute()}{'/' if place.endswith('/') else ''}"


def _check_listening(address: str) -> None:
    """Raises OSError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def store_on_cluster(things: Sequence[Any]) -> Callable[[], Sequence[Any]]:
    """Puts things into the cluster's store, once for all workers; the call returned gives them on any machine."""
    ray = _load_ray()
    return partial(ray.get, ray.put(things))


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """How many workers, and what of the cluster each takes."""

    workers: int
    resources: dict[str, float]


def share_cluster(workers: int | None) -> WorkerShare:
    """One worker a GPU, or a CPU core where there is no GPU; fewer workers get more GPUs each, more share them."""
    ray = _load_ray()
    owned = ray.cluster_resources()
    gpus, cores = int(owned.get("GPU", 0)), int(owned.get("CPU", 0))
    workers = workers or gpus or cores
    if not 1 <= workers <= cores:
        raise HarnessError(f"{workers} workers on {cores} CPU cores", place="--workers", hint="Ask for fewer.")
    if not gpus:
        return WorkerShare(workers, {"num_cpus": 1})
    largest = int(max(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]))
    return WorkerShare(workers, {"num_cpus": 1, "num_gpus": min(gpus // workers, largest) or gpus / workers})


def map_on_workers(
    source: Callable[[], Iterable[Given]],
    work: Callable[[], Callable[[Given], Made]],
    share: WorkerShare,
    *,
    ordered: bool = False,
) -> Generator[Made, None, None]:
    """What workers make of each thing the source yields, as it comes, or in the order of the source.

    Args:
        source: called once on the cluster (again if its machine dies: it must then yield the same).
        work: called once in every worker; what it returns is called with one thing at a time.
        share: from `share_cluster`.
        ordered: keep the order of the source.

    The source waits while the workers are behind. A worker that dies is started again and given its thing again, so
    `work` may see a thing twice; its result comes once. A HarnessError raised on the cluster is raised here.
    """
    ray = _load_ray()
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True  # or it would come without its cause
    context.memory_usage_poll_interval_s = None
    context.target_max_block_size = 1  # every thing is a block of its own: what is handed out, and tried again
    context.execution_options.preserve_order = ordered
    with ray.data.DataContext.current(context), warnings.catch_warnings():
        # Without bounds of ours a batch that kills its worker is tried for ever; Ray means to take them away in 2.64.
        warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
        things = ray.data.read_datasource(_ray_datasource(source), override_num_blocks=1, num_cpus=0)
        made = things.map_batches(
            _PoolWorker,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(work,),
            compute=ray.data.ActorPoolStrategy(size=share.workers, max_tasks_in_flight_per_actor=2),
            max_restarts=-1,
            max_task_retries=BATCH_RETRIES,
            **share.resources,
        )
    with _unwrapped_errors():
        for block in made.iter_batches(batch_size=None, batch_format="pyarrow"):
            for thing in block["thing"]:
                yield pickle.loads(thing.as_py())  # noqa: S301 - written by our own workers


def map_in_order(
    source: Callable[[], Iterable[Given]], work: Callable[[], Callable[[Given], Made]], *, workers: int | None = None
) -> Iterator[Made]:
    """`map_on_workers` in a `ray_cluster`: what `work` makes of each thing the source yields, in its order.

    Raises HarnessError where Ray is missing or has not the workers asked for, and those that source and work raise.
    """
    with ray_cluster():
        yield from map_on_workers(source, work, share_cluster(workers), ordered=True)


def _ray_datasource(source: Callable[[], Iterable[Any]]) -> Any:
    """A Ray data source of one read task, which yields a block a thing."""
    data = _load_ray().data
    base: Any = data.Datasource

    class Things(base):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[Any]:
            nothing_known = data.block.BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [data.datasource.ReadTask(lambda: _pickled_blocks(source), nothing_known)]

    return Things()


def _pickled_blocks(source: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    redact_logs()
    with _redacted_errors():
        for thing in source():
            yield _pickled_block(thing)


def _pickled_block(thing: object) -> Any:
    return pa.table({"thing": pa.array([pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)], pa.large_binary())})


class _PoolWorker:
    """What an actor of the pool runs: made once, called with blocks of one thing."""

    def __init__(self, work: Callable[[], Callable[[Any], Any]]) -> None:
        redact_logs()
        set_thread_count(1)  # as it has one CPU core
        try:
            with _redacted_errors():
                self._work = work()
        except HarnessError as error:  # Ray would take it for a dead actor's, and lose the cause
            self._work = partial(_raise_again, error)

    def __call__(self, block: Any) -> Any:
        with _redacted_errors():
            return _pickled_block(self._work(pickle.loads(block["thing"][0].as_py())))  # noqa: S301 - written by our own source


@contextmanager
def _redacted_errors() -> Iterator[None]:
    """An error that holds a secret of this machine's environment goes to Ray, its logs and the user as blotted text."""
    try:
        yield
    except HarnessError as error:
        cause, place, hint = map(redact_text, (error.cause, error.place, error.hint))
        raise HarnessError(cause, place=place, hint=hint) from None
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        if redact_text(told) == told:
            raise
        raise RuntimeError(redact_text(told)) from None


def _raise_again(error: HarnessError, _: object) -> NoReturn:
    raise error


@contextmanager
def _unwrapped_errors() -> Iterator[None]:
    """Raises a HarnessError from the cluster as it was, and tells in one line of workers that keep dying."""
    ray = _load_ray()
    try:
        yield
    except Exception as error:
        causes = list(_error_causes(error))
        # Ray's own class for what a worker raised passes for a HarnessError, but its `cause` is the exception.
        if ours := next((cause for cause in causes if type(cause) is HarnessError), None):
            raise HarnessError(ours.cause, place=ours.place, hint=ours.hint) from error
        if any(isinstance(cause, ray.exceptions.RayActorError) for cause in causes):
            hint = f"A batch was tried {BATCH_RETRIES + 1} times; memory is the usual reason. Try fewer --workers."
            raise HarnessError("workers keep dying", hint=hint) from error
        raise


def _error_causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, down to the first."""
    ray = _load_ray()
    while error is not None:
        yield error
        error = error.cause if isinstance(error, ray.exceptions.RayTaskError) else error.__cause__
