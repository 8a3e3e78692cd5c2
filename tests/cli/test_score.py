"""`harness score` and `harness filter` from the outside, on the micro model; a thousand malformed tables."""

import json
import re
import time
from functools import cache
from statistics import fmean
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import typer
from datasets import load_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig
from typer.testing import CliRunner

from harness.cli.filter import filter_command
from harness.cli.score import score_command
from harness.models.loading import load_model
from harness.scoring import ches, streaming
from harness.scoring.scorer import Scorer
from harness.scoring.streaming import score_file
from harness.support.errors import HarnessError
from helpers.preference_rows import assistant, tokenizer, user

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
app.command("score")(score_command)
app.command("filter")(filter_command)


def run(*arguments):
    """Exit code, standard output and error as `harness` would give them: a HarnessError is one line and code 2."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, HarnessError):
        return SimpleNamespace(code=2, out=result.stdout, err=str(result.exception))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return SimpleNamespace(code=result.exit_code, out=result.stdout, err=result.stderr)


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    """A directory with a one-layer model and its tokenizer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    config = LlamaConfig(vocab_size=262, max_position_embeddings=512, **sizes, **special)
    folder = tmp_path_factory.mktemp("micro")
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


ANSWERS = ["No.", "I cannot help with that.", "Sure, here it is.", "Never", "Yes"]


def rows(count=40):
    return [{"pair_id": f"p{i:02d}", "prompt": [user(f"Question {i // 2}")], "chosen": [assistant(ANSWERS[i % 5])],
             "rejected": [assistant(ANSWERS[(i * 7 + 2) % 5] + "!" * (i % 3))], "chosen_verdict": "refusal",
             "rejected_verdict": ["refusal", "harmful"][i % 2], "hazard": "none"} for i in range(count)]  # fmt: skip


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    return path


@pytest.fixture
def scores(table, micro):
    assert run("score", table, "--model", micro, "--out", table.with_name("s.parquet")).code == 0
    return table.with_name("s.parquet")


def test_score_prints_a_table_and_writes_scores_and_a_page(table, micro):
    out = table.with_name("s.parquet")
    done = run("score", table, "--model", micro, "--out", out, "--with-coefficients")
    assert done.code == 0
    assert "40 of 40 pairs scored" in done.out
    assert len(re.findall(r"^ +-?[\d.e-]+ +p\d\d +\d+ +\d+", done.out, re.MULTILINE)) == 10
    assert not [text for text in ("Question", *ANSWERS) if text in done.out]
    written = pq.read_table(out)
    assert {*ches.MEASURES, *ches.COEFFICIENTS, "pair_id", "prompt_tokens", "hazard"} <= set(written.column_names)
    plus, minus = (fmean(written[f"alpha_{side}_positive"].to_pylist()) for side in ("plus", "minus"))
    assert f"Theorem 3's weights above zero: alpha+ {plus:.1%}, alpha- {minus:.1%}" in done.out
    assert out.with_suffix(".html").exists()


def test_score_prints_texts_when_asked_for(table, micro):
    done = run("score", table, "--model", micro, "--out", table.with_name("s.parquet"), "--with-text")
    assert len(re.findall(r"^ +-?[\d.e-]+ +user:", done.out, re.MULTILINE)) == 10


