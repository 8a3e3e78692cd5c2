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
import sys
import warnings
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from harness import onpolicy, storage
from harness.artifacts import fingerprint, told
from harness.console import bar, note
from harness.errors import HarnessError
from harness.models import load_model
from harness.score_tables import Job, Parts, Summary
from harness.scoring import WINDOW, Checked, Progress, Scorer, score_window

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
    parts, there = Parts(out), replace(job, preferences=anywhere(job.preferences))
    load, noted = partial(_load, anywhere(model), chat_template), set[str]()
    with cluster(), _made(parts.folder):
        share = shared_out(workers)
        work = partial(_Writer, there, there.mark(), load, anywhere(out, new=True))
        rows = job.count()
        source = partial(_groups, there, frozenset(parts.numbers), together(rows, share.workers))
        with parts.progress(rows) as meter:
            for done in over(source, work, share):
                for line in done.notes - noted:
                    note(line)
                noted |= done.notes
                meter(done.pairs, done.tokens)
                meter.catch_up(done.rows)
    return parts.join(job.preferences)


def _load(path: str, chat_template: str | None) -> Loaded:
    model, tokenizer = load_model(path, chat=False, spread=True)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return model, tokenizer


@contextmanager
def _made(folder: str) -> Iterator[None]:
    """The folder of the parts, there before a worker looks for it; gone again where nothing came to lie in it."""
    if storage.is_remote(folder):
        yield
        return
    with told(Path(folder)):
        Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        with suppress(OSError):
            Path(folder).rmdir()


