"""What a filter writes is what was given: over wild rows, over every type that Arrow has, in either kind of file."""

import datetime
import decimal
import json
import math
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, load_dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.preferences.pairs import Pair
from harness.preferences.tables import stream_rows
from harness.scoring import scorer
from harness.scoring.filtering import keep_lowest
from harness.scoring.kept import read_scores, write_kept
from harness.scoring.scorer import ScoredRow, cut_windows, score_columns
from harness.scoring.streaming import Parts
from harness.support.errors import HarnessError
from helpers.preference_rows import CONVERSATION, PLAIN, assistant, lines, user

COUNTS = {"prompt_tokens": 3, "chosen_tokens": 2, "rejected_tokens": 2, "prompt_merged": False, "reason": None}


def scored(source, out):
    """A table of scores as `score_file` writes it, but that a pair's scores are its place in the table."""
    parts, place = Parts(str(out)), 0
    for number, window in cut_windows(stream_rows(source)):
        rows = []
        for name, row, pair in window:
            measures = dict.fromkeys(
                ("ches", "ln_ches", "last_hidden_inner_product", "neg_edit_distance"), float(place)
            )
            usable = isinstance(pair, Pair)
            scores = {**measures, **COUNTS} if usable else {"reason": pair}
            rows.append(ScoredRow(name, row, pair if usable else None, scores))
            place += 1
        parts.write_part(number, rows, score_columns(with_coefficients=False))
    parts.join_parts(str(source))
    return out


def filtered(source, folder, name="kept.jsonl", amount=1.0):
    """The rows that filtering a table keeps, read from the file that it writes."""
    scores = scored(source, folder / "scores.parquet")
    table, out = read_scores(scores), folder / name
    write_kept(scores, table, keep_lowest(table, amount), out)
    return out if out.suffix == ".parquet" else [json.loads(line) for line in out.read_bytes().splitlines()]


def own(rows, source):
    """Of each row the columns that its source has, and as text, in which 1, 1.0 and true differ."""
    return [json.dumps({name: row[name] for name in was}) for row, was in zip(rows, source, strict=True)]


def finite(value):
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


texts = st.one_of(st.text(max_size=6), st.sampled_from(["\ud800", "\u2028", "{}", "[1]", "null"]))
names = st.one_of(st.text(max_size=4), st.sampled_from(["reason", "ches", "ln_ches", "prompt_tokens", "row_as_given"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(2**62, 2**70), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)),
    max_leaves=8,
)
calls = st.fixed_dictionaries(
    {"type": st.just("function"), "function": st.fixed_dictionaries({"name": texts, "arguments": values})}
)
contents = st.one_of(st.text(max_size=6), st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts})))
turns = st.one_of(
    st.fixed_dictionaries({"role": st.just("assistant"), "content": contents}, optional={"name": values}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": st.none(), "tool_calls": st.lists(calls, min_size=1)}
    ),
)
answers = st.lists(turns, min_size=1, max_size=2)
extras = st.dictionaries(
    names.filter(lambda name: name not in ("tools", "pair_id", "input", "system")), values, max_size=4
)
wild = st.builds(
    lambda answer, other, more: {**more, "prompt": [user("Hi")], "chosen": answer, "rejected": other},
    answers,
    answers,
    extras,
)


@pytest.mark.slow
@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(wild, min_size=1, max_size=6))
def test_wild_rows_come_out_as_they_went_in(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("wild")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "WINDOW", 2)
        kept = filtered(lines(folder / "pairs.jsonl", rows), folder)
    assert own(kept, rows) == [json.dumps(finite(row)) for row in rows]


