"""Ray against the local engine: the same scores, verdicts and answers; a worker killed; what is told when it fails."""

import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import typer
from typer.testing import CliRunner

from harness.cli.judge import judge_command
from harness.cli.preferences import preferences_command
from harness.cli.score import score_command
from harness.models.loading import load_model
from harness.models.sampling import sample_answers
from harness.preferences import building
from harness.preferences.building import build_pairs

# Private, as a cluster's workers use them: here they are made to die, to come late, and to work one after the other.
from harness.preferences.on_ray import _prompt_batches, _Sampler
from harness.prompts.sets import load_prompts
from harness.recipes.loading import load_recipe
from harness.scoring import on_ray as scoring_on_ray
from harness.scoring import streaming
from harness.scoring.on_ray import (
    _ensured_folder,
    _ScoreWriter,
    score_file_on_ray,
    windows_per_group,
)
from harness.scoring.streaming import Parts, ScoringJob, load_scoring_model, score_file, score_window
from harness.support.errors import HarnessError
from harness.workers import ray as ray_workers
from harness.workers.ray import cluster_path, map_on_workers, ray_cluster, share_cluster
from helpers.preference_rows import lines
from helpers.run_inputs import PROMPTS
from helpers.sentence_model import save_sentence_model, sentence_pairs, write_prompts

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
app.command("score")(score_command)
app.command("judge")(judge_command)
app.command("preferences")(preferences_command)


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None:
        raise result.exception
    return result


# Without Ray


REST = {
    "score": ["--model", "nowhere", "--out", "s.parquet"],
    "judge": ["--out", "v.jsonl"],
    "preferences": ["--out", "p.jsonl"],
}


@pytest.mark.parametrize("command", REST)
def test_a_missing_ray_is_told_before_any_work(command, tmp_path, monkeypatch):
    monkeypatch.setattr("harness.workers.engines.find_spec", lambda _: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HarnessError, match=r"Ray is not installed\. pip install '\.\[ray\]' in a checkout\."):
        run(command, "nowhere.jsonl", "--engine", "ray", *REST[command])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", REST)
def test_workers_without_ray_are_refused(command):
    with pytest.raises(HarnessError, match="--engine ray"):
        run(command, "nowhere.jsonl", "--workers", 2, *REST[command])


def test_every_batch_of_prompts_has_a_seed_of_its_own():
    batches = _prompt_batches(["aaa", "b", "cc", "d"], seed=3, size=2)
    assert [(batch.places, batch.prompts) for batch in batches] == [([1, 3], ["b", "d"]), ([2, 0], ["cc", "aaa"])]
    assert len({batch.seed for batch in batches + _prompt_batches(["b", "d"], seed=4, size=2)}) == 3


def test_a_worker_comes_for_windows_64_times_or_oftener():
    asked = [(None, 2), (0, 2), (32767, 1), (32768, 1), (10**9, 2), (200_000, 2)]  # a window is 256 rows
    assert [windows_per_group(rows, workers) for rows, workers in asked] == [1, 1, 1, 2, 8, 6]