def test_quantiles_fit_a_terminal_of_80_columns(table, micro, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = table.with_name("s.parquet")
    lines = run("score", table, "--model", micro, "--out", out).out.splitlines()
    (heading,) = (line for line in lines if line.split()[:1] == ["quantile"])
    assert heading.split() == ["quantile", *ches.MEASURES]
    written = pq.read_table(out)
    highest = next(line for line in lines if line.strip().startswith("highest"))
    assert [*map(float, highest.split()[1:])] == pytest.approx(
        [max(written[measure].to_pylist()) for measure in ches.MEASURES], rel=1e-3
    )


def test_json_is_one_object_alone_on_standard_output(table, micro):
    done = run("score", table, "--model", micro, "--out", table.with_name("s.parquet"), "--json")
    said = json.loads(done.out)
    assert (said["rows"], said["scored"], said["reasons"]) == (40, 40, {})
    assert len(said["quantiles"]["ln_ches"]) == 7
    said = json.loads(
        run("filter", said["out"], "--keep-lowest", "3", "--out", table.with_name("k.jsonl"), "--json").out
    )
    assert said["kept"]["pairs"] == 3


def test_hostile_text_reaches_neither_terminal_nor_page(tmp_path, micro):
    hostile = "\x1b[31mred [bold]x[/bold] <script>alert(1)</script> \u202eback {{ 7 * 7 }}"
    path = tmp_path / "pairs.jsonl"
    pair = {
        "pair_id": hostile,
        "prompt": [user(hostile)],
        "chosen": [assistant(hostile)],
        "rejected": [assistant("no")],
    }
    path.write_text(json.dumps(pair))
    done = run("score", path, "--model", micro, "--out", tmp_path / "<b>s.parquet", "--with-text")
    page = (tmp_path / "<b>s.html").read_text()
    assert "\x1b[31m" not in done.out
    assert "[bold]" in done.out
    assert not re.search(r"[\x00-\x08\x0b-\x1f\u202e]", done.out + page)
    assert "<script" not in page
    assert "{{ 7 * 7 }}" in page


def test_the_page_fetches_nothing_and_runs_nothing(scores):
    page = scores.with_suffix(".html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)|url\(\s*['\"]?http|@import|src=", page)
    assert page.count("<svg") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.jsonl", "--model", "MICRO", "--out", "s.parquet"], "absent.jsonl: no such file"),
        (["absent.tsv", "--model", "MICRO", "--out", "s.parquet"], "absent.tsv: no such file"),
        (["absent.csv.gz", "--model", "MICRO", "--out", "s.parquet"], "absent.csv.gz: no such file"),
        (["TABLE", "--model", "absent/", "--out", "s.parquet"], "absent/: no such model directory"),
        (["TABLE", "--model", "MICRO", "--out", "s.csv"], "is no .parquet file"),
        (["TABLE", "--model", "MICRO", "--out", "SCORES/s.parquet"], "cannot be written"),
        (["TABLE", "--model", "MICRO", "--out", "s.parquet", "--chat-template", "absent.jinja"], "absent.jinja"),
        (["SCORES", "--model", "MICRO", "--out", "SCORES"], "is the input itself"),
        (["OTHER", "--model", "absent/", "--out", "s.parquet"], "it has: prompt, response, helpfulness"),
        (["TABLE", "--model", "absent/", "--out", "s.parquet", "--split", "nonsense"], "has no split 'nonsense'"),
    ],
)
def test_bad_usage_is_one_line(tmp_path, table, scores, micro, arguments, message, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": "a", "response": "b", "helpfulness": 3}))
    names = {"TABLE": table, "MICRO": micro, "SCORES": scores, "OTHER": other}
    filled = [str(names.get(a, a)).replace("SCORES", str(scores)) for a in arguments]
    done = run("score", *filled)
    assert done.code == 2
    assert message in done.err
    assert "\n" not in done.err
    assert not [*tmp_path.glob("*.parts")]


def test_pairs_beyond_the_trainers_own_limit_are_counted(tmp_path, micro):
    long = tmp_path / "long"
    config = LlamaConfig.from_pretrained(micro, max_position_embeddings=2048)
    AutoModelForCausalLM.from_config(config).save_pretrained(long)
    tokenizer().save_pretrained(long)
    table = tmp_path / "pairs.jsonl"
    # Bytes are tokens: "<s> " before a text, "</s>" after it.
    pairs = [{"prompt": "a" * 1000, "chosen": "b" * n, "rejected": "c"} for n in (23, 24, 1)]
    table.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    for options, beyond, told in (
        ([], 1, True),
        (["--max-length", "1024"], 0, False),
        (["--max-length", "2048"], 1, False),
    ):
        score = ("score", table, "--model", long, "--out", tmp_path / "s.parquet", *options)
        assert json.loads(run(*score, "--json").out)["beyond_usual"] == beyond
        assert ("1 are longer than DPOTrainer" in run(*score).out) == told


def test_a_table_without_a_score_leaves_nothing_behind(tmp_path, micro):
    table = tmp_path / "pairs.jsonl"
    table.write_text(json.dumps({"prompt": [user("a")], "chosen": [], "rejected": [assistant("b")]}))
    done = run("score", table, "--model", micro, "--out", tmp_path / "s.parquet")
    assert (done.code, "empty chosen answer" in done.err) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]


