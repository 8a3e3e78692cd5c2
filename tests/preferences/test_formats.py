"""Pairs in other trainers' columns: written as their pages show them, read back as the same pairs."""

import json
from typing import get_args

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.preferences.formats import PairFormat, format_rows
from harness.preferences.pairs import Unscorable, check_pair
from harness.support.errors import HarnessError
from helpers.preference_rows import CONVERSATION, PLAIN, assistant, user

FORMATS = get_args(PairFormat)
SYSTEM = {"role": "system", "content": "Be brief."}
TURNS = {**CONVERSATION, "prompt": [SYSTEM, user("Hi"), assistant("Hello."), user("More?")], "hazard": "S1"}
SOURCES = {
    "one turn": CONVERSATION,
    "turns": TURNS,
    "implicit": {"chosen": [user("Hi"), assistant("Yes.")], "rejected": [user("Hi"), assistant("No, never.")]},
    "hh-rlhf": {"chosen": "\n\nHuman: Hi\n\nAssistant: Yes.", "rejected": "\n\nHuman: Hi\n\nAssistant: No."},
    "PKU": {"prompt": "Hi", "response_0": "No.", "response_1": "Yes.", "safer_response_id": 1},
    "HelpSteer3": {"context": [user("Hi")], "response1": "No.", "response2": "Yes.", "overall_preference": 1},
    "UltraFeedback": {
        "prompt": "Hi",
        "chosen": [user("Hi"), assistant("Yes.")],
        "rejected": [user("Hi"), assistant("No.")],
        "messages": [user("Hi"), assistant("Yes.")],
    },
    "Alpaca": {"instruction": "Add", "input": "1+1", "system": "Be brief.", "chosen": "2", "rejected": "3",
               "history": [["Hi", "Hello."]]},
    "Orca": {"question": "Hi", "system": "", "chosen": "Yes.", "rejected": "No."},
    "Axolotl": {"messages": [SYSTEM, user("Hi")], "chosen": assistant("Yes."), "rejected": assistant("No.")},
}  # fmt: skip


def said(row):
    pair = check_pair(row)
    return pair.prompt, pair.chosen, pair.rejected, pair.tools or None


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("row", SOURCES.values(), ids=SOURCES.keys())
def test_a_pair_that_is_written_is_read_as_it_was(row, kind):
    [made] = format_rows([row], kind)
    assert said(made) == said(row)
    assert said(json.loads(json.dumps(made))) == said(row)
    [again] = format_rows([made], kind)
    assert again == made


def test_each_format_is_as_its_page_shows_it():
    asked = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}]
    asked += [{"from": "gpt", "value": "Hello."}, {"from": "human", "value": "More?"}]
    answers = {"chosen": assistant("Yes."), "rejected": assistant("No, never.")}
    expected = {
        "trl": TURNS,
        "sharegpt": {
            "conversations": asked,
            "chosen": {"from": "gpt", "value": "Yes."},
            "rejected": {"from": "gpt", "value": "No, never."},
        },
        "llamafactory": {
            "instruction": "More?",
            "input": "",
            "chosen": "Yes.",
            "rejected": "No, never.",
            "system": "Be brief.",
            "history": [["Hi", "Hello."]],
        },
        "axolotl": {"messages": TURNS["prompt"], **answers},
        "openrlhf": {name: [*TURNS["prompt"], turn] for name, turn in answers.items()},
    }
    for kind in FORMATS:
        assert format_rows([TURNS], kind) == [{"hazard": "S1", **expected[kind]}]


@pytest.mark.parametrize("kind", FORMATS)
def test_texts_become_turns_where_a_chat_template_renders_them_and_a_note_says_so(kind, capsys):
    [made] = format_rows([PLAIN], kind)
    told = capsys.readouterr().err
    if kind in ("trl", "openrlhf"):
        assert (made, told) == (PLAIN, "")
    else:
        assert said(made) == ([user("The sky is")], [assistant(" blue.")], [assistant(" green, I think.")], None)
        assert told.startswith("1 pairs are plain texts")


TOOLS = [{"type": "function", "function": {"name": "now"}}]
CALL = {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "now", "arguments": {}}}]}