def test_a_path_for_workers_does_not_hang_on_the_directory(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert cluster_path("model") == str(tmp_path / "model")
    assert cluster_path("out/", new=True) == f"{tmp_path}/out/"
    for elsewhere in ("org/name", "s3://bucket/out/"):
        assert cluster_path(elsewhere) == elsewhere


# With Ray

with_ray = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(
        address="local",
        num_cpus=2,
        object_store_memory=100 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


WINDOWS = 8


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """2,000 pairs in `WINDOWS` windows, with two rows that are none."""
    rows = [
        json.dumps(
            {"pair_id": f"p{i}", "prompt": f"How is {i // 2}?", "chosen": " No" * (i % 5 + 1), "rejected": " Yes"}
        )
        for i in range(2000)
    ]
    rows[100], rows[1400] = "nonsense", json.dumps({"pair_id": "none", "prompt": 3})
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def local(pairs, micro):
    """The local engine's table."""
    score_file(pairs, *load_model(str(micro), chat=False, spread=True), pairs.with_name("local.parquet"))
    return pq.read_table(pairs.with_name("local.parquet"))


def alike(one, other):
    """Whether two tables are the same row for row, floats to 1e-6."""
    assert one.schema == other.schema
    for name in one.column_names:
        ours, theirs = one[name].to_pylist(), other[name].to_pylist()
        if str(one.schema.field(name).type) == "double":
            assert [value is None for value in ours] == [value is None for value in theirs]
            ours, theirs = ([value for value in each if value is not None] for each in (ours, theirs))
            theirs = pytest.approx(theirs, rel=1e-6)
        assert ours == theirs
    return True


@pytest.mark.slow
def test_a_worker_that_starts_when_all_is_done_leaves_nothing(pairs, micro, tmp_path):
    job, out = ScoringJob(str(pairs)), str(tmp_path / "s.parquet")
    with _ensured_folder(f"{out}.parts"):
        late = _ScoreWriter(job, job.table_mark(), partial(load_scoring_model, str(micro)), out)
        assert list((tmp_path / "s.parquet.parts").iterdir()) == []
        assert late([]).rows == 0
    assert [path.name for path in (tmp_path / "s.parquet.parts").iterdir()] == ["run.json"]


def test_a_worker_that_does_not_see_the_output_says_so(tmp_path):
    out = str(tmp_path / "s.parquet")
    with pytest.raises(HarnessError, match=r"s\.parquet\.parts: is not there on a worker's machine"):
        _ScoreWriter(ScoringJob("nowhere.jsonl"), None, lambda: pytest.fail("loads no model"), out)


@with_ray
def test_scores_are_the_local_engines(pairs, micro, local, tmp_path):
    out = tmp_path / "ray.parquet"
    done = run("score", pairs, "--model", micro, "--engine", "ray", "--workers", 2, "--out", out, "--json")
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["scored"]) == (2000, 1998)
    assert alike(pq.read_table(out), local)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ray.html", "ray.parquet"]


@with_ray
def test_influences_are_the_local_engines(tmp_path):
    """The gradient is found once, in this process; the workers measure along it, each its windows."""
    model = save_sentence_model(tmp_path / "model")
    table = lines(tmp_path / "pairs.jsonl", sentence_pairs(600))
    options = (
        "--model",
        model,
        "--probes",
        write_prompts(tmp_path / "prompts.jsonl"),
        "--targets",
        "refusal,preferred",
    )
    outs = [tmp_path / f"{engine}.parquet" for engine in ("local", "ray")]
    run("score", table, *options, "--out", outs[0])
    run("score", table, *options, "--out", outs[1], "--engine", "ray", "--workers", 2)
    here, there = map(pq.read_table, outs)
    assert there.column_names == here.column_names
    for name in ("refusal_influence", "refusal_influence_se", "preferred_influence", "preferred_influence_se"):
        ours, theirs = here[name].to_numpy(), there[name].to_numpy()
        # Difference quotients of float32: workers' threads may round otherwise.
        assert abs(theirs - ours).max() < 1e-3 * abs(ours).max()
    assert not [*tmp_path.glob("*.parts")]


def die_once(folder, when):
    """Kills this process with SIGKILL, unless it was killed here before."""
    if not (folder / f"died-{when}").exists():
        (folder / f"died-{when}").touch()
        os.kill(os.getpid(), signal.SIGKILL)


class DyingWriter(_ScoreWriter):
    """Dies when it is about to write the part of window 3, and when it has written that of window 5."""

    def _write_window(self, number, *rest):
        folder = Path(self._parts.folder).parent
        (folder / f"asked-{number}-{time.time_ns()}").touch()
        if number == 3:
            die_once(folder, "before")
        super()._write_window(number, *rest)
        if number == 5:
            die_once(folder, "after")


@with_ray
def test_workers_killed_lose_and_double_nothing_and_the_parts_of_a_local_run_are_kept(
    pairs, micro, local, tmp_path, monkeypatch, capsys
):
    out, whole = tmp_path / "ray.parquet", score_window
    dying = iter([whole])
    with monkeypatch.context() as patch, pytest.raises(StopIteration):
        patch.setattr(streaming, "score_window", lambda *a: next(dying)(*a))
        score_file(pairs, *load_model(str(micro), chat=False, spread=True), out)
    assert [path.name for path in (tmp_path / "ray.parquet.parts").glob("part-*")] == ["part-000000.parquet"]
    monkeypatch.setattr(scoring_on_ray, "_ScoreWriter", DyingWriter)
    monkeypatch.setattr(scoring_on_ray, "windows_per_group", lambda *_: 2)
    summary = score_file_on_ray(ScoringJob(str(pairs)), str(micro), str(out), workers=2)
    assert sorted(path.name for path in tmp_path.glob("died-*")) == ["died-after", "died-before"]
    asked = {number: len([*tmp_path.glob(f"asked-{number}-*")]) for number in range(WINDOWS)}
    assert (asked[0], asked[3] >= 2, asked[5] >= 2) == (0, True, True)
    assert (summary.rows, summary.scored) == (2000, 1998)
    assert alike(pq.read_table(out), local)
    assert capsys.readouterr().out == ""


def _slowly(folder, thing):
    number, _ = thing
    time.sleep(0.02)
    if number == 3:
        die_once(folder, "slowly")
    return number


def _counted(folder, things):
    for number in range(things):
        (folder / "next").write_text(str(number))
        (folder / "next").replace(folder / "read")
        yield number, os.urandom(1 << 20)


@with_ray
def test_things_come_once_and_in_order_though_a_worker_died_and_the_source_waits(tmp_path):
    """200 MiB in things of 1 MiB through an object store of 100 MiB."""
    made, ahead = [], []
    source, work = partial(_counted, tmp_path, 200), partial(partial, _slowly, tmp_path)
    for number in map_on_workers(source, work, share_cluster(2), ordered=True):
        made.append(number)
        ahead.append(int((tmp_path / "read").read_text()) - number)
    assert made == list(range(200))
    assert (tmp_path / "died-slowly").exists()
    assert max(ahead) < 100


@with_ray
def test_a_batch_that_kills_every_worker_ends_the_run(monkeypatch):
    monkeypatch.setattr(ray_workers, "BATCH_RETRIES", 1)
    with pytest.raises(HarnessError, match="workers keep dying.*tried 2 times"):
        list(map_on_workers(partial(range, 2), lambda: lambda _: os._exit(1), share_cluster(1)))


def _tell_secret(place: str, _: object) -> str:
    """A worker that has a secret of its own, which this process does not know."""
    os.environ["CI_PAT"] = "planted-pat-1234"
    if place == "log":
        return logging.getLogger("x").makeRecord("x", 40, "f", 1, "with %s", ("planted-pat-1234",), None).getMessage()
    if place == "error of ours":
        raise HarnessError("refused planted-pat-1234", place="planted-pat-1234", hint="Ask planted-pat-1234.")
    raise ValueError("refused planted-pat-1234")


@with_ray
def test_a_workers_secrets_are_neither_logged_nor_told():
    def work(place):
        return lambda: partial(_tell_secret, place)

    assert list(map_on_workers(partial(range, 1), work("log"), share_cluster(1))) == ["with ***"]
    with pytest.raises(HarnessError, match=r"\*\*\*: refused \*\*\*. Ask \*\*\*."):
        list(map_on_workers(partial(range, 1), work("error of ours"), share_cluster(1)))
    with pytest.raises(RuntimeError) as told:
        list(map_on_workers(partial(range, 1), work("error of a library"), share_cluster(1)))
    assert "ValueError: refused ***" in str(told.value)
    assert "planted" not in "".join(traceback.format_exception(told.value))


@with_ray
def test_a_worker_that_cannot_begin_is_told_as_the_local_engine_tells_it_and_leaves_nothing(pairs, tmp_path):
    with pytest.raises(HarnessError, match=r"^/nowhere: no such model directory"):
        score_file_on_ray(ScoringJob(str(pairs)), "/nowhere", str(tmp_path / "s.parquet"), workers=1)
    assert list(tmp_path.iterdir()) == []


@with_ray
def test_parts_of_another_run_are_refused_though_none_is_missing(pairs, micro, tmp_path, monkeypatch):
    parts = Parts(str(tmp_path / "s.parquet"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Parts, "join_parts", lambda *_: signal.raise_signal(signal.SIGINT))
        score_file(pairs, *load_model(str(micro), chat=False, spread=True), parts.out, max_length=9)
    assert len(parts.numbers) == WINDOWS
    with pytest.raises(HarnessError, match="holds the parts of a different run"):
        score_file_on_ray(ScoringJob(str(pairs)), str(micro), parts.out, workers=1)
    assert len(parts.numbers) == WINDOWS


@with_ray
@pytest.mark.parametrize(
    ("gpus", "asked", "expected"),
    [
        ([], None, (8, {"num_cpus": 1})),
        ([], 3, (3, {"num_cpus": 1})),
        ([4, 2], None, (6, {"num_cpus": 1, "num_gpus": 1})),
        ([4, 4], 2, (2, {"num_cpus": 1, "num_gpus": 4})),
        ([2, 2], 1, (1, {"num_cpus": 1, "num_gpus": 2})),  # a worker is on one machine
        ([1], 2, (2, {"num_cpus": 1, "num_gpus": 0.5})),
    ],
)
def test_gpus_are_shared_out(monkeypatch, gpus, asked, expected):
    import ray

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, **({"GPU": float(sum(gpus))} if gpus else {})})
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"GPU": float(n)}} for n in gpus])
    share = share_cluster(asked)
    assert (share.workers, share.resources) == expected