def test_a_chat_template_can_be_given(table, micro, tmp_path):
    bare, template = tmp_path / "bare", tmp_path / "template.jinja"
    AutoModelForCausalLM.from_pretrained(micro).save_pretrained(bare)
    tokenizer(template=None).save_pretrained(bare)
    template.write_text("{{ bos_token }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}")
    out = tmp_path / "s.parquet"
    before = {*tmp_path.iterdir()}
    assert (
        "the tokenizer has no chat template. Give --chat-template FILE"
        in run("score", table, "--model", bare, "--out", out).err
    )
    assert {*tmp_path.iterdir()} == before
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps({"prompt": "A?", "chosen": "Yes.", "rejected": "No."}))
    assert run("score", plain, "--model", bare, "--out", tmp_path / "p.parquet").code == 0  # text needs none
    assert run("score", table, "--model", bare, "--out", out, "--chat-template", template).code == 0


# filter


def kept(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("rule", "count"),
    [
        (["--keep-lowest", "0.05"], 2),
        (["--keep-lowest", "5%"], 2),
        (["--keep-lowest", "7", "--by", "ches"], 7),
        (["--drop-highest", "0.25"], 30),
        (["--quantile", "0.5", "--n", "8"], 8),
        (["--threshold", "100"], 40),
        (["--random", "0.1", "--seed", "3"], 4),
        (["--keep-highest", "3", "--by", "ln_ches"], 3),
    ],
)
def test_filter_rules(scores, rule, count):
    outs = [scores.with_name(name) for name in ("one.jsonl", "two.jsonl")]
    for out in outs:
        assert run("filter", scores, *rule, "--out", out).code == 0
    assert outs[0].read_bytes() == outs[1].read_bytes()
    assert len(kept(outs[0])) == count
    said = json.loads(scores.with_name("one.filter.json").read_text())
    assert said["kept_pair_ids"] == [row["pair_id"] for row in kept(outs[0])]
    assert len(said["dropped_pair_ids"]) == 40 - count
    assert said["kept"]["two_refusals"] is not None


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ([], "0 rules given"),
        (["--keep-lowest", "1", "--random", "1"], "2 rules given"),
        (["--quantile", "0.5"], "--quantile and --n go together"),
        (["--keep-lowest", "few"], "'few' is no amount"),
        (["--keep-lowest", "0"], "0 pairs asked for"),
        (["--keep-lowest", "1", "--by", "chess"], "no column 'chess'"),
        (["--keep-highest", "1"], "no column 'refusal_influence'. Score with --probes"),
        (["--threshold", "nan"], "--threshold nan: is no number. Give one, such as 0."),
        (["--guard", "refusal,candour"], "--guard: 'candour' is no target. Give some of refusal, harmful"),
    ],
)
def test_filter_refuses_with_one_line(scores, rule, message):
    done = run("filter", scores, *rule, "--out", scores.with_name("k.jsonl"))
    assert done.code == 2
    assert message in done.err


@pytest.fixture
def influences(scores):
    """Scores with influences made up: 20 of the 40 pairs hold refusals up, 30 lower harmful completions."""
    table = pq.read_table(scores)
    for name, values in {"refusal": [i - 19.5 for i in range(40)], "harmful": [i - 29.5 for i in range(40)]}.items():
        table = table.append_column(f"{name}_influence", pa.array(values))
        table = table.append_column(f"{name}_influence_se", pa.array([0.25] * 40))
    pq.write_table(table, scores)
    return scores


