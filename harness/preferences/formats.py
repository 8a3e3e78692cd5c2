"""Pairs written in the columns that other trainers read; `shapes.py` beside this file reads them again.

`trl`: prompt, chosen and rejected, as DPOTrainer takes them. `sharegpt`: turns in `conversations` and one in each of
`chosen` and `rejected`, LLaMA-Factory's `formatting: sharegpt` with `ranking: true`. `llamafactory`: its default,
Alpaca's `instruction`, `input`, `chosen`, `rejected`, `system` and `history`. `axolotl`: messages, chosen and rejected
of its DPO type `chat_template.default`. `openrlhf`: whole conversations under its default keys, for
`--apply_chat_template`; texts beside a prompt, for `--prompt_key prompt`.

Sources: data/README.md and src/llamafactory/data/converter.py of hiyouga/LLaMA-Factory, docs/rlhf.qmd and
src/axolotl/prompt_strategies/dpo/chat_template.py of axolotl-ai-cloud/axolotl, openrlhf/datasets/reward_dataset.py of
OpenRLHF/OpenRLHF.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from harness.preferences.pairs import Message, Pair, PreferenceRow, Text, check_pair, pair_id
from harness.preferences.shapes import pair_columns
from harness.support.console import print_note
from harness.support.errors import HarnessError

PairFormat = Literal["trl", "sharegpt", "llamafactory", "axolotl", "openrlhf"]

_READ_FIRST = frozenset(
    {"prompt", "conversations", "messages", "instruction", "question", "input", "system", "history"}
)
"""Columns that a reader would take for a pair's own, where it finds them beside those of another format."""
_TEMPLATED = frozenset({"sharegpt", "llamafactory", "axolotl"})
"""Formats whose readers render every pair by a chat template, also one of plain texts."""
_WITH_TOOLS = frozenset({"trl", "sharegpt", "llamafactory"})
_SHAREGPT_NAMES = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


class _NoPlace(ValueError):  # noqa: N818 - it names what a format lacks, and is never shown as an error
    """What a pair holds and a format has no place for."""


def format_rows(rows: Sequence[PreferenceRow], kind: PairFormat) -> list[dict[str, Any]]:
    """Usable rows of one table in the columns of a format; their other columns stay as they are.

    A note says how many pairs of plain texts become turns of a chat. Raises HarnessError naming a pair that holds what
    the format has no place for, as its reader would leave that out or skip the pair.
    """
    made, texts = list[dict[str, Any]](), 0
    for number, row in enumerate(rows):
        pair = check_pair(row)
        texts += not pair.is_conversational
        try:
            made.append(_other_columns(row, pair, kind) | _WRITERS[kind](pair))
        except _NoPlace as error:
            place = f"pair {pair_id(row, number)}"
            hint = "Leave the pair out, or name another --format, such as trl."
            raise HarnessError(f"{kind} has no place for {error}", place=place, hint=hint) from None
    if texts and kind in _TEMPLATED:
        print_note(
            f"{texts} pairs are plain texts: whoever reads {kind} takes each for a user's turn and an answer, and "
            "renders them by a chat template"
        )
    return made


def _other_columns(row: PreferenceRow, pair: Pair, kind: PairFormat) -> dict[str, Any]:
    """What a row holds beside its pair; a pair's tools as the format has them."""
    gone = pair_columns(row) | {"tools"} | (_READ_FIRST if kind != "trl" else frozenset())
    if pair.template_arguments and kind != "trl":
        raise _NoPlace("chat_template_kwargs")
    if pair.tools and kind not in _WITH_TOOLS:
        raise _NoPlace("tools")
    others = {name: value for name, value in row.items() if name not in gone}
    if kind == "trl":
        return others if pair.tools is None else {**others, "tools": pair.tools}
    return {**others, "tools": json.dumps(pair.tools, ensure_ascii=False)} if pair.tools else others


# The formats


