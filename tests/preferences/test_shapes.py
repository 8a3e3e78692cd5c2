"""Published preference data in other columns than TRL's."""

import json

import pytest

from harness.preferences.pairs import Unscorable, check_pair
from harness.preferences.tables import check_table
from harness.support.errors import HarnessError
from helpers.preference_rows import CONVERSATION, PLAIN, assistant, lines, user

PKU = {"prompt": "Hi", "response_0": "No.", "response_1": "Yes.", "better_response_id": 1, "safer_response_id": 0}
HELPSTEER2 = {"prompt": "Hi", "response_1": "Yes.", "response_2": "No.", "preference_strength": -2}
HELPSTEER3 = {"context": [user("Hi")], "response1": "No.", "response2": "Yes.", "overall_preference": 1}
OPENAI = {
    "input": {"messages": [user("Hi")], "tools": [], "parallel_tool_calls": True},
    "preferred_output": [assistant("Yes.")],
    "non_preferred_output": [assistant("No.")],
}
SHAREGPT = {
    "conversations": [{"from": "human", "value": "Hi"}],
    "chosen": {"from": "gpt", "value": "Yes."},
    "rejected": {"from": "gpt", "value": "No."},
}
ALPACA = {"instruction": "Hi", "input": "", "chosen": "Yes.", "rejected": "No."}


@pytest.mark.parametrize(
    "row",
    [
        {**PKU, "safer_response_id": None},
        {**PKU, "safer_response_id": 1},
        HELPSTEER2,
        HELPSTEER3,
        OPENAI,
        SHAREGPT,
        {**SHAREGPT, "chosen": [assistant("Yes.")], "rejected": [assistant("No.")]},
        ALPACA,
        {"question": "Hi", "system": "", "chosen": "Yes.", "rejected": "No."},
    ],
)
def test_shapes_that_are_pairs_are_read(row):
    pair = check_pair(row)
    assert (pair.prompt, pair.chosen, pair.rejected) == ([user("Hi")], [assistant("Yes.")], [assistant("No.")])


def test_what_belongs_to_the_request_comes_along():
    pair = check_pair({**ALPACA, "input": "there", "system": "Be brief."})
    assert pair.prompt == [{"role": "system", "content": "Be brief."}, user("Hi\nthere")]
    tools = [{"type": "function", "function": {"name": "now"}}]
    assert check_pair({**OPENAI, "input": {"messages": [user("Hi")], "tools": tools}}).tools == tools


def test_the_safer_answer_is_preferred_to_the_better_one(tmp_path, capsys):
    assert check_pair(PKU).chosen == [assistant("No.")]
    check_table(lines(tmp_path / "pairs.jsonl", [PKU]))
    assert "chosen is the answer that safer_response_id names" in capsys.readouterr().err


def test_a_system_prompt_beside_trls_columns_is_left_out_as_the_trainer_does_and_that_is_said(tmp_path, capsys):
    row = {**PLAIN, "system": "Be brief."}
    assert check_pair(row).prompt == PLAIN["prompt"]
    check_table(lines(tmp_path / "pairs.jsonl", [row, PLAIN]))
    assert "1 of the first 2 rows have a column system beside prompt" in capsys.readouterr().err
    check_table(lines(tmp_path / "pairs.jsonl", [{**ALPACA, "system": "Be brief."}]))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("row", [CONVERSATION, PLAIN, {**PLAIN, "instruction": "x", "question": "y", "input": "z"}])
def test_trls_own_columns_stay_what_they_are(row):
    pair = check_pair(row)
    assert pair.row is row
    assert (pair.prompt, pair.chosen, pair.rejected) == (row["prompt"], row["chosen"], row["rejected"])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**PKU, "safer_response_id": -1}, "safer_response_id is neither 0 nor 1"),
        ({**HELPSTEER2, "preference_strength": 0}, "preference_strength prefers neither answer"),
        ({**OPENAI, "input": "Hi"}, "input is not an object with messages"),
    ],
)
def test_a_row_without_a_preference_says_so(row, reason):
    with pytest.raises(Unscorable, match=reason):
        check_pair(row)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"prompt": "a", "response": "b", "helpfulness": 3},
            "'chosen' and 'rejected'; it has: prompt, response, helpful",
        ),
        ({"conversations": [{"from": "human", "value": "a"}]}, "it has: conversations. One conversation a row"),
        ({"instruction": "a", "input": "", "output": "b"}, "One output a row is no pair"),
        ({"messages": [user("a")]}, "it has: messages. One conversation a row is no pair"),
        ({"prompt": "a", "chosen": "b"}, "no column 'rejected'; it has: prompt, chosen. A pair needs both answers"),
        ({"question_text": "a", "win": "b", "lose": "c"}, "it has: question_text, win, lose. Rename the preferred"),
        ({}, "it has: none"),
    ],
)
def test_other_columns_are_named_at_once(tmp_path, row, said):
    with pytest.raises(HarnessError, match=said):
        check_table(lines(tmp_path / "pairs.jsonl", ["nonsense", row]))


def test_a_table_of_which_some_row_is_a_pair_is_read_on(tmp_path, capsys):
    check_table(lines(tmp_path / "pairs.jsonl", [{"chosen": "a"}, PLAIN]))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_messages_that_stand_there_as_text_are_one_line(tmp_path, capsys, write):
    row = {name: write(CONVERSATION[name]) for name in ("prompt", "chosen", "rejected")}
    check_table(lines(tmp_path / "pairs.jsonl", [row, row, PLAIN]))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("2 of the first 3 rows hold a list of messages as text under prompt")


@pytest.mark.parametrize("text", ["[{", "[{'a': 1}]", "[{not code}]", "[[[[", "[{" * 5000])
def test_other_text_in_brackets_is_no_list_of_messages(tmp_path, capsys, text):
    check_table(lines(tmp_path / "pairs.jsonl", [{**PLAIN, "chosen": text}]))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("amounts", "noted"), [([1, 1.5], True), ([1, 2], False), ([1.0, 2.5], False), ([1, True], False)]
)
def test_whole_numbers_beside_fractions_are_one_line(tmp_path, capsys, amounts, noted):
    """`load_dataset` makes 1.0 of a 1 beside them, in every row, which a chat template renders otherwise."""
    calls = [[{"type": "function", "function": {"name": "pay", "arguments": {"amount": amount}}}] for amount in amounts]
    rows = [{**CONVERSATION, "chosen": [{"role": "assistant", "content": "", "tool_calls": call}]} for call in calls]
    check_table(lines(tmp_path / "pairs.jsonl", rows))
    said = capsys.readouterr().err
    assert ("chosen.tool_calls.function.arguments.amount holds whole numbers and fractions" in said) == noted