def together(rows: int | None, workers: int) -> int:
    """How many windows are handed out at a time, as handing out has its price: at most 8, and 64 times to a worker."""
    return min(8, max(1, (rows or 0) // (WINDOW * 64 * workers)))


Group = Sequence[tuple[int, list[Checked]]]
"""Numbered windows that are handed out together."""


def _groups(job: Job, skip: Container[int], size: int) -> Iterator[Group]:
    """The windows in groups, after an empty one: if no window is left, a worker still sees whose the parts are."""
    windows = job.windows(skip)
    yield []
    while group := list(islice(windows, size)):
        yield group


@dataclass(frozen=True, slots=True)
class _Done:
    """What came of a group, and what scoring with this model notes."""

    notes: frozenset[str]
    rows: int
    pairs: int
    tokens: int


class _Writer:
    """A worker that scores windows and writes their parts, if those there are of the same table, model and options."""

    def __init__(self, job: Job, mark: object, load: Callable[[], Loaded], out: str) -> None:
        self._job, self._parts = job, Parts(out)
        folder = self._parts.folder
        if not storage.is_remote(folder) and not storage.is_directory(folder):
            mend = "Give an --out that all machines of the cluster share, or one in object storage."
            raise HarnessError("is not there on a worker's machine", place=folder, mend=mend)
        model, self._tokenizer = load()
        with redirect_stderr(io.StringIO()) as said:
            self._scorer = Scorer(model, with_coefficients=job.with_coefficients)
        self._notes = frozenset(said.getvalue().splitlines())
        self._identity: dict[str, Any] | None = job.identity(model, self._tokenizer, mark)

    def __call__(self, group: Group) -> _Done:
        """Scores the windows of a group and writes their parts."""
        if self._identity is not None:  # opened no sooner: a worker that starts late finds the parts joined and gone
            self._parts.open(self._identity)
            self._identity = None
        done = [(0, 0)]
        for number, window in group:
            self._score(number, window, lambda *more: done.append(more))
        pairs, tokens = map(sum, zip(*done, strict=True))
        return _Done(self._notes, sum(len(window) for _, window in group), pairs, tokens)

    def _score(self, number: int, window: list[Checked], progress: Progress) -> None:
        rows = score_window(window, self._scorer, self._tokenizer, self._job.max_length, progress)
        self._parts.write(number, rows, self._job.with_coefficients)


# Sampling


@dataclass(frozen=True, slots=True)
class _Prompts:
    """Prompts that are answered together, their places in the table, and the seed of their answers."""

    places: list[int]
    prompts: list[str]
    seed: int


def samples(
    model: str,
    asked: Sequence[tuple[Sequence[str], int]],
    *,
    temperature: float,
    max_new_tokens: int,
    batch_size: int = 64,
    workers: int | None = None,
) -> Iterator[list[str]]:
    """`harness.onpolicy.sample` on Ray: to each list of prompts that is asked, with its seed, one answer a prompt.

    Args:
        model: directory or hub id, which every worker loads.
        asked: lists of prompts and their seeds; the answers come list by list, in this order, as each is whole.
        temperature: of the draws, with top-p 1.
        max_new_tokens: tokens of the longest answer.
        batch_size: prompts that a worker answers together.
        workers: how many copies of the model.

    Every batch has a random stream of its own, so the same seed gives the same answers with any number of workers. In
    a local run one stream goes through all batches: its answers are other draws from the same distribution. Raises
    HarnessError where there is no chat template, or Ray is missing or has not the workers asked for.
    """
    batches = [_batches(prompts, seed, batch_size) for prompts, seed in asked]
    work = partial(_Sampler, anywhere(model), temperature, max_new_tokens)
    total = sum(len(prompts) for prompts, _ in asked)
    with cluster(), bar("Sampling answers", total, "answers") as advance:
        import ray

        source = partial(ray.get, ray.put([batch for each in batches for batch in each]))
        with closing(over(source, work, shared_out(workers), ordered=True)) as drawn:
            for each in batches:
                answers: dict[int, str] = {}
                for batch, texts in zip(each, drawn, strict=False):
                    answers.update(zip(batch.places, texts, strict=True))
                    advance(len(texts))
                yield [answers[place] for place in range(len(answers))]


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

    def __call__(self, batch: _Prompts) -> list[str]:
        """One answer a prompt."""
        import torch

        torch.manual_seed(batch.seed)
        texts = [onpolicy.render(self._tokenizer, prompt) for prompt in batch.prompts]
        return onpolicy.generate(self._model, self._tokenizer, texts, self._temperature, self._max_new_tokens)


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

    What is printed in the block goes to standard error: Ray prints there that workers died. Raises HarnessError where
    Ray is not installed or no cluster answers.
    """
    refuse_missing()
    with redirect_stdout(sys.stderr), _connected():
        yield


@contextmanager
def _connected() -> Iterator[None]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it would log what we raise, with all its traces
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


def over(
    source: Callable[[], Iterable[Given]],
    work: Callable[[], Callable[[Given], Made]],
    share: Share,
    *,
    ordered: bool = False,
) -> Generator[Made, None, None]:
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
    context.raise_original_map_exception = True  # or it would come without its cause
    context.memory_usage_poll_interval_s = None
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

    return pa.table({"thing": pa.array([pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)], pa.large_binary())})


class _Worker:
    """What an actor of the pool runs: made once, called with blocks of one thing."""

    def __init__(self, work: Callable[[], Callable[[Any], Any]]) -> None:
        _one_thread()
        try:
            self._work = work()
        except HarnessError as error:  # Ray would take it for a dead actor's, and lose the cause
            self._work = partial(_refuse, error)

    def __call__(self, block: Any) -> Any:
        return _block(self._work(pickle.loads(block["thing"][0].as_py())))  # noqa: S301 - written by our own source


def _refuse(error: HarnessError, _: object) -> NoReturn:
    raise error


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
        # Ray's own class for what a worker raised passes for a HarnessError, but its `cause` is the exception.
        if ours := next((cause for cause in causes if type(cause) is HarnessError), None):
            raise HarnessError(ours.cause, place=ours.place, mend=ours.mend) from error
        if any(isinstance(cause, RayActorError) for cause in causes):
            mend = f"A batch was tried {RETRIES + 1} times; memory is the usual reason. Try fewer --workers."
            raise HarnessError("workers keep dying", mend=mend) from error
        raise


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what caused it, down to the first."""
    from ray.exceptions import RayTaskError

    while error is not None:
        yield error
        error = error.cause if isinstance(error, RayTaskError) else error.__cause__