def _write_trl(pair: Pair) -> dict[str, Any]:
    return {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def _write_openrlhf(pair: Pair) -> dict[str, Any]:
    if not isinstance(pair.prompt, list):
        return _write_trl(pair)
    return {name: [*pair.prompt, _one_answer(answer)] for name, answer in _answers(pair)}


def _write_axolotl(pair: Pair) -> dict[str, Any]:
    turns = [{"role": role, "content": text} for role, text in _plain_turns(pair.prompt, "user")]
    answers = {name: _plain_turns(answer, "assistant") for name, answer in _answers(pair)}
    made = {name: {"role": role, "content": text} for name, [(role, text)] in answers.items()}
    return {"messages": turns, **made}


def _write_sharegpt(pair: Pair) -> dict[str, Any]:
    turns = _alternating_turns(pair)
    answers = {name: _plain_turns(answer, "assistant") for name, answer in _answers(pair)}
    made = {name: {"from": _SHAREGPT_NAMES[role], "value": text} for name, [(role, text)] in answers.items()}
    return {"conversations": [{"from": _SHAREGPT_NAMES[role], "value": text} for role, text in turns], **made}


def _write_llamafactory(pair: Pair) -> dict[str, Any]:
    turns = _alternating_turns(pair)
    system = turns.pop(0)[1] if turns[0][0] == "system" else ""
    if any(role == "tool" for role, _ in turns):
        raise _NoPlace("a turn of the role tool")
    texts = [text for _, text in turns]
    rounds = [list(asked) for asked in zip(texts[:-1:2], texts[1:-1:2], strict=True)]
    answers = {name: text for name, answer in _answers(pair) for _, text in _plain_turns(answer, "assistant")}
    return {"instruction": texts[-1], "input": "", **answers, "system": system, "history": rounds}


_WRITERS: Mapping[PairFormat, Callable[[Pair], dict[str, Any]]] = {
    "trl": _write_trl,
    "sharegpt": _write_sharegpt,
    "llamafactory": _write_llamafactory,
    "axolotl": _write_axolotl,
    "openrlhf": _write_openrlhf,
}


# Turns


def _answers(pair: Pair) -> list[tuple[str, Text]]:
    """Both answers by their column. Raises _NoPlace where one is more than the assistant's single turn."""
    for answer in (pair.chosen, pair.rejected):
        if isinstance(answer, list):
            _one_answer(answer)
    return [("chosen", pair.chosen), ("rejected", pair.rejected)]


def _one_answer(answer: Text) -> Message:
    if len(answer) != 1 or not isinstance(answer[0], dict) or answer[0]["role"] != "assistant":
        raise _NoPlace("an answer other than one turn of the assistant")
    return answer[0]


def _plain_turns(said: Text, role: str) -> list[tuple[str, str]]:
    """Role and text of each turn; a text is one turn of `role`."""
    if isinstance(said, str):
        return [(role, said)]
    for turn in said:
        if turn["role"] not in _SHAREGPT_NAMES:
            raise _NoPlace(f"a turn of the role {turn['role']}")
        if not isinstance(turn.get("content"), str):
            raise _NoPlace("a turn whose content is no text")
        if more := [name for name, value in turn.items() if name not in ("role", "content") and value]:
            raise _NoPlace(f"{more[0]} of a turn")
    return [(turn["role"], turn["content"]) for turn in said]


def _alternating_turns(pair: Pair) -> list[tuple[str, str]]:
    """The prompt's turns. Raises _NoPlace where they are not what LLaMA-Factory reads; it skips any other pair.

    After a system's turn, which may lack, a user or tool and the assistant take turns, and the assistant is next.
    """
    turns = _plain_turns(pair.prompt, "user")
    spoken = turns[1:] if turns[0][0] == "system" else turns
    expected = (("user", "tool"), ("assistant",))
    if len(spoken) % 2 == 0 or any(role not in expected[place % 2] for place, (role, _) in enumerate(spoken)):
        raise _NoPlace("a prompt in which user and assistant do not take turns, the user last")
    return turns
