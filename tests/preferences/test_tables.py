"""Reading, checking and tokenising preference data; the tokens are TRL's own."""

import csv
import datetime
import json
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from harness.preferences.pairs import BrokenRow, Unscorable, check_pair
from harness.preferences.tables import count_rows, load_preferences, load_training_rows, stream_rows
from harness.preferences.tokens import tokenize_pair
from harness.support.errors import HarnessError
from helpers.preference_rows import CONVERSATION, PLAIN, assistant, tokenizer, user

TABLES = {
    "plain": [PLAIN, {"prompt": "Two", "chosen": " three</s>", "rejected": ""}],
    "plain implicit": [{"chosen": "Q: sky? A: blue", "rejected": "Q: sky? A: green"}],
    "plain implicit, space before the difference": [{"chosen": "the sky is blue", "rejected": "the sky is green"}],
    "plain implicit, one the beginning of the other": [{"chosen": "abc", "rejected": "abcde"}],
    "conversational": [CONVERSATION, {**CONVERSATION, "chosen": [assistant("")]}],
    "conversational implicit": [{"chosen": [user("Hi"), assistant("Yes")], "rejected": [user("Hi"), assistant("No")]}],
    "system message": [{**CONVERSATION, "prompt": [{"role": "system", "content": "Be brief."}, user("Hi")]}],
    "several turns": [{**CONVERSATION, "prompt": [user("Hi"), assistant("Hello!"), user("Sky?")]}],
    "template arguments": [{**CONVERSATION, "chat_template_kwargs": {"bos_token": "<pad>"}}],
}


def trl_tokens(rows, made, max_length=None):
    """What DPOTrainer itself makes of the table."""
    from trl.trainer.dpo_trainer import DPOTrainer

    arguments = SimpleNamespace(dataset_num_proc=None, max_length=max_length, truncation_mode="keep_start")
    data = DPOTrainer._prepare_dataset(
        SimpleNamespace(_tokenizer=made), Dataset.from_list(rows), made, arguments, "train"
    )
    return [(row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in data]


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES.keys())
def test_tokens_are_those_trl_trains_on(rows):
    made = tokenizer()
    ours = [tokenize_pair(check_pair(row), made) for row in Dataset.from_list(rows)]
    assert [(t.prompt, t.chosen, t.rejected) for t in ours] == trl_tokens(rows, made)


def test_answers_that_merge_with_the_prompt_start_where_they_part():
    made = tokenizer(merges=[("s", "b")])
    rows = [{"prompt": "is", "chosen": "blue", "rejected": "green"}]
    ours = tokenize_pair(check_pair(rows[0]), made)
    assert made.convert_ids_to_tokens(ours.prompt) == ["i"]
    assert made.convert_ids_to_tokens(ours.chosen)[0] == "sb"
    assert ours.merged
    assert [(ours.prompt, ours.chosen, ours.rejected)] == trl_tokens(rows, made)
    assert not tokenize_pair(check_pair(rows[0]), tokenizer()).merged


def test_the_response_ends_with_its_end_token():
    made = tokenizer()
    for row in (PLAIN, CONVERSATION):
        tokens = tokenize_pair(check_pair(row), made)
        assert tokens.chosen[-1] == tokens.rejected[-1] == made.eos_token_id


def test_max_length_cuts_the_end():
    made = tokenizer()
    whole, cut = tokenize_pair(check_pair(CONVERSATION), made), tokenize_pair(check_pair(CONVERSATION), made, 8)
    assert (cut.prompt, cut.chosen) == (whole.prompt, whole.chosen[: 8 - len(whole.prompt)])
    with pytest.raises(Unscorable, match="prompt alone fills 4 tokens"):
        tokenize_pair(check_pair(CONVERSATION), made, 4)


def test_a_text_prompt_beside_messages():
    repeated = {"prompt": "Hi", "chosen": [user("Hi"), assistant("Yes")], "rejected": [user("Hi"), assistant("No")]}
    bare = {"prompt": "Hi", "chosen": [assistant("Yes")], "rejected": [assistant("No")]}
    for row in (repeated, bare):
        pair = check_pair(row)
        assert (pair.prompt, pair.chosen, pair.rejected) == ([user("Hi")], [assistant("Yes")], [assistant("No")])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "no chosen answer"),
        ({"prompt": "a", "chosen": "b"}, "no rejected answer"),
        ({"prompt": "a", "chosen": 3, "rejected": "b"}, "chosen is neither text nor a list of messages"),
        ({"prompt": "a", "chosen": "b", "rejected": [assistant("c")]}, "one answer is text"),
        ({"prompt": [user("a")], "chosen": "b", "rejected": "c"}, "the prompt is a list of messages"),
        ({"prompt": 1, "chosen": "b", "rejected": "c"}, "prompt is neither"),
        ({"prompt": [], "chosen": [assistant("b")], "rejected": [assistant("c")]}, "empty prompt"),
        ({"prompt": [user("a")], "chosen": [], "rejected": [assistant("c")]}, "empty chosen answer"),
        ({"prompt": [user("a")], "chosen": [{"content": "b"}], "rejected": [assistant("c")]}, "without a role"),
        ({"prompt": [user("a")], "chosen": [{"role": "assistant"}], "rejected": [assistant("c")]}, "without content"),
        ({"prompt": "a", "chosen": "\ud800", "rejected": "c"}, "not valid Unicode"),
        ({"chosen": "same", "rejected": "same"}, "identical answers"),
        ({"chosen": "", "rejected": "same"}, "empty answer and no prompt"),
        ({"chosen": "x", "rejected": "y"}, "do not begin alike"),
        ({**CONVERSATION, "tools": "{"}, "tools is not JSON"),
        ({**CONVERSATION, "chat_template_kwargs": 3}, "chat_template_kwargs is not an object"),
        (BrokenRow("not JSON"), "not JSON"),
    ],
)
def test_a_row_that_is_no_pair_says_why(row, reason):
    with pytest.raises(Unscorable, match=reason):
        check_pair(row)


