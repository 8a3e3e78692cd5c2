"""Files in object storage and directories of files: the same rows in and out as with one local file."""

import json

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from harness.preferences.tables import count_rows, stream_rows
from harness.scoring import streaming
from harness.scoring.streaming import score_file, score_window
from harness.support import storage
from harness.support.errors import HarnessError
from helpers.preference_rows import CONFIGS, conversations, lines, make, tokenizer
from reports.scores import read_score_overview

ROWS = [{"prompt": "p", "chosen": f"c{i}", "rejected": "é\r"} for i in range(5)]


def written(path, kind):
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    else:
        lines(path, [*ROWS, "nonsense"])
    return path


@pytest.mark.parametrize("kind", ["parquet", "json", "jsonl"])
def test_an_address_reads_like_the_file(tmp_path, kind):
    path = written(tmp_path / f"pairs.{kind}", kind)
    assert list(stream_rows(f"file://{path}")) == list(stream_rows(path))


def test_a_csv_file_reads_the_same_from_an_address(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(b'prompt,chosen,rejected\np,"a\nb",\xff\np,c\n')
    rows = list(stream_rows(f"file://{path}"))
    assert rows[0] == {"prompt": "p", "chosen": "a\nb", "rejected": "\udcff"}
    assert rows == list(stream_rows(path))


def test_a_directory_of_files_reads_in_the_order_of_their_names(tmp_path):
    lines(tmp_path / "b.jsonl", ROWS[2:])
    pq.write_table(pa.Table.from_pylist(ROWS[:2]), tmp_path / "a.parquet")
    for ignored in ("_SUCCESS", ".hidden.jsonl", "notes.txt"):
        (tmp_path / ignored).write_text("{")
    for place in (str(tmp_path), f"file://{tmp_path}/"):
        assert list(stream_rows(place)) == ROWS
    assert count_rows(tmp_path) == 5


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file:///nowhere/pairs.jsonl", "no such file"),
        ("nothing://bucket/pairs.jsonl", "is no address of a file"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(place, said):
    with pytest.raises(HarnessError, match=said):
        list(stream_rows(place))


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path):
    place = f"file://{tmp_path}/new/out.bin"
    with pytest.raises(KeyError), storage.open_for_writing(place) as stream:
        stream.write(b"half")
        raise KeyError
    assert not (tmp_path / "new").exists()
    storage.write_bytes(place, b"whole")
    with storage.open_for_reading(place) as stream:
        assert stream.read() == b"whole"
    assert storage.file_names(f"file://{tmp_path}/new/") == ["out.bin"]


def test_the_mark_changes_with_the_content(tmp_path):
    path = lines(tmp_path / "pairs.jsonl", ROWS)
    for place in (str(path), str(tmp_path), f"file://{path}", f"file://{tmp_path}"):
        before = storage.content_mark(place)
        assert storage.content_mark(place) == before
        with path.open("a") as stream:
            stream.write("\n")
        assert storage.content_mark(place) != before


@pytest.fixture(scope="module")
def model():
    return make(CONFIGS["llama"])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    data = conversations(600)
    return lines(tmp_path_factory.mktemp("data") / "in.jsonl", [*data[:300], "{", *data[300:], {**data[0], "late": 1}])


@pytest.fixture(scope="module")
def whole(source, model):
    out = source.with_name("whole.parquet")
    score_file(source, model, tokenizer(), out)
    return out


@pytest.mark.slow
def test_scores_in_a_directory_are_the_same_table_in_files_of_one_schema(source, model, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "FILE_ROWS", 512)
    out = f"file://{tmp_path}/scores/"
    storage.write_bytes(f"{out}scores-00007.parquet", b"left by a longer run")
    summary = score_file(source, model, tokenizer(), out)
    assert (summary.rows, summary.scored, summary.out) == (602, 601, out)
    assert storage.file_names(out) == ["scores-00000.parquet", "scores-00001.parquet"]
    assert [p.name for p in tmp_path.iterdir()] == ["scores"]
    assert ds.dataset(out).to_table().equals(pq.read_table(whole))
    seen, expected = read_score_overview(out), read_score_overview(whole)
    assert (seen.quantiles, seen.highest, seen.lowest) == (expected.quantiles, expected.highest, expected.lowest)


@pytest.mark.slow
def test_parts_may_be_missing_anywhere(source, model, whole, tmp_path, monkeypatch):
    out, scored = tmp_path / "out.parquet", score_window
    dying = iter([scored, scored])
    monkeypatch.setattr(streaming, "score_window", lambda *a: next(dying)(*a))
    with pytest.raises(StopIteration):
        score_file(source, model, tokenizer(), out)
    (tmp_path / "out.parquet.parts" / "part-000000.parquet").unlink()
    done = []
    monkeypatch.setattr(streaming, "score_window", lambda *a: done.append(a[0][0][0]) or scored(*a))
    score_file(source, model, tokenizer(), out)
    assert done == ["row-00000000", "row-00000512"]
    assert out.read_bytes() == whole.read_bytes()
