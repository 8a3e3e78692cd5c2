"""Preference files checked without a model: every kind of row that training breaks on, and none that it does not."""

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.preferences.checking import MOST_JUDGED, check_file
from helpers.preference_rows import CONVERSATION, LOCK_PAIRS, PLAIN, assistant, lines, user

ROOT = Path(__file__).parents[2]
CHAT = [user("Hi"), assistant("Yes.")], [user("Hi"), assistant("No.")]


def found(tmp_path, *rows):
    return check_file(str(lines(tmp_path / "pairs.jsonl", rows)))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "Hi", "chosen": "Yes."}, "no rejected answer"),
        ({"prompt": "Hi", "chosen": None, "rejected": "No."}, "no chosen answer"),
        ({**CONVERSATION, "chosen": [{"content": "Yes."}]}, "chosen holds a message without a role"),
        ({**PLAIN, "chosen": PLAIN["rejected"]}, "chosen and rejected are the same"),
        ({**PLAIN, "chosen": f"{PLAIN['rejected']}\n"}, "chosen and rejected are the same"),
        ({**CONVERSATION, "chosen": [assistant("No, never. ")]}, "chosen and rejected are the same"),
        ({**PLAIN, "chosen": " \n"}, "chosen is empty"),
        ({**CONVERSATION, "rejected": [assistant("")]}, "rejected is empty"),
        ({**CONVERSATION, "rejected": [{"role": "assistant", "content": []}]}, "rejected is empty"),
        ({**PLAIN, "prompt": "a\x00b"}, "prompt holds a null byte"),
        ({**CONVERSATION, "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "\x00"}]}]},
         "chosen holds a null byte"),
        ({**CONVERSATION, "prompt": [{"role": "human", "content": "Hi"}]}, "prompt has a turn of the unknown role"),
        ({**CONVERSATION, "chosen": [assistant("Yes."), user("Thanks")]}, "chosen does not end with the assistant's"),
        ({**CONVERSATION, "chosen": CHAT[0]}, "chosen holds a turn of the user: the prompt again, or"),
        ({"chosen": [user("Hi"), assistant("a"), user("b"), assistant("c")], "rejected":
          [user("Hi"), assistant("a"), user("d"), assistant("e")]}, "chosen holds a turn of the user: the prompt"),
        ({"prompt": "Other", "chosen": CHAT[0], "rejected": CHAT[1]}, "prompt is no turn that chosen and rejected"),
        ({"instruction": "Hi", "chosen": "Yes.", "rejected": "No.", "history": 1}, "history is no list of pairs"),
    ],
)  # fmt: skip
def test_a_row_that_training_breaks_on_is_told_by_number(tmp_path, row, said):
    check = found(tmp_path, {"prompt": "Q", "chosen": "a", "rejected": "b"}, row)
    told = [problem for number, problem in check.problems if number == 2]
    assert any(problem.startswith(said) for problem in told), told
    assert {number for number, _ in check.problems} == {2}
    assert check.rows == 2


def test_of_an_unknown_role_little_is_told_as_it_may_be_a_prompt(tmp_path):
    role = "How do I\n\x1b[31m" + "x" * 1000
    (told,) = found(tmp_path, {**CONVERSATION, "prompt": [{"role": role, "content": "Hi"}]}).problems
    assert told == (1, f"prompt has a turn of the unknown role 'How do I [31m{'x' * 16}…'")