@pytest.mark.parametrize(
    ("rule", "count", "said"),
    [
        (["--keep-highest", "0.25"], 10, "refusal_influence: keep the highest 0.25, cut at 10.5"),
        (["--threshold", "0", "--by", "refusal_influence"], 20, "refusal_influence: at least 0, cut at 0.0"),
        (["--threshold", "0", "--by", "harmful_influence"], 30, "harmful_influence: at most 0, cut at 0.0"),
        (["--guard", "refusal"], 40, "as many as keep the forecast of refusal good"),
        # The mean of i - 19.5 is 0, so good by one error of 0.25 without the lowest pair: then it is 0.5.
        (["--guard", "refusal", "--guard-errors", "1"], 39, "refusal good by 1 standard errors"),
    ],
)
def test_filter_by_influence_keeps_the_good_side(influences, rule, count, said):
    out = influences.with_name("k.jsonl")
    done = run("filter", influences, *rule, "--out", out)
    assert done.code == 0, done.err
    assert len(kept(out)) == count
    assert said in done.out
    assert "Mean influence on the refusal rate: +0 (error at most 0.25), of those kept " in done.out
    assert all(len(line) <= 120 for line in done.out.splitlines()[1:3])
    assert {"refusal_influence", "harmful_influence_se"} <= set(kept(out)[0])


@pytest.mark.parametrize(
    ("rule", "by", "better"),
    [
        ("--keep-highest", "harmful_influence", "--keep-lowest"),
        ("--keep-lowest", "refusal_influence", "--keep-highest"),
        ("--drop-highest", "refusal_influence", "--keep-highest"),
        ("--keep-lowest", "harmful_influence", None),
        ("--drop-highest", "harmful_influence", None),
        ("--keep-highest", "ln_ches", None),
    ],
)
def test_a_filter_that_keeps_the_worse_pairs_says_so(influences, rule, by, better):
    done = run("filter", influences, rule, "0.5", "--by", by, "--out", influences.with_name("k.jsonl"))
    assert done.code == 0, done.err
    told = f"warning: {rule} by {by} keeps the pairs that do most harm; {better} keeps those that do least"
    assert done.err.strip() == (told if better else "")


@pytest.mark.parametrize(
    ("kind", "out"),
    [("sharegpt", "k.parquet"), *((each, "k.jsonl") for each in ("trl", "llamafactory", "axolotl", "openrlhf"))],
)
def test_pairs_filtered_into_another_format_are_scored_as_before(scores, micro, kind, out):
    """Every pair has a chat's turns here, so each format holds it whole."""
    first, before = scores.with_name(out), pq.read_table(scores, columns=["pair_id", "ln_ches"]).to_pylist()
    done = run("filter", scores, "--threshold", "100", "--format", kind, "--out", first, "--json")
    assert (done.code, json.loads(done.out)["format"]) == (0, kind), done.err
    again = first.with_name("again.parquet")
    assert run("score", first, "--model", micro, "--out", again).code == 0
    after = pq.read_table(again, columns=["pair_id", "ln_ches"]).to_pylist()
    assert sorted(after, key=lambda row: row["pair_id"]) == sorted(before, key=lambda row: row["pair_id"])


def test_filter_of_what_is_no_table_of_scores(tmp_path):
    (tmp_path / "s.parquet").write_text("nonsense")
    done = run("filter", tmp_path / "s.parquet", "--keep-lowest", "1", "--out", tmp_path / "k.jsonl")
    assert (done.code, "cannot be read" in done.err) == (2, True)


def test_kept_pairs_are_those_trl_trains_on(scores):
    """From the kept file, DPOTrainer makes the very tokens that were scored."""
    from trl.trainer.dpo_trainer import DPOTrainer

    out = scores.with_name("kept.jsonl")
    run("filter", scores, "--keep-lowest", "9", "--out", out)
    made = tokenizer()
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=None, truncation_mode="keep_start")
    data = load_dataset("json", data_files=str(out), split="train", cache_dir=str(out.parent / "cache"))
    trained = DPOTrainer._prepare_dataset(SimpleNamespace(_tokenizer=made), data, made, arguments, "train")
    for row in trained:
        lengths = [len(row[name]) for name in ("prompt_ids", "chosen_ids", "rejected_ids")]
        assert lengths == [row[name] for name in ("prompt_tokens", "chosen_tokens", "rejected_tokens")]


# A thousand malformed tables

