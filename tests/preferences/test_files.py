"""Folders as the hub's client lays them down: which files a split is, and what is refused instead of guessed."""

import gzip
import json

import pytest
from datasets import Dataset, DatasetDict

from harness.preferences.files import split_of_name
from harness.preferences.tables import count_rows, stream_rows
from harness.support.errors import HarnessError
from helpers.preference_rows import PLAIN


def write(folder, *names):
    """Files of one row each, whose hazard is the file's own path."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**PLAIN, "hazard": name}) + "\n")
    return folder


def read(*arguments):
    found = [row["hazard"] for row in stream_rows(*arguments)]
    assert count_rows(*arguments) == len(found)
    return found


HUB = ("data/train_prefs-00000-of-00002.jsonl", "data/train_prefs-00001-of-00002.jsonl",
       "data/test_prefs-00000-of-00001.jsonl")  # fmt: skip


@pytest.mark.parametrize("below", ["", "data"])
def test_a_folder_from_the_hub_gives_the_split_asked_for(tmp_path, below):
    write(tmp_path, *HUB)
    (tmp_path / "README.md").write_text("---\n---\n")
    assert read(tmp_path / below, None, "train_prefs") == list(HUB[:2])
    assert read(tmp_path / below, None, "test_prefs") == list(HUB[2:])
    for split in ("train", "nonsense"):
        with pytest.raises(HarnessError, match=f"has no split '{split}'. Give --split one of: test_prefs, train_prefs"):
            read(tmp_path / below, None, split)


def test_a_configuration_is_a_folder(tmp_path):
    write(tmp_path, "harmless/train.jsonl", "harmless/test.jsonl", "helpful/train.jsonl")
    assert read(tmp_path, "harmless") == ["harmless/train.jsonl"]
    assert read(tmp_path, "harmless", "test") == ["harmless/test.jsonl"]
    with pytest.raises(HarnessError, match=r"several folders. Give one of: harmless, helpful"):
        read(tmp_path)
    with pytest.raises(HarnessError, match="holds no configuration 'absent'. Give one of: harmless, helpful"):
        read(tmp_path, "absent")


@pytest.mark.parametrize(
    ("names", "split", "expected"),
    [
        (["a.jsonl", "b.jsonl"], "train", ["a.jsonl", "b.jsonl"]),
        (["scores-00000.jsonl", "scores-00001.jsonl"], "train", ["scores-00000.jsonl", "scores-00001.jsonl"]),
        (["train.jsonl", "test.jsonl"], "train", ["train.jsonl"]),
        (["train-1.jsonl", "train-2.jsonl", "dev.jsonl"], "train", ["train-1.jsonl", "train-2.jsonl"]),
        (["train-1.jsonl", "dev.jsonl"], "validation", ["dev.jsonl"]),
        (["a.jsonl", "test.jsonl"], "train", "holds the splits test and files of none.*a.jsonl"),
        (["a.jsonl", "b.jsonl"], "test", "has no split 'test'. The names of its files tell no splits"),
        (["test.jsonl"], "train", "has no split 'train'. Give --split one of: test"),
    ],
)
def test_files_of_a_folder(tmp_path, names, split, expected):
    write(tmp_path, *names)
    if isinstance(expected, list):
        assert read(tmp_path, None, split) == expected
        return
    with pytest.raises(HarnessError, match=expected):
        read(tmp_path, None, split)


def test_a_file_is_read_by_its_name_whatever_its_split(tmp_path):
    write(tmp_path, "test.jsonl", "pairs.jsonl")
    assert read(tmp_path / "test.jsonl") == read(tmp_path / "test.jsonl", None, "test") == ["test.jsonl"]
    for name in ("pairs.jsonl", "test.jsonl"):
        with pytest.raises(HarnessError, match="has no split 'nonsense'"):
            read(tmp_path / name, None, "nonsense")


def test_a_saved_data_set_gives_the_split_asked_for(tmp_path):
    tables = {name: Dataset.from_list([{**PLAIN, "hazard": name}]) for name in ("train", "test")}
    DatasetDict(tables).save_to_disk(tmp_path / "saved")
    tables["train"].save_to_disk(tmp_path / "one")
    assert [row["hazard"] for row in stream_rows(tmp_path / "saved", None, "test")] == ["test"]
    assert [row["hazard"] for row in stream_rows(tmp_path / "one")] == ["train"]
    for place in ("saved", "one"):
        with pytest.raises(HarnessError, match="has no split 'nonsense'. Give --split one of: train"):
            list(stream_rows(tmp_path / place, None, "nonsense"))


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00001.parquet", "train"),
        ("train_sft-00000-of-00001-6ef3991c06080e14.parquet", "train_sft"),
        ("validation.csv.gz", "validation"),
        ("my-val.jsonl", "validation"),
        ("test_prefs.jsonl", "test_prefs"),
        ("pairs.jsonl", None),
        ("training_pairs.jsonl", "training_pairs"),
        ("latest.jsonl", None),
    ],
)
def test_splits_by_name(name, split):
    assert split_of_name(name) == split


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_packed_files_and_tabs(tmp_path, kind):
    content = "prompt,chosen,rejected\na,b,c\n" if kind == "csv" else '{"prompt": "a", "chosen": "b", "rejected": "c"}'
    with gzip.open(tmp_path / f"pairs.{kind}.gz", "wt") as stream:
        stream.write(content)
    (tmp_path / "pairs.tsv").write_text("prompt\tchosen\trejected\na\tb\tc\n")
    for name in (f"pairs.{kind}.gz", "pairs.tsv"):
        assert list(stream_rows(tmp_path / name)) == [{"prompt": "a", "chosen": "b", "rejected": "c"}]


CUT_OFF = gzip.compress(b'{"a": 1}' * 100, mtime=0)[:-20]


@pytest.mark.parametrize("content", [b"no gzip", CUT_OFF, b"\x1f\x8b\x08" + bytes(20)], ids=["none", "cut", "hollow"])
def test_a_broken_packed_file_is_one_line(tmp_path, content):
    (tmp_path / "pairs.jsonl.gz").write_bytes(content)
    with pytest.raises(HarnessError, match=r"pairs.jsonl.gz: cannot be read \("):
        list(stream_rows(tmp_path / "pairs.jsonl.gz"))