ARRAYS = {
    "timestamp": pa.array([datetime.datetime(2024, 1, 2, 3, 4, 5, 678), None]),
    "nanoseconds": pa.array([1, 2], pa.timestamp("ns", "UTC")),
    "date": pa.array([datetime.date(2024, 1, 2)] * 2),
    "time": pa.array([datetime.time(1, 2, 3)] * 2),
    "duration": pa.array([datetime.timedelta(seconds=3)] * 2),
    "decimal": pa.array([decimal.Decimal("1.50"), decimal.Decimal("-0.05")]),
    "bytes": pa.array([b"\xff\x00", b""]),
    "image": pa.array([{"bytes": b"\x89PNG", "path": None}] * 2),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    "nan": pa.array([float("nan"), 1.0]),
    "infinite": pa.array([float("inf"), float("-inf")]),
    "float32": pa.array([0.1, 0.2], pa.float32()),
    "half": pa.array([1.0, 2.5], pa.float32()).cast(pa.float16()),
    "vector": pa.array([[0.1, 0.2]] * 2, pa.list_(pa.float32(), 2)),
    "uint64": pa.array([2**63 + 5, 1], pa.uint64()),
    "int8": pa.array([1, None], pa.int8()),
    "large": pa.array(["a", "b"], pa.large_string()),
    "category": pa.array(["a", "b"]).dictionary_encode(),
    "nested": pa.array([{"a": [{"when": datetime.date(2024, 1, 2)}]}, {"a": None}]),
    "empty": pa.array([[], []], pa.list_(pa.string())),
    "nothing": pa.nulls(2),
}
IN_JSON = {
    "timestamp": ["2024-01-02T03:04:05.000678", None],
    "nanoseconds": ["1970-01-01T00:00:00.000000001+00:00", "1970-01-01T00:00:00.000000002+00:00"],
    "date": ["2024-01-02"] * 2,
    "time": ["01:02:03"] * 2,
    "duration": [3.0] * 2,
    "decimal": ["1.50", "-0.05"],
    "bytes": ["/wA=", ""],
    "image": [{"bytes": "iVBORw==", "path": None}] * 2,
    "map": [[["a", 1]], []],
    "nan": [None, 1.0],
    "infinite": [None, None],
    "float32": [0.10000000149011612, 0.20000000298023224],
    "half": [1.0, 2.5],
    "vector": [[0.10000000149011612, 0.20000000298023224]] * 2,
    "uint64": [2**63 + 5, 1],
    "int8": [1, None],
    "large": ["a", "b"],
    "category": ["a", "b"],
    "nested": [{"a": [{"when": "2024-01-02"}]}, {"a": None}],
    "empty": [[], []],
    "nothing": [None, None],
}


def typed_table(**columns):
    return pa.table({"prompt": ["a", "b"], "chosen": [" yes", " no"], "rejected": [" no", " yes"], **columns})


@pytest.mark.parametrize("name", ARRAYS)
def test_a_column_keeps_its_type_in_parquet_and_has_a_form_in_json(tmp_path, capsys, name):
    source = tmp_path / "pairs.parquet"
    pq.write_table(typed_table(**{name: ARRAYS[name]}), source)
    was, now = pq.read_table(source), pq.read_table(filtered(source, tmp_path, "kept.parquet"))
    assert now.schema.field(name).type == was.schema.field(name).type
    assert repr(now.select(was.column_names).to_pylist()) == repr(was.to_pylist())  # in which NaN equals itself
    capsys.readouterr()
    assert [row[name] for row in filtered(source, tmp_path)] == IN_JSON[name]
    changed = name in ("timestamp", "nanoseconds", "date", "time", "duration", "decimal", "bytes", "image", "nan",
                       "infinite", "nested")  # fmt: skip
    said = [line for line in capsys.readouterr().err.splitlines() if "JSON has no such values" in line]
    assert [name in line for line in said] == [True] * changed