def test_messages_without_a_chat_template_say_so():
    with pytest.raises(Unscorable, match=r"cannot be tokenised .*chat.template"):
        tokenize_pair(check_pair(CONVERSATION), tokenizer(template=None))


def test_an_empty_prompt_without_a_first_token_says_so():
    with pytest.raises(Unscorable, match="no prompt token"):
        tokenize_pair(check_pair({"prompt": "", "chosen": "a", "rejected": "b"}), tokenizer())


ROWS = [{**CONVERSATION, "hazard": "a"}, {**CONVERSATION, "hazard": "b"}]


def write(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows)
    return path


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, kind):
    path = write(tmp_path / f"pairs{kind}", ROWS)
    assert list(stream_rows(path)) == ROWS
    assert count_rows(path) == 2
    loaded = load_preferences(path)
    assert list(loaded["pair_id"]) == ["row-00000000", "row-00000001"]
    assert list(loaded["hazard"]) == ["a", "b"]


def test_a_saved_data_set_is_read(tmp_path):
    Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    assert list(stream_rows(tmp_path / "saved")) == ROWS


def test_json_lines_under_the_name_json_and_rows_under_data(tmp_path):
    lines, wrapped = tmp_path / "lines.json", tmp_path / "wrapped.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    wrapped.write_text(json.dumps({"data": ROWS}))
    assert list(stream_rows(lines)) == list(stream_rows(wrapped)) == ROWS


def test_what_has_no_one_type_is_loaded_and_what_json_has_not_can_be_trained_on(tmp_path):
    """A run loads a table whole, and writes the rows that it trains on as JSON lines."""
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "Yes."}]}]
    rows = [CONVERSATION, {**CONVERSATION, "chosen": parts}]
    path = write(tmp_path / "pairs.jsonl", rows)
    assert [row["chosen"] for row in load_preferences(path)] == [row["chosen"] for row in rows]
    when = [{**PLAIN, "when": datetime.date(2024, 1, 2), "score": float("nan")}]
    pq.write_table(pa.Table.from_pylist(when), tmp_path / "pairs.parquet")
    (row,) = load_training_rows(str(tmp_path / "pairs.parquet"))
    assert (row["when"], row["score"]) == ("2024-01-02", None)


def test_broken_lines_stay_in_their_place(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n[1]\n\xff\xfe\n' + b"[" * 100_000 + b"\n")
    rows = list(stream_rows(path))
    assert rows[0] == {"a": 1}
    assert [row.reason for row in rows[1:]] == ["not JSON", "not a JSON object", "not UTF-8", "not JSON"]


def test_csv_with_too_many_fields_or_bad_bytes(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"prompt,chosen,rejected\na,b,c,d\na,\xff,c\na,b\n")
    first, second, third = stream_rows(path)
    assert first.reason == "more fields than the header names"
    for row, reason in ((second, "not valid Unicode"), (third, "no rejected answer")):
        with pytest.raises(Unscorable, match=reason):
            check_pair(row)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.jsonl", None, "no such file"),
        ("pairs.txt", "a", "of no known kind"),
        ("pairs.parquet", "a", "is not Parquet"),
        ("pairs.json", "3", "holds no list of rows"),
        ("pairs.jsonl", "", "holds no rows"),
        ("pairs.jsonl", '{"prompt": "a", "chosen": "b"}', "row 1: no rejected answer"),
        ("pairs.jsonl", (json.dumps({**PLAIN, "pair_id": "p"}) + "\n") * 2, "pair_id 'p' comes twice"),
    ],
)
def test_load_refuses_with_one_line(tmp_path, name, content, message):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(HarnessError, match=message):
        load_preferences(path)


def test_a_hub_id_that_cannot_be_loaded(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr("harness.preferences.tables.load_dataset", refuse)
    with pytest.raises(HarnessError, match=r"org/name: cannot be loaded from the hub \(ConnectionError: no network\)"):
        load_preferences("org/name")


def test_a_hub_id_is_streamed(monkeypatch):
    asked = []
    data = Dataset.from_list(ROWS).to_iterable_dataset()
    monkeypatch.setattr("harness.preferences.tables.load_dataset", lambda *a, **k: asked.append((a, k)) or data)
    assert list(stream_rows("org/name", "config", "test")) == ROWS
    assert asked == [(("org/name", "config"), {"split": "test", "streaming": True})]
