"""Rows of published preference data in other columns than TRL's, put into TRL's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from harness.preferences.dialogues import hold_dialogues, read_steer_prompt, split_dialogues
from harness.support.errors import HarnessError

Row = Mapping[str, Any]
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant"}
_PAIR = ("prompt", "chosen", "rejected")
_BESIDE = ("input", "system", "history")
"""What other columns than a shape's own may add to its prompt."""
SAFER, BETTER = "safer_response_id", "better_response_id"


def chat_messages(prompt: object, chosen: object, rejected: object) -> dict[str, Any]:
    """A pair in TRL's conversational format: a text is one turn, of the user or an answer; anything else stays."""
    turns = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    return {
        name: [{"role": role, "content": value}] if isinstance(value, str) else value
        for name, (role, value) in turns.items()
    }


class NoPreference(ValueError):  # noqa: N818 - it names the row's state, and is never shown as an error
    """A row that prefers neither answer, or does not say which; the message is why."""


class Malformed(ValueError):  # noqa: N818 - as NoPreference
    """A row of a known shape with a value in it that the shape has not; the message is why."""


def to_trl(row: Row) -> Row:
    """The row with `prompt`, `chosen` and `rejected` as TRL has them, made of other columns where it has those.

    Known are hh-rlhf's dialogues, PKU-SafeRLHF, HelpSteer2's and HelpSteer3's preferences, OpenAI's preference format,
    turns beside two answers (ShareGPT and LLaMA-Factory in `conversations`, Axolotl's `chat_template.default` in
    `messages`) and instructions beside two answers (Alpaca as LLaMA-Factory has it with `history`, Orca, Argilla, and
    Axolotl's `chatml` and `llama3` types); a text in a column that names its turn becomes a message. OpenRLHF's rows
    are in TRL's columns. A row in TRL's columns, or in none of these, is returned itself. Raises NoPreference where
    neither is preferred, Malformed where a value is not the shape's.

    The columns are those that the tools' own pages name: data/README.md of hiyouga/LLaMA-Factory, docs/rlhf.qmd of
    axolotl-ai-cloud/axolotl, openrlhf/datasets/reward_dataset.py of OpenRLHF/OpenRLHF.
    """
    if hold_dialogues(row):
        return {**row, **split_dialogues(row["chosen"], row["rejected"])}
    shape = _find_shape(row)
    return row if shape is None else {**row, **shape[1](row)}


def pair_columns(row: Row) -> frozenset[str]:
    """The columns that the pair of a row is read from."""
    shape = None if hold_dialogues(row) else _find_shape(row)
    return frozenset(_PAIR if shape is None else (*_PAIR, *shape[0], *_BESIDE))


def _find_shape(row: Row) -> tuple[tuple[str, ...], Callable[[Row], Row]] | None:
    """The shape of a row that is not in TRL's columns, if it has one."""
    if all(row.get(name) is not None for name in _PAIR):
        return None
    return next((shape for shape in _SHAPES.items() if all(row.get(name) is not None for name in shape[0])), None)


def refuse_other_columns(rows: Iterable[Row], place: str) -> None:
    """Raises HarnessError naming the columns where none of the rows has those of a pair."""
    seen: dict[str, None] = {}
    for row in rows:
        if {"chosen", "rejected"} <= set(row) or any(set(needed) <= set(row) for needed in _SHAPES):
            return
        seen |= dict.fromkeys(row)
    missing = [repr(name) for name in ("chosen", "rejected") if name not in seen] or ["of a pair"]
    said = f"has no column{'s' if len(missing) > 1 else ''} {' and '.join(missing)}"
    cause = f"{said}; it has: {', '.join(map(str, seen)) or 'none'}"
    raise HarnessError(cause, place=place, hint=f"{_missing_hint(set(seen))} See docs/scoring.md.")


def _missing_hint(seen: set[str]) -> str:
    if len({"chosen", "rejected"} & seen) == 1:
        return "A pair needs both answers."
    answers = [name for name in ("response", "output", "completion", "answer") if name in seen]
    if "conversations" in seen or "messages" in seen:
        return "One conversation a row is no pair: give two answers to each prompt as chosen and rejected."
    if answers == ["response"] and "helpfulness" in seen:
        return "HelpSteer rates single answers; its pairs are HelpSteer2's `preference` and HelpSteer3."
    if answers:
        return f"One {answers[0]} a row is no pair: give two to each prompt as chosen and rejected."
    return "Rename the preferred answer's column to chosen, the other's to rejected and the request's to prompt."


# The shapes