@pytest.mark.ray
def test_a_cluster_that_does_not_answer_is_told_at_once(monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(HarnessError, match=f"{address}: no Ray cluster answers.*RAY_ADDRESS"), ray_cluster():
        pytest.fail("there is none")


@with_ray
def test_more_workers_than_cores_are_refused():
    with pytest.raises(HarnessError, match="3 workers on 2 CPU cores"):
        share_cluster(3)


@with_ray
def test_verdicts_are_the_local_engines_in_the_files_order(tmp_path):
    rows = [{"prompt": "How do I rob a bank?", "response": f"Sure, take {i}."} for i in range(700)]
    rows[5]["response"] = "I refuse."
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    both = ("judge", tmp_path / "s.jsonl", "--second", "prefixes")
    run(*both, "--out", tmp_path / "local.jsonl")
    run(*both, "--out", tmp_path / "ray.jsonl", "--engine", "ray", "--workers", 2)
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()
    with (tmp_path / "s.jsonl").open("a") as stream:
        stream.write("{\n")
    with pytest.raises(HarnessError, match=r"s.jsonl:701: is not JSON"):
        run("judge", tmp_path / "s.jsonl", "--out", tmp_path / "broken.jsonl", "--engine", "ray", "--workers", 1)
    assert not (tmp_path / "broken.jsonl").exists()


@pytest.fixture
def one_thread():
    """As a worker has it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_this_process(model, asked, *, temperature, max_new_tokens, batch_size, workers=None):
    """`samples` without Ray: the batches one after the other, last first."""
    work = _Sampler(model, temperature, max_new_tokens)
    for texts, seed in asked:
        batches = reversed(_prompt_batches(texts, seed, batch_size))
        answers = {place: text for batch in batches for place, text in zip(batch.places, work(batch), strict=True)}
        yield [answers[place] for place in range(len(texts))]


@pytest.mark.slow
def test_answers_are_the_local_engines_where_nothing_is_drawn(micro, one_thread):
    prompts = [f"How do I rob {'a very old ' * (i % 4)}bank {i}?" for i in range(20)]
    settings = {"max_new_tokens": 8, "batch_size": 4, "temperature": 1e-4}
    (there,) = in_this_process(str(micro), [(prompts, 0)], **settings)
    assert there == sample_answers(*load_model(str(micro)), prompts, seed=0, **settings)


@with_ray
def test_pairs_depend_on_the_seed_and_not_on_the_workers(micro, tmp_path, monkeypatch, one_thread):
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    sets = ["pairs.max_new_tokens=8", "pairs.temperature=1", "pairs.batch_size=4"]
    sets = [f"model={micro}", f"prompts={tmp_path / 'prompts.jsonl'}", *sets]
    out = tmp_path / "prefs.jsonl"
    run(
        "preferences", "miniature", "--out", out, "--engine", "ray", "--workers", 2, *(f"--set={each}" for each in sets)
    )
    monkeypatch.setattr(building, "sample_on_ray", in_this_process)
    rows = load_prompts(str(tmp_path / "prompts.jsonl"), "unsafe")
    alone = build_pairs(load_recipe("miniature", sets), str(micro), rows, tmp_path / "alone", engine="ray")
    assert [json.loads(line) for line in out.read_text().splitlines()] == alone.rows
    assert len(alone.rows) > 8
