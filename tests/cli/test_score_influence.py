"""`harness score --probes` from the outside, on a model whose tokens are sentences."""

import json
import re

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from harness.models.loading import load_model
from harness.models.paths import locate_model
from harness.scoring import streaming
from harness.scoring.probes import Probes, draw_probes, find_probes, load_probe_prompts
from harness.scoring.scorer import score
from harness.scoring.streaming import score_file
from harness.scoring.targets import TARGETS, InfluenceSettings, error_column, influence_column
from harness.support.errors import HarnessError
from harness.support.layout import RunFiles
from helpers.models import save_random
from helpers.preference_rows import lines, tokenizer
from helpers.sentence_model import COMPLIANCE, PROMPTS, REFUSAL, save_sentence_model, sentence_pairs, write_prompts

pytestmark = pytest.mark.slow

ALL = [name for target in TARGETS for name in (influence_column(target), error_column(target))]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_sentence_model(tmp_path_factory.mktemp("sentences") / "model")


@pytest.fixture
def table(tmp_path):
    return lines(tmp_path / "pairs.jsonl", sentence_pairs(40))


@pytest.fixture
def prompts(tmp_path):
    return write_prompts(tmp_path / "prompts.jsonl")


@pytest.fixture
def loaded(model):
    return load_model(str(model), chat=False)


@pytest.fixture
def run_directory(tmp_path, prompts, model, loaded):
    """A run's directory with probe answers of this model."""
    settings = InfluenceSettings(str(prompts), 8, ("refusal",))
    folder = tmp_path / "run"
    place = RunFiles(folder).probes
    place.parent.mkdir(parents=True, exist_ok=True)
    find_probes(*loaded, settings, locate_model(str(model)).content).save(place)
    return folder


def read_columns(path, names):
    return pq.read_table(path).select(names).to_pydict()