def _by_id(row: Row) -> Row:
    name = SAFER if row.get(SAFER) is not None else BETTER
    if row.get(name) not in (0, 1):
        raise NoPreference(f"{name} is neither 0 nor 1")
    better = int(row[name])
    return chat_messages(row["prompt"], row[f"response_{better}"], row[f"response_{1 - better}"])


def _by_strength(prompt: str, first: str, second: str, strength: str) -> Callable[[Row], Row]:
    """Below 0 the first answer is better, above it the second."""

    def read(row: Row) -> Row:
        value = row[strength]
        if not isinstance(value, int | float) or not value or value != value:
            raise NoPreference(f"{strength} prefers neither answer")
        answers = (row[first], row[second])
        return chat_messages(read_steer_prompt(row[prompt]), *(answers if value < 0 else reversed(answers)))

    return read


def _openai(row: Row) -> Row:
    asked = row["input"]
    if not isinstance(asked, Mapping):
        raise NoPreference("input is not an object with messages")
    tools = {"tools": asked["tools"]} if asked.get("tools") else {}
    return {**chat_messages(asked.get("messages"), row["preferred_output"], row["non_preferred_output"]), **tools}


def _turns_in(name: str) -> Callable[[Row], Row]:
    """Turns in one column, and one more in each answer's."""

    def read(row: Row) -> Row:
        if name == "messages" and all(isinstance(row[side], list) for side in ("chosen", "rejected")):
            return {}  # whole conversations, as UltraFeedback has them beside `messages`
        made = chat_messages(*(_read_turns(row[column]) for column in (name, "chosen", "rejected")))
        turns = made["prompt"]
        has_system = not isinstance(turns, list) or any(
            isinstance(turn, Mapping) and turn.get("role") == "system" for turn in turns[:1]
        )
        return made if has_system else {**made, "prompt": _system_turn(row) + turns}

    return read


def _read_turns(value: Any) -> Any:
    turns = [value] if isinstance(value, Mapping) else value
    named = isinstance(turns, list) and all(
        isinstance(turn, Mapping) and {"from", "value"} <= set(turn) for turn in turns
    )
    if not named:
        return turns
    return [{"role": _SHAREGPT_ROLES.get(str(turn["from"]), turn["from"]), "content": turn["value"]} for turn in turns]


def _instruction(name: str, chosen: str = "chosen", rejected: str = "rejected") -> Callable[[Row], Row]:
    def read(row: Row) -> Row:
        if row.get("status") == "tie":
            raise NoPreference("status is tie")
        parts = [row[name], row.get("input") if name == "instruction" else None]
        text = "\n".join(part for part in parts if isinstance(part, str) and part)
        made = chat_messages(text, row[chosen], row[rejected])
        rounds = _earlier_rounds(row.get("history") or []) if name == "instruction" else []
        return {**made, "prompt": _system_turn(row) + rounds + made["prompt"]}

    return read


def _system_turn(row: Row) -> list[dict[str, str]]:
    system = row.get("system")
    return [{"role": "system", "content": system}] if isinstance(system, str) and system else []


def _earlier_rounds(history: object) -> list[dict[str, str]]:
    """LLaMA-Factory's earlier rounds, a request and an answer each, as turns."""
    turns = []
    for asked in history if isinstance(history, list) else [history]:
        if not isinstance(asked, list | tuple) or len(asked) != 2 or not all(isinstance(said, str) for said in asked):
            raise Malformed("history is no list of pairs of texts")
        turns += [{"role": role, "content": said} for role, said in zip(("user", "assistant"), asked, strict=True)]
    return turns


_SHAPES: dict[tuple[str, ...], Callable[[Row], Row]] = {
    ("prompt", "response_0", "response_1", SAFER): _by_id,
    ("prompt", "response_0", "response_1", BETTER): _by_id,
    ("prompt", "response_1", "response_2", "preference_strength"): _by_strength(
        "prompt", "response_1", "response_2", "preference_strength"
    ),
    ("context", "response1", "response2", "overall_preference"): _by_strength(
        "context", "response1", "response2", "overall_preference"
    ),
    ("input", "preferred_output", "non_preferred_output"): _openai,
    ("conversations", "chosen", "rejected"): _turns_in("conversations"),
    ("instruction", "chosen", "rejected"): _instruction("instruction"),
    ("question", "chosen", "rejected"): _instruction("question"),
    ("input", "chosen", "rejected"): _instruction("input"),
    ("instruction", "chosen_response", "rejected_response"): _instruction(
        "instruction", "chosen_response", "rejected_response"
    ),
    ("messages", "chosen", "rejected"): _turns_in("messages"),
}
"""The columns that a shape needs, and what makes TRL's of them."""
