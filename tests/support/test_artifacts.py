"""Files are whole or absent."""

import json
import math
import os
import threading
import time
from pathlib import Path

import pytest

from harness.support import artifacts
from harness.support.errors import HarnessError


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    file = tmp_path / "a.json"
    artifacts.write_json(file, {"x": 1})
    with pytest.raises(RuntimeError), artifacts.atomic_file(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(file.read_text()) == {"x": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_directory_leaves_the_old_one(tmp_path):
    place = tmp_path / "d"
    for content in ("one", "two"):
        with artifacts.atomic_directory(place) as temporary:
            (temporary / "f").write_text(content)
    with pytest.raises(RuntimeError), artifacts.atomic_directory(place) as temporary:
        raise RuntimeError
    assert (place / "f").read_text() == "two"
    assert [each.name for each in tmp_path.iterdir()] == ["d"]


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        artifacts.write_json(tmp_path / "a.json", float("nan"))


def test_lone_surrogates_are_kept_visible(tmp_path):
    artifacts.write_jsonl(tmp_path / "a.jsonl", [{"text": "\ud800"}])
    assert "\\ud800" in (tmp_path / "a.jsonl").read_text()


def test_unicode_line_ends_inside_text_are_no_line_ends(tmp_path):
    rows = [{"text": "a\u2028b\u2029c\x85d"}]
    artifacts.write_jsonl(tmp_path / "a.jsonl", rows)
    assert artifacts.read_jsonl(tmp_path / "a.jsonl") == rows


@pytest.mark.parametrize(
    "said",
    [
        "basic_ios::clear: iostream error",
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        "PytorchStreamWriter failed writing file data/0: file write failed",
    ],
)
def test_what_torch_says_of_a_full_disk_is_one(tmp_path, said):
    with pytest.raises(HarnessError, match="cannot be written") as told, artifacts.explain_write_errors(tmp_path):
        raise RuntimeError(said)
    assert told.value.hint == "Free some space and run the same command again."


def test_a_full_disk_is_told(tmp_path):
    told = "No space left on device.*Free some space"
    with (
        pytest.raises(HarnessError, match=told),
        artifacts.atomic_file(tmp_path / "a"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
        full.flush()
    assert not [*tmp_path.iterdir()]


def test_a_place_below_a_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(HarnessError, match="cannot be written"):
        artifacts.write_text(tmp_path / "file" / "a", "x")


def test_hashes_see_names_and_content(tmp_path):
    (tmp_path / "a").write_text("1")
    first = artifacts.sha256_of(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert artifacts.sha256_of(tmp_path) != first
    # sha256 of the single byte "1", from the standard's reference implementation.
    assert artifacts.sha256_of(tmp_path / "b") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"


def test_what_a_recipe_names_is_hashed_where_it_is_here(tmp_path):
    file = tmp_path / "labels.jsonl"
    file.write_text("{}\n")
    known = artifacts.sha256_of(file)
    assert artifacts.hash_if_local(str(file)) == artifacts.hash_if_local(f"sorrybench={file}") == known
    file.write_text('{"a": 1}\n')
    assert artifacts.hash_if_local(f"sorrybench={file}") != known
    for source in ("org/name@main", "sorrybench", "sorrybench=none.jsonl", None):
        assert artifacts.hash_if_local(source) == source


def test_fingerprints_do_not_depend_on_key_order():
    assert artifacts.json_fingerprint({"a": 1, "b": 2}) == artifacts.json_fingerprint({"b": 2, "a": 1})


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[1]\n", b'{"a": 1}\nnot json\n'])
def test_broken_lines_are_named(tmp_path, content):
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    with pytest.raises(HarnessError, match="a.jsonl"):
        artifacts.read_jsonl(file)


def test_a_run_directory_has_one_process(tmp_path):
    with (
        artifacts.lock_directory(tmp_path),
        pytest.raises(HarnessError, match="another process"),
        artifacts.lock_directory(tmp_path),
    ):
        pass
    assert [each.name for each in tmp_path.iterdir()] == [".lock"]


def test_a_file_is_hashed_again_only_when_it_changed(tmp_path, monkeypatch):
    import hashlib
    import os
    import time

    file, read = tmp_path / "weights", []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: read.append(1) or digest(*given))

    def told(content: str, age: int) -> int:
        """Writes the file `age` seconds ago and asks twice; how often it was read."""
        read.clear()
        file.write_text(content)
        os.utime(file, ns=(time.time_ns() - age * 10**9,) * 2)
        expected = hashlib.sha256(content.encode()).hexdigest()
        assert [artifacts.sha256_of(file), artifacts.sha256_of(file)] == [expected, expected]
        return len(read)

    assert told("one", 0) == 2  # its clock is too coarse to tell a change that soon
    monkeypatch.setattr(time, "time_ns", lambda now=time.time_ns: now() + 10 * 10**9)  # ten seconds later
    assert told("two", 60) == 1
    assert told("six", 60) == 1  # as long as before, and changed
    assert told("six", 60) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [(3, 3.0), (0.5, 0.5), (10**400, math.inf), (-(10**400), -math.inf), ("1", math.nan), (None, math.nan)],
)
def test_a_json_number_as_a_float(value, expected):
    assert artifacts.float_or_nan(value) == pytest.approx(expected, nan_ok=True)


def test_a_pipe_is_written_into_and_an_open_file_refused(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    artifacts.write_text(pipe, "whole")
    assert os.read(reader, 99) == b"whole"
    assert pipe.is_fifo()
    os.close(reader)
    with (tmp_path / "open").open("w") as stream, pytest.raises(HarnessError, match="names an open file"):
        artifacts.write_text(Path(f"/proc/self/fd/{stream.fileno()}"), "x")


def make_model(directory):
    with artifacts.atomic_directory(directory) as temporary:
        (temporary / "config.json").write_text("{}")


def test_a_model_of_the_cache_is_made_once_by_one_process_while_another_waits(tmp_path):
    made, waiting, begun = [], [], threading.Event()

    def make(directory):
        begun.set()
        while not waiting:
            time.sleep(0.001)
        made.append(directory)
        make_model(directory)

    def wait():
        begun.wait()
        waiting.append(True)
        artifacts.make_once(tmp_path / "model", make)

    other = threading.Thread(target=wait)
    other.start()
    assert artifacts.make_once(tmp_path / "model", make) == tmp_path / "model"
    other.join()
    assert artifacts.make_once(tmp_path / "model", make) == tmp_path / "model"
    assert made == [tmp_path / "model"]


def test_what_a_killed_process_left_of_a_model_goes(tmp_path):
    for name in (".model.abcd", ".model2.abcd"):
        (tmp_path / name).mkdir()
    artifacts.make_once(tmp_path / "model", make_model)
    assert {path.name for path in tmp_path.iterdir()} == {"model", ".model2.abcd", ".model.lock"}


def test_a_cache_that_cannot_be_written_says_how_to_choose_another(tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(HarnessError, match="cache: cannot be written .*REFUSAL_DISPLACEMENT_CACHE"):
        artifacts.make_once(tmp_path / "cache" / "model", make_model)