texts = st.one_of(st.text(max_size=8), st.sampled_from(["", "</s>", "\ud800", "\x00", "a" * 600, "\u202e", "{{ x }}"]))
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
roles = st.sampled_from(["user", "assistant", "system", "tool"])
turn = st.fixed_dictionaries({"role": roles, "content": texts})
odd_turn = st.fixed_dictionaries({"role": junk, "content": junk})
messages = st.lists(st.one_of(turn, odd_turn, junk), max_size=3)
sides = st.one_of(texts, messages, junk)
optional = {"prompt": sides, "pair_id": junk, "tools": junk, "chat_template_kwargs": junk, "hazard": junk, "ches": junk}
pairs = st.fixed_dictionaries({}, optional={**optional, "chosen": sides, "rejected": sides})
sound = st.fixed_dictionaries({"prompt": texts, "chosen": texts, "rejected": texts})
bad_lines = st.one_of(
    pairs.map(lambda row: json.dumps(row).encode()),
    sound.map(lambda row: json.dumps(row).encode()),
    junk.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=12),
    sound.map(lambda row: json.dumps(row)[:-3].encode()),
)


def reread(path, kind, lines):
    """Writes lines as a file of one of the four kinds; what the kind cannot hold is left as it is, broken."""
    if kind == "parquet":
        objects = [row for row in map(_object, lines) if row]
        try:
            pq.write_table(pa.Table.from_pylist(objects), path)
        except (pa.ArrowException, ValueError, OverflowError, UnicodeEncodeError, IndexError):
            path.write_bytes(b"\n".join(lines))
    elif kind == "json":
        path.write_bytes(b"[" + b",".join(lines) + b"]")
    else:
        path.write_bytes((b"prompt,chosen,rejected\n" if kind == "csv" else b"") + b"\n".join(lines))
    return path


def _object(line):
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@pytest.fixture(scope="module")
def loaded(micro):
    """The micro model, loaded once: a thousand runs need not read it a thousand times."""
    return load_model(str(micro), chat=False, spread=True)


@pytest.fixture
def one_scorer(monkeypatch):
    """Which pass is exact for the model is tried once, and not before each of a thousand tables."""
    monkeypatch.setattr(streaming, "Scorer", cache(Scorer))


SUPPRESSED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, derandomize=True, database=None, suppress_health_check=SUPPRESSED)
@given(lines=st.lists(bad_lines, max_size=5), kind=st.sampled_from(["jsonl", "jsonl", "json", "csv", "parquet"]))
def test_a_thousand_malformed_tables(lines, kind, tmp_path_factory, loaded, one_scorer):
    """Each ends in scored rows, rows with a reason, or exit 2 with one line; never in another exception."""
    folder = tmp_path_factory.getbasetemp() / f"malformed-{time.monotonic_ns()}"
    folder.mkdir()
    path, out = reread(folder / f"pairs.{kind}", kind, lines), folder / "scores.parquet"
    refused = None
    try:
        summary = score_file(path, *loaded, out)
    except HarnessError as error:
        refused = str(error)
    if refused is not None:
        assert refused
        assert "\n" not in refused
        return
    written = pq.read_table(out).to_pylist()
    assert len(written) == summary.rows
    for row in written:
        assert (row["reason"] is None) == (row["ln_ches"] is not None)
        assert row["pair_id"]


def test_check_needs_no_model_and_names_rows(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "b\x1bad.jsonl"
    good.write_text(json.dumps({"prompt": "Hi", "chosen": "Yes.", "rejected": "No."}) + "\n")
    bad.write_text(
        "".join(json.dumps({"prompt": "Secret?", "chosen": "Same", "rejected": "Same"}) + "\n" for _ in "123")
    )
    done = run("score", "--check", good)
    assert (done.code, done.out) == (0, "1 rows in 1 files, 0 problems\n")
    done = run("score", "--check", good, bad)
    assert done.code == 2
    assert done.out.splitlines() == [
        *(f"{tmp_path}/b ad.jsonl:{row}: chosen and rejected are the same" for row in (1, 2, 3)),
        "4 rows in 2 files, 3 problems",
    ]
    said = json.loads(run("score", "--check", tmp_path, "--json").out)
    assert (said["problems"], [file["rows"] for file in said["files"]]) == (3, [3, 1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a.jsonl"], "--model and --out are both needed. Or give --check"),
        (["a.jsonl", "b.jsonl", "--model", "m", "--out", "s.parquet"], "2 tables given. Score one table"),
    ],
)
def test_scoring_takes_one_table_a_model_and_a_place(arguments, said):
    done = run("score", *arguments)
    assert (done.code, done.err[: len(said)]) == (2, said)