def test_rows_are_held_against_those_before(tmp_path):
    turned = {**PLAIN, "chosen": PLAIN["rejected"], "rejected": PLAIN["chosen"]}
    first, last = {**PLAIN, "pair_id": "a"}, {**PLAIN, "pair_id": "a", "prompt": "another"}
    check = found(tmp_path, first, {**PLAIN, "note": 1}, turned, CONVERSATION, last)
    assert check.problems == [
        (2, "the same pair as row 1"),
        (3, "the pair of row 1 the other way round"),
        (4, "is a list of messages, where the first pair is text"),
        (5, "its pair_id is that of row 1"),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        LOCK_PAIRS,
        [PLAIN],
        [{"chosen": CHAT[0], "rejected": CHAT[1]}, CONVERSATION],
        [{"prompt": "Hi", "chosen": CHAT[0], "rejected": CHAT[1]}],
        [{**CONVERSATION, "rejected": [{"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}]}],
        [{**PLAIN, "chosen": "\\u0000"}],
        [{"chosen": "\n\nHuman: Hi\n\nAssistant: Yes.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."}],
        [{"conversations": [{"from": "human", "value": "Hi"}], "chosen": {"from": "gpt", "value": "Yes."},
          "rejected": {"from": "gpt", "value": "No."}}],
    ],
)  # fmt: skip
def test_rows_that_train_well_are_not_told(tmp_path, rows):
    assert found(tmp_path, *rows).problems == []


def test_warnings_name_rows_that_training_goes_on_with(tmp_path):
    undecided = {"prompt": "Hi", "response_1": "a", "response_2": "b", "preference_strength": 0}
    continued = {**CONVERSATION, "prompt": [user("Hi"), assistant("So")]}
    check = found(tmp_path, LOCK_PAIRS[0], undecided, continued, LOCK_PAIRS[1], CONVERSATION)
    assert check.problems == []
    assert check.warnings == {
        "prefer neither answer, and are left out": [2],
        "have a prompt that ends with the assistant's turn, which an answer then continues": [3],
        "are two refusals by the lexical judge": [1, 4],
    }


def test_answers_are_judged_from_the_beginning_up_to_a_number(tmp_path):
    rows = [{**LOCK_PAIRS[0], "pair_id": str(n), "prompt": [user(f"{n}?")]} for n in range(MOST_JUDGED + 5)]
    assert found(tmp_path, *rows).warnings["are two refusals by the lexical judge"] == [*range(1, MOST_JUDGED + 1)]


def test_every_kind_of_file_is_read(tmp_path):
    rows = [PLAIN, {**PLAIN, "chosen": ""}]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    lines(tmp_path / "a.jsonl", rows)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress((tmp_path / "a.jsonl").read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, PLAIN)
        writer.writeheader()
        writer.writerows(rows)
    for file in tmp_path.iterdir():
        assert check_file(str(file)).problems == [(2, "chosen is empty")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b"", "holds no rows"),
        (
            "a.jsonl",
            b'{"prompt": "Hi", "chosen": "Yes."}\n',
            "has no column 'rejected'; it has: prompt, chosen. A pair",
        ),
        (
            "package.json",
            b'{"name": "x", "version": "1"}',
            "has no columns 'chosen' and 'rejected'; it has: name, version",
        ),
        ("a.json", b"3", "holds no list of rows"),
        ("a.parquet", b"PAR1", "is not Parquet"),
        ("a.jsonl.gz", gzip.compress(b'{"prompt": "a"}\n' * 99, mtime=0)[:-9], "cannot be read"),
        ("a.txt", b"", "is of no known kind"),
    ],
)
def test_a_file_that_is_no_table_of_pairs_is_told_as_a_whole(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    [(number, problem)] = check_file(str(tmp_path / name)).problems
    assert (number, problem[: len(said)]) == (0, said)


def test_a_file_that_is_not_there_is_a_problem():
    assert check_file("no/such.jsonl").problems[0][1].startswith("cannot be read (No such file")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "tool_calls"]), inner, max_size=3)
    ),
    max_leaves=6,
)
COLUMNS = st.sampled_from(["prompt", "chosen", "rejected", "messages", "conversations", "instruction", "pair_id"])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.dictionaries(COLUMNS, VALUES, min_size=2), min_size=1, max_size=4))
def test_no_table_breaks_the_check(tmp_path_factory, rows):
    check = found(tmp_path_factory.mktemp("wild"), *rows)
    assert all(0 <= number <= len(rows) for number, _ in check.problems)


def test_checking_loads_nothing_heavy():
    code = "import sys, harness.preferences.checking; print([m for m in ('torch', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_hook_runs_in_another_repository_with_pre_commit(tmp_path):
    """Installed as its users install it: pre-commit clones the repository that defines the hook."""
    hooks, project = tmp_path / "hooks", tmp_path / "project"
    for folder in (hooks, project):
        folder.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    (hooks / ".pre-commit-hooks.yaml").write_bytes((ROOT / ".pre-commit-hooks.yaml").read_bytes())
    [hook] = yaml.safe_load((hooks / ".pre-commit-hooks.yaml").read_text())
    named = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "add", "-A"], cwd=hooks, check=True)
    subprocess.run(["git", *named, "commit", "-qm", "Hooks"], cwd=hooks, check=True)
    lines(project / "good.jsonl", LOCK_PAIRS)
    lines(project / "bad.jsonl", [PLAIN, PLAIN])
    (project / "notes.txt").write_text("no table")
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    folder = Path(sys.executable).parent
    assert (folder / "harness").is_file()
    told = [sys.executable, "-m", "pre_commit", "try-repo", str(hooks), hook["id"], "--verbose", "--files"]
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(tmp_path), "PRE_COMMIT_HOME": str(tmp_path / "cache"),
                   "PYTHONPATH": str(ROOT)}  # fmt: skip
    runs = [
        subprocess.run([*told, *files], cwd=project, env=environment, capture_output=True, text=True)
        for files in (["good.jsonl", "notes.txt"], ["good.jsonl", "bad.jsonl"])
    ]
    assert [run.returncode for run in runs] == [0, 1], runs  # pre-commit's own code for a hook that failed
    assert "8 rows in 1 files, 0 problems" in runs[0].stdout
    assert "bad.jsonl:2: the same pair as row 1" in runs[1].stdout
    assert "exit code: 2" in runs[1].stdout