@pytest.mark.parametrize(
    ("changed", "kinds", "lacking"),
    [
        ({"chosen": [assistant("Yes."), user("?"), assistant("No.")]}, FORMATS[1:], "an answer other than one turn"),
        ({"rejected": [user("No.")]}, FORMATS[1:], "an answer other than one turn"),
        ({"chat_template_kwargs": {"enable_thinking": True}}, FORMATS[1:], "chat_template_kwargs"),
        ({"tools": TOOLS}, ("axolotl", "openrlhf"), "tools"),
        ({"prompt": [user("Hi"), CALL, {"role": "tool", "content": "9"}]}, FORMATS[1:4], "a turn whose content"),
        ({"prompt": [{**user("Hi"), "name": "Ann"}]}, FORMATS[1:4], "name of a turn"),
        ({"prompt": [{"role": "developer", "content": "x"}, user("Hi")]}, FORMATS[1:4], "the role developer"),
        ({"prompt": [user("Hi"), user("there")]}, ("sharegpt", "llamafactory"), "do not take turns"),
        ({"prompt": [user("Hi"), assistant("So")]}, ("sharegpt", "llamafactory"), "do not take turns"),
        ({"prompt": [SYSTEM]}, ("sharegpt", "llamafactory"), "do not take turns"),
        ({"prompt": [user("a"), assistant("b"), {"role": "tool", "content": "c"}]}, ("llamafactory",), "the role tool"),
    ],
)
def test_what_a_format_has_no_place_for_is_refused_by_name(changed, kinds, lacking):
    row = {**CONVERSATION, **changed, "pair_id": "p7"}
    for kind in kinds:
        with pytest.raises(HarnessError, match=f"pair p7: {kind} has no place for .*{lacking}"):
            format_rows([CONVERSATION, row], kind)
    for kind in set(FORMATS) - set(kinds):
        format_rows([row], kind)


@pytest.mark.parametrize("kind", ["trl", "sharegpt", "llamafactory"])
def test_tools_come_along(kind):
    [made] = format_rows([{**CONVERSATION, "tools": TOOLS}], kind)
    assert check_pair(made).tools == TOOLS
    assert isinstance(made["tools"], list if kind == "trl" else str)  # LLaMA-Factory reads a text


def test_turns_of_a_tool_have_sharegpts_name():
    turns = [user("Time?"), assistant('{"name": "now"}'), {"role": "tool", "content": "9"}]
    [made] = format_rows([{**CONVERSATION, "prompt": turns}], "sharegpt")
    assert [turn["from"] for turn in made["conversations"]] == ["human", "gpt", "observation"]
    assert check_pair(made).prompt == turns


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_of_many_shapes_is_loaded_by_datasets_as_the_same_pairs(kind):
    made = format_rows([*SOURCES.values()], kind)
    loaded = Dataset.from_list(made, on_mixed_types="use_json")
    assert [said(row) for row in loaded] == [said(row) for row in SOURCES.values()]


@pytest.mark.parametrize("history", ["no list", [["one"]], [["a", "b", "c"]], [["a", None]], [{"a": "b"}], {"a": 1}])
def test_a_history_that_is_none_makes_no_pair(history):
    with pytest.raises(Unscorable, match="history is no list of pairs of texts"):
        check_pair({"instruction": "Hi", "chosen": "Yes.", "rejected": "No.", "history": history})


def test_a_systems_turn_is_taken_once():
    turns = {"chosen": {"from": "gpt", "value": "Yes."}, "rejected": {"from": "gpt", "value": "No."}}
    asked = [{"from": "human", "value": "Hi"}]
    assert said({"conversations": asked, "system": "Be brief.", **turns})[0] == [SYSTEM, user("Hi")]
    own = [{"from": "system", "value": "Be brief."}, *asked]
    assert said({"conversations": own, "system": "Be long.", **turns})[0] == [SYSTEM, user("Hi")]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
COLUMNS = ["prompt", "chosen", "rejected", "conversations", "messages", "instruction", "question", "input", "system",
           "history", "tools"]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.dictionaries(st.sampled_from(COLUMNS), VALUES | st.just([user("Hi")]) | st.just("a"), min_size=3))
def test_a_wild_row_is_a_pair_in_every_format_or_is_refused_with_a_reason(row):
    try:
        before = said(row)
    except Unscorable:
        return
    for kind in FORMATS:
        try:
            [made] = format_rows([row], kind)
        except HarnessError:
            assert kind != "trl"
        else:
            assert said(made) == before or isinstance(before[0], str)