def test_json_inside_parquet_is_read_as_datasets_reads_it(tmp_path):
    """As `datasets` writes what has no one type: messages with contents of two kinds, arguments of two types."""
    call = [{"type": "function", "function": {"name": "set", "arguments": {"value": 1}}}]
    rows = [
        {**CONVERSATION, "meta": {"a": 1}},
        {**CONVERSATION, "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}], "meta": [2]},
        {**CONVERSATION, "chosen": [{"role": "assistant", "content": None, "tool_calls": call}], "meta": None},
    ]
    data = Dataset.from_list(rows, on_mixed_types="use_json")
    data.to_parquet(tmp_path / "pairs.parquet")
    data.save_to_disk(tmp_path / "saved")
    for source in ("pairs.parquet", "saved"):
        assert list(stream_rows(tmp_path / source)) == data.to_list()
        assert own(filtered(tmp_path / source, tmp_path), data) == [json.dumps(row) for row in data]
    kept = filtered(tmp_path / "pairs.parquet", tmp_path, "kept.parquet")
    again = load_dataset("parquet", data_files=str(kept), split="train", cache_dir=str(tmp_path / "cache"))
    assert own(again, data) == [json.dumps(row) for row in data]


def test_files_of_other_types_come_out_as_they_are(tmp_path):
    """A window over three files, of which one gives a column another type."""
    (tmp_path / "in").mkdir()
    for number, values in enumerate(([1, 2], [1.5, 2.0], ["a", None])):
        pq.write_table(typed_table(extra=values), tmp_path / "in" / f"{number}.parquet")
    kept = filtered(tmp_path / "in", tmp_path)
    assert json.dumps([row["extra"] for row in kept]) == '[1, 2, 1.5, 2.0, "a", null]'


def test_a_column_that_comes_twice_is_refused(tmp_path):
    columns = {"prompt": ["a"], "chosen": [" yes"], "rejected": [" no"], "extra": [1]}
    twice = pa.Table.from_arrays([*map(pa.array, columns.values()), pa.array([2])], [*columns, "extra"])
    pq.write_table(twice, tmp_path / "pairs.parquet")
    with pytest.raises(HarnessError, match="column 'extra': comes twice"):
        list(stream_rows(tmp_path / "pairs.parquet"))


def test_rows_of_one_batch_share_it_on_their_way_to_a_worker(tmp_path):
    pq.write_table(typed_table(extra=["x" * 10_000] * 2), tmp_path / "pairs.parquet")
    rows = list(stream_rows(tmp_path / "pairs.parquet"))
    there = pickle.loads(pickle.dumps(rows))
    assert there == rows
    assert there[0].batch is there[1].batch
    assert there[1].batch.column("extra")[there[1].place].as_py() == "x" * 10_000


@pytest.mark.parametrize("name", ["kept.jsonl", "kept.parquet"])
def test_columns_named_like_scores_are_kept_and_the_scores_beside_them(tmp_path, capsys, name):
    rows = [{**PLAIN, "reason": "good", "ches": "mine", "harness_ches": 7, "prompt_tokens": 99} for _ in range(2)]
    kept = filtered(lines(tmp_path / "pairs.jsonl", rows), tmp_path, name)
    kept = pq.read_table(kept).to_pylist() if name.endswith("parquet") else kept
    assert own(kept, rows) == [json.dumps(row) for row in rows]
    assert [row["harness_harness_ches"] for row in kept] == [0.0, 1.0]
    assert [row["harness_prompt_tokens"] for row in kept] == [3, 3]
    assert [row["ln_ches"] for row in kept] == [0.0, 1.0]
    assert "ches (harness_harness_ches), prompt_tokens (harness_prompt_tokens)" in capsys.readouterr().err


def test_a_pair_keeps_its_own_id_and_gets_one_where_it_has_none(tmp_path):
    rows = [{**PLAIN, "pair_id": 7}, PLAIN, {**PLAIN, "pair_id": None}]
    kept = filtered(lines(tmp_path / "pairs.jsonl", rows), tmp_path)
    assert {json.dumps(row["pair_id"]) for row in kept} == {"7", '"row-00000001"', '"row-00000002"'}


IMPLICIT = {"chosen": [user("Hi"), assistant("Yes")], "rejected": [user("Hi"), assistant("No")]}
EXPLICIT = {"prompt": [user("Hi")], "chosen": [assistant("Yes")], "rejected": [assistant("No")]}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([IMPLICIT, IMPLICIT], [IMPLICIT, IMPLICIT]),  # TRL finds these prompts itself,
        ([IMPLICIT, EXPLICIT], [EXPLICIT, EXPLICIT]),  # not so beside one that is there,
        ([{**IMPLICIT, "prompt": None}], [EXPLICIT]),
        ([{**IMPLICIT, "prompt": "Hi"}], [EXPLICIT]),  # nor a text beside messages
    ],
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_prompts_are_made_explicit_where_trl_needs_them(tmp_path, rows, expected, kind):
    source = lines(tmp_path / "pairs.jsonl", rows)
    if kind == "parquet":
        source = tmp_path / "pairs.parquet"
        names = dict.fromkeys(name for row in rows for name in row)
        pq.write_table(pa.Table.from_pylist([names | row for row in rows]), source)
    assert own(filtered(source, tmp_path), expected) == [json.dumps(row) for row in expected]


def test_what_parquet_has_no_type_for_is_refused(tmp_path):
    source = lines(tmp_path / "pairs.jsonl", [{**PLAIN, "amount": 1}, {**PLAIN, "amount": 1.5}])
    with pytest.raises(HarnessError, match=r"no one type for, under amount. Name a .jsonl file"):
        filtered(source, tmp_path, "kept.parquet")
    assert not (tmp_path / "kept.parquet").exists()


def test_a_table_of_scores_that_carries_no_rows_gives_its_columns(tmp_path):
    rows = [{**PLAIN, "pair_id": "b", "mine": 2.0, "note": None}, {**PLAIN, "pair_id": "a", "mine": 1.0, "note": "x"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scores.parquet")
    table = read_scores(tmp_path / "scores.parquet")
    write_kept(tmp_path / "scores.parquet", table, keep_lowest(table, 2, "mine"), tmp_path / "kept.jsonl")
    assert [json.loads(line) for line in (tmp_path / "kept.jsonl").read_bytes().splitlines()] == rows[::-1]
