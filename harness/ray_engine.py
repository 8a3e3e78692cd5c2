"""Scoring, sampling and judging on Ray Data: batches streamed to model workers, one a GPU or a CPU core.

The only module that imports Ray. One task reads, so rows are numbered as a local run numbers them; workers are actors
that Ray restarts, and gives the batch they held again, when they or their machines die.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from harness import onpolicy, storage
from harness.artifacts import fingerprint
from harness.console import bar, note
from harness.errors import HarnessError
from harness.models import load_model
from harness.score_tables import MARKER, Job, Parts, Summary
from harness.scoring import Checked, Scorer, score_window

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]

Given = TypeVar("Given")
Made = TypeVar("Made")

RETRIES = 5
"""How often the batch of a worker that died is given to another; a batch that kills each of them ends the run."""


# Scoring


def score_file(
    job: Job, model: str, out: str, *, chat_template: str | None = None, workers: int | None = None
) -> Summary:
    """`harness.score_tables.score_file` on Ray: the same packs, the same rows, the same parts to go on from.

    Args:
        job: which table, and how.
        model: directory or hub id of the model; this and all paths must mean the same on every machine of the cluster.
        out: a Parquet file, or with a `/` at its end a directory of them; either may be in object storage.
        chat_template: what to set where the tokenizer has none.
        workers: how many copies of the model; one a GPU, or where there is none, one a CPU core.

    Raises HarnessError as the local engine does, and where Ray is missing or has not the workers asked for.
    """
    parts, load = Parts(out), partial(_load, anywhere(model), chat_template)
    there = replace(job, preferences=anywhere(job.preferences))
    with cluster():
        share = shared_out(workers)
        identity, notes = _remotely(partial(_look, there, load), share)
        for line in notes:
            note(line)
        parts.open(identity)
        source = partial(there.windows, frozenset(parts.numbers))
        with parts.progress(job.count()) as meter:
            for rows, pairs, tokens in over(source, partial(_Writer, there, load, anywhere(out, new=True)), share):
                meter(pairs, tokens)
                meter.catch_up(rows)
    return parts.join(job.preferences)


def _load(path: str, chat_template: str | None) -> Loaded:
    model, tokenizer = load_model(path, chat=False, spread=True)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return model, tokenizer


def _look(job: Job, load: Callable[[], Loaded]) -> tuple[dict[str, Any], list[str]]:
    """Which run this is, and what scoring with this model notes: found by a worker, as it has the memory."""
    model, tokenizer = load()
    with redirect_stderr(io.StringIO()) as said:
        Scorer(model, with_coefficients=job.with_coefficients)
    return job.identity(model, tokenizer), said.getvalue().splitlines()


class _Writer:
    """A worker that scores windows and writes their parts."""

    def __init__(self, job: Job, load: Callable[[], Loaded], out: str) -> None:
        self._job, self._parts = job, Parts(out)
        if not storage.is_file(storage.join(self._parts.folder, MARKER)):
            mend = "Give an --out that all machines of the cluster share, or one in object storage."
            raise HarnessError("is not there on a worker's machine", place=self._parts.folder, mend=mend)
        model, self._tokenizer = load()
        self._scorer = Scorer(model, with_coefficients=job.with_coefficients)

    def __call__(self, numbered: tuple[int, list[Checked]]) -> tuple[int, int, int]:
        """Rows of the window, pairs scored and their tokens."""
        (number, window), done = numbered, [(0, 0)]
        rows = score_window(
            window, self._scorer, self._tokenizer, self._job.max_length, lambda *more: done.append(more)
        )
        self._parts.write(number, rows, self._job.with_coefficients)
        pairs, tokens = map(sum, zip(*done, strict=True))
        return len(rows), pairs, tokens


# Sampling


@dataclass(frozen=True, slots=True)
class _Prompts:
    """Prompts that are answered together, their places in the table, and the seed of their answers."""

    places: list[int]
    prompts: list[str]
    seed: int


def sample(
    model: str,
    prompts: Sequence[str],
    *,
    temperature: float,
    max_new_tokens: int,
    seed: int,
    batch_size: int = 64,
    workers: int | None = None,
) -> list[str]:
    """`harness.onpolicy.sample` on Ray: one answer a prompt, in order, drawn at `temperature` with top-p 1.

    `model` is the directory or hub id every worker loads. Every batch has a random stream of its own, so the same
    seed gives the same answers with any number of workers. In a local run one stream goes through all batches: its
    answers are other draws from the same distribution. Raises HarnessError where there is no chat template, or Ray is
    missing or has not the workers asked for.
    """
    answers = [""] * len(prompts)
    work = partial(_Sampler, anywhere(model), temperature, max_new_tokens)
    with cluster(), bar("Sampling answers", len(prompts), "answers") as advance:
        import ray

        held = ray.put(_batches(prompts, seed, batch_size))
        for places, drawn in over(partial(ray.get, held), work, shared_out(workers)):
            for place, answer in zip(places, drawn, strict=True):
                answers[place] = answer
            advance(len(places))
    return answers


def _batches(prompts: Sequence[str], seed: int, size: int) -> list[_Prompts]:
    """Prompts of like length together; each batch's seed depends on the seed and the batch's number alone."""
    order = sorted(range(len(prompts)), key=lambda place: (len(prompts[place]), place))
    cut = [order[start : start + size] for start in range(0, len(order), size)]
    return [
        _Prompts(places, [prompts[place] for place in places], int(fingerprint([seed, number]), 16))
        for number, places in enumerate(cut)
    ]


class _Sampler:
    """A worker that answers prompts."""

    def __init__(self, model: str, temperature: float, max_new_tokens: int) -> None:
        self._model, self._tokenizer = load_model(model)
        self._temperature, self._max_new_tokens = temperature, max_new_tokens

    def __call__(self, batch: _Prompts) -> tuple[list[int], list[str]]:
        """The places and the answers."""
        import torch

        torch.manual_seed(batch.seed)
        texts = [onpolicy.render(self._tokenizer, prompt) for prompt in batch.prompts]
        drawn = onpolicy.generate(self._model, self._tokenizer, texts, self._temperature, self._max_new_tokens)
        return batch.places, drawn


# Judging


def judge_batches(
    rows: Callable[[], Iterable[Given]], work: Callable[[], Callable[[Given], Made]], *, workers: int | None = None
) -> Iterator[Made]:
    """What `work` (made once a worker) says of each batch of rows, in their order.

    Raises HarnessError where Ray is missing or has not the workers asked for, and those that reading or judging raises.
    """
    with cluster():
        yield from over(rows, work, shared_out(workers), ordered=True)


# Ray


def refuse_missing() -> None:
    """Raises HarnessError where Ray is not installed."""
    if find_spec("ray") is None:
        raise HarnessError("Ray is not installed", mend="pip install 'refusal-displacement[ray]'")


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster this process is in, or the one RAY_ADDRESS names, or a local one that ends with the block.

    Raises HarnessError where Ray is not installed or no cluster answers.
    """
    refuse_missing()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    local = {"include_dashboard": False} if address == "local" else {}
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        mend = "Start one, or unset RAY_ADDRESS for a local one."
        raise HarnessError(f"no Ray cluster answers ({error})", place=address, mend=mend) from error
    try:
        yield
    finally:
        ray.shutdown()