def test_every_target_gets_its_columns_and_is_shown(command, table, prompts, model):
    out = table.with_name("s.parquet")
    options = ("--probes", prompts, "--probe-samples", "8", "--targets", ",".join(TARGETS))
    done = command("score", table, "--model", model, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    columns = read_columns(out, ALL)
    assert all(None not in values for values in columns.values())
    refusals = columns["refusal_influence"]
    assert f"mean {sum(refusals) / 40:+.4g} (standard error at most" in done.stdout
    assert "raises the refusal rate, which is good; below 0 it lowers it." in done.stdout
    assert re.search(r"raises the rate of harmful\s+completions, which is bad", done.stdout)
    ids = pq.read_table(out, columns=["pair_id"])["pair_id"].to_pylist()
    pushing = re.findall(r"^ +([+-][\d.e+-]+) +[\d.e+-]+ +(p\d\d\d) ", done.stdout, re.MULTILINE)
    order = sorted(range(40), key=lambda i: refusals[i])
    assert [name for _, name in pushing] == [ids[i] for i in (*order[:10], *order[:-11:-1])]
    assert not [text for text in (*PROMPTS, REFUSAL, COMPLIANCE) if text in done.stdout]
    page = out.with_suffix(".html").read_text()
    assert page.count("<svg") == 2 + len(TARGETS)
    assert "Influence on the mean ln p of the preferred answers" in page
    assert not re.search(r"<(script|link|img|iframe)|@import|src=", page)


def test_json_says_the_same_of_the_influences(command, table, prompts, model):
    out = table.with_name("s.parquet")
    done = command("score", table, "--model", model, "--out", out, "--probes", prompts, "--json")
    said = json.loads(done.stdout)["influences"]["refusal"]
    columns = read_columns(out, ["refusal_influence", "refusal_influence_se", "pair_id"])
    values, errors = columns["refusal_influence"], columns["refusal_influence_se"]
    mean = sum(values) / 40
    variance = sum((value - mean) ** 2 for value in values) / 40
    assert said["mean"] == pytest.approx(mean)
    assert said["error_at_most"] == pytest.approx(sum(errors) / 40)
    assert said["negative"] == sum(value < 0 for value in values) / 40
    assert said["reliability"] == pytest.approx(1 - sum(error**2 for error in errors) / 40 / variance)
    assert said["lowest_pair_ids"][0] == columns["pair_id"][values.index(min(values))]
    assert {kind["name"]: kind["pairs"] for kind in said["types"]} == {
        "Two refusals": 5,
        "Two non-refusals": 17,
        "One of each": 18,
    }


def test_without_probes_nothing_is_said_of_influence(command, table, model):
    done = command("score", table, "--model", model, "--out", table.with_name("s.parquet"))
    assert done.returncode == 0
    assert "nfluence" not in done.stdout + table.with_name("s.html").read_text()


def test_a_runs_probe_answers_are_taken(command, table, model, prompts, run_directory):
    outs = [table.with_name(f"{name}.parquet") for name in ("drawn", "kept")]
    for out, source in zip(outs, (prompts, run_directory), strict=True):
        done = command("score", table, "--model", model, "--out", out, "--probes", source, "--probe-samples", "8")
        assert done.returncode == 0, done.stderr
        assert ("Drawing" in done.stderr) == (source == prompts)
    assert read_columns(outs[0], ALL[:2]) == read_columns(outs[1], ALL[:2])


def test_another_models_probe_answers_are_refused(command, table, tmp_path, run_directory):
    other = save_sentence_model(tmp_path / "other", seed=1)
    done = command("score", table, "--model", other, "--out", tmp_path / "s.parquet", "--probes", run_directory)
    assert done.returncode == 2
    assert f"{run_directory}: holds another model's probe answers" in done.stderr


def test_answers_all_judged_alike_are_one_line_and_leave_nothing_in_the_way(command, table, tmp_path, prompts, model):
    out, gibberish = tmp_path / "s.parquet", save_random("llama", tmp_path / "gibberish", tokenizer())
    options = ("--out", out, "--probes", prompts)
    done = command("score", table, "--model", gibberish, *options)
    assert done.returncode == 2
    assert (
        "refusal rate: all probe answers are judged alike, so the rate has no gradient" in done.stderr.splitlines()[-1]
    )
    assert not out.with_name("s.parquet.parts").exists()
    assert command("score", table, "--model", model, *options).returncode == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--targets", "candour"], "--targets: 'candour' is no target"),
        (["--subspace", "lora:0"], "--subspace: 'lora:0' is no subspace. Give lora:RANK or last:LAYERS."),
        (["--subspace", "last:3", "--probes", "PROMPTS"], "3 layers are too many. The model has 2."),
        (["--probes", "EMPTY"], "holds no probe answers"),
        (["--probes", "absent.jsonl"], "absent.jsonl"),
        (["--probes", "PROMPTS", "--judge", "nobody"], "nobody"),
        (["--probes", "UNSAFE", "--targets", "benign"], "holds no benign prompts to probe with"),
    ],
)
def test_bad_usage_is_one_line(command, table, tmp_path, prompts, model, options, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    unsafe = lines(tmp_path / "unsafe.jsonl", [{"prompt": PROMPTS[0]}])
    names = {"PROMPTS": prompts, "EMPTY": tmp_path / "empty", "UNSAFE": unsafe}
    done = command("score", table, "--model", model, "--out", "s.parquet", *(names.get(each, each) for each in options))
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert "Drawing" not in done.stderr
    assert not [*tmp_path.glob("*.parts")]


def test_a_killed_run_goes_on_without_drawing_again(tmp_path, prompts, loaded, monkeypatch):
    table = lines(tmp_path / "pairs.jsonl", sentence_pairs(300))
    settings = InfluenceSettings(str(prompts), 4, ("refusal",))
    whole, killed = tmp_path / "whole.parquet", tmp_path / "killed.parquet"
    score_file(table, *loaded, whole, influence=settings)
    drawn, windows = [], []

    def counted(*arguments):
        drawn.append(None)
        return find_probes(*arguments)

    def dying(*arguments):
        if len(windows) == 1:
            windows.append(None)
            raise KeyboardInterrupt
        windows.append(None)
        return score_window(*arguments)

    score_window = streaming.score_window
    monkeypatch.setattr(streaming, "find_probes", counted)
    monkeypatch.setattr(streaming, "score_window", dying)
    with pytest.raises(KeyboardInterrupt):
        score_file(table, *loaded, killed, influence=settings)
    with pytest.raises(HarnessError, match="holds the parts of a different run"):
        score_file(table, *loaded, killed, influence=InfluenceSettings(str(prompts), 5, ("refusal",)))
    score_file(table, *loaded, killed, influence=settings)
    assert (len(drawn), len(windows)) == (1, 3)
    assert pq.read_table(whole) == pq.read_table(killed)
    assert not [*tmp_path.glob("*.parts")]


# The Python face


@pytest.fixture
def probes(prompts, loaded):
    return draw_probes(*loaded, load_probe_prompts(str(prompts), ("refusal",)), samples=8)


def test_probe_answers_are_saved_and_loaded(probes, tmp_path):
    probes.save(tmp_path / "probes.json")
    assert Probes.load(tmp_path / "probes.json") == probes


def test_drawing_depends_on_the_seed_alone(prompts, loaded, probes):
    asked = load_probe_prompts(str(prompts), ("refusal",))
    assert draw_probes(*loaded, asked, samples=8) == probes
    assert draw_probes(*loaded, asked, samples=8, seed=1) != probes


def test_a_column_of_that_name_is_kept_under_another(loaded, probes, capfd):
    rows = [row | {"refusal_influence": i} for i, row in enumerate(sentence_pairs(12))]
    found = score(Dataset.from_list(rows), *loaded, probes=probes)
    assert found["given_refusal_influence"][:] == [*range(12)]
    assert "refusal_influence (given_refusal_influence)" in capfd.readouterr().err
    assert found["refusal_influence"][:] != found["given_refusal_influence"][:]


def test_rows_without_a_score_have_no_influence_and_equal_pairs_equal_ones(loaded, probes):
    rows = sentence_pairs(12)
    rows[3] = rows[3] | {"chosen": []}
    rows[5] = rows[4] | {"pair_id": "again"}
    found = score(Dataset.from_list(rows), *loaded, probes=probes)
    assert [i for i, value in enumerate(found["refusal_influence"][:]) if value is None] == [3]
    assert found["refusal_influence_se"][3] is None
    assert found["reason"][3] == "empty chosen answer"
    assert found["refusal_influence"][5] == found["refusal_influence"][4]


def test_one_pair_alone_has_the_influence_that_it_has_among_others(loaded, probes):
    among = score(Dataset.from_list(sentence_pairs(12)), *loaded, probes=probes)
    alone = score(Dataset.from_list(sentence_pairs(12)[4:5]), *loaded, probes=probes)
    largest = max(map(abs, among["refusal_influence"]))
    assert alone["refusal_influence"][0] == pytest.approx(among["refusal_influence"][4], abs=1e-3 * largest)
    assert alone["refusal_influence_se"][0] > 0


def test_a_pair_and_its_reverse_have_opposite_influences(loaded, probes):
    rows = sentence_pairs(12)
    reverse = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    found = [score(Dataset.from_list(each), *loaded, probes=probes)["refusal_influence"][:] for each in (rows, reverse)]
    assert found[0] == pytest.approx([-value for value in found[1]], abs=1e-3 * max(map(abs, found[0])))


def test_an_encoder_decoder_is_refused(command, table, tmp_path, prompts):
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    T5ForConditionalGeneration(T5Config(vocab_size=270, **sizes)).save_pretrained(tmp_path / "t5")
    tokenizer().save_pretrained(tmp_path / "t5")
    done = command("score", table, "--model", tmp_path / "t5", "--out", tmp_path / "s.parquet", "--probes", prompts)
    assert done.returncode == 2
    assert "t5" in done.stderr.splitlines()[-1]