def anywhere(place: str, *, new: bool = False) -> str:
    """A path that means the same in every directory; hub ids and addresses as they are. `new`: nothing is there yet."""
    if storage.is_remote(place) or not (new or Path(place).exists()):
        return place
    return f"{Path(place).absolute()}{'/' if place.endswith('/') else ''}"


def _knock(address: str) -> None:
    """Raises OSError where nothing listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


@dataclass(frozen=True, slots=True)
class Share:
    """How many workers, and what of the cluster each takes."""

    workers: int
    resources: dict[str, float]


def shared_out(workers: int | None) -> Share:
    """One worker a GPU, or a CPU core where there is no GPU; fewer workers get more GPUs each, more share them."""
    import ray

    owned = ray.cluster_resources()
    gpus, cores = int(owned.get("GPU", 0)), int(owned.get("CPU", 0))
    workers = workers or gpus or cores
    if not 1 <= workers <= cores:
        raise HarnessError(f"{workers} workers on {cores} CPU cores", place="--workers", mend="Ask for fewer.")
    if not gpus:
        return Share(workers, {"num_cpus": 1})
    largest = int(max(node["Resources"].get("GPU", 0) for node in ray.nodes() if node["Alive"]))
    return Share(workers, {"num_cpus": 1, "num_gpus": min(gpus // workers, largest) or gpus / workers})


def _remotely(work: Callable[[], Made], share: Share) -> Made:
    """The work done once, on what a worker has of the cluster."""
    import ray

    with _told():
        made: Made = ray.get(ray.remote(**share.resources)(_alone).remote(work))
    return made


def _alone(work: Callable[[], Made]) -> Made:
    _one_thread()
    return work()


def over(
    source: Callable[[], Iterable[Given]],
    work: Callable[[], Callable[[Given], Made]],
    share: Share,
    *,
    ordered: bool = False,
) -> Iterator[Made]:
    """What workers make of each thing the source yields, as it comes, or in the order of the source.

    Args:
        source: called once on the cluster (again if its machine dies: it must then yield the same).
        work: called once in every worker; what it returns is called with one thing at a time.
        share: from `shared_out`.
        ordered: keep the order of the source.

    The source waits while the workers are behind. A worker that dies is started again and given its thing again, so
    `work` may see a thing twice; its result comes once. A HarnessError raised on the cluster is raised here.
    """
    import ray
    from ray.util.annotations import RayDeprecationWarning

    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # every thing is a block of its own: what is handed out, and tried again
    context.execution_options.preserve_order = ordered
    with ray.data.DataContext.current(context), warnings.catch_warnings():
        # Without bounds of ours a batch that kills its worker is tried for ever; Ray means to take them away in 2.64.
        warnings.simplefilter("ignore", RayDeprecationWarning)
        things = ray.data.read_datasource(_datasource(source), override_num_blocks=1, num_cpus=0)
        made = things.map_batches(
            _Worker,
            batch_size=1,
            batch_format="pyarrow",
            fn_constructor_args=(work,),
            compute=ray.data.ActorPoolStrategy(size=share.workers, max_tasks_in_flight_per_actor=2),
            max_restarts=-1,
            max_task_retries=RETRIES,
            **share.resources,
        )
    with _told():
        for block in made.iter_batches(batch_size=None, batch_format="pyarrow"):
            for thing in block["thing"]:
                yield pickle.loads(thing.as_py())  # noqa: S301 - written by our own workers


def _datasource(source: Callable[[], Iterable[Any]]) -> Any:
    """A Ray data source of one read task, which yields a block a thing."""
    from ray.data import Datasource
    from ray.data.block import BlockMetadata
    from ray.data.datasource import ReadTask

    class Things(Datasource):  # type: ignore[misc]
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[Any]:
            nothing_known = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(partial(_blocks, source), nothing_known)]

    return Things()


def _blocks(source: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    return map(_block, source())


def _block(thing: object) -> Any:
    import pyarrow as pa

    return pa.table({"thing": pa.array([pickle.dumps(thing)], pa.large_binary())})


class _Worker:
    """What an actor of the pool runs: made once, called with blocks of one thing."""

    def __init__(self, work: Callable[[], Callable[[Any], Any]]) -> None:
        _one_thread()
        self._work = work()

    def __call__(self, block: Any) -> Any:
        return _block(self._work(pickle.loads(block["thing"][0].as_py())))  # noqa: S301 - written by our own source


def _one_thread() -> None:
    """A worker has one CPU core."""
    import torch

    torch.set_num_threads(1)


@contextmanager
def _told() -> Iterator[None]:
    """Raises a HarnessError from the cluster as it was, and tells in one line of workers that keep dying."""
    from ray.exceptions import RayActorError

    try:
        yield
    except Exception as error:
        causes = list(_causes(error))
        if (ours := next((cause for cause in causes if isinstance(cause, HarnessError)), None)) is not None:
            raise HarnessError(ours.cause, place=ours.place, mend=ours.mend) from error
        if any(isinstance(cause, RayActorError) for cause in causes):
            mend = f"A batch was tried {RETRIES + 1} times; memory is the usual reason. Try fewer --workers."
            raise HarnessError("workers keep dying", mend=mend) from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = getattr(error, "cause", None) or error.__cause__
