"""What training on a preference file would break on or silently do, told by its rows: no model, nothing heavy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange
from harness.preferences.pairs import (
    BrokenRow,
    Message,
    Pair,
    PreferenceRow,
    Text,
    Undecided,
    Unscorable,
    check_pair,
)
from harness.preferences.row_files import read_file_rows
from harness.preferences.shapes import refuse_other_columns
from harness.support.console import printable_line
from harness.support.errors import HarnessError

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_ASKING = frozenset({"system", "developer", "user"})
"""Roles whose turns are no part of an answer."""
_LONGEST_ROLE = 30
"""Characters of an unknown role that are told: where columns are mixed up, it may be a prompt."""
_FIRST_ROWS = 256
"""Rows among which the columns of a pair are looked for."""
MOST_JUDGED = 2000
"""Pairs of a file whose answers are judged, from its beginning."""

NEITHER = "prefer neither answer, and are left out"
CONTINUED = "have a prompt that ends with the assistant's turn, which an answer then continues"
TWO_REFUSALS = "are two refusals by the lexical judge"


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What was found in a file.

    Attributes:
        file: its place.
        rows: how many it holds.
        problems: a row's number, from 1 (0: the file as a whole), and what is wrong with it.
        warnings: what is said of some rows, and which.
    """

    file: str
    rows: int
    problems: list[tuple[int, str]]
    warnings: dict[str, list[int]]


def check_file(file: str) -> FileCheck:
    """Reads a file as `harness score` does and tells every row that is no pair, or one that no training should get.

    A warning is what training goes on with: rows that prefer neither answer, prompts that end with an answer, and,
    among the first `MOST_JUDGED` pairs, two refusals.
    """
    table, rows, problems = _Table(), 0, list[tuple[int, str]]()
    try:
        stream = read_file_rows(file)
        first = list(islice(stream, _FIRST_ROWS))
        if readable := [row for row in first if not isinstance(row, BrokenRow)]:
            refuse_other_columns(readable, file)
        for rows, row in enumerate(chain(first, stream), 1):
            problems += ((rows, said) for said in table.find_problems(row, rows))
    except HarnessError as error:
        problems.append((0, f"{error.cause.rstrip('.')}. {error.hint}".rstrip()))
    else:
        problems += [] if rows else [(0, "holds no rows")]
    return FileCheck(file, rows, problems, table.warnings | _find_refusals(table.pairs))


class _Table:
    """The pairs of one file, as far as they were read."""

    def __init__(self) -> None:
        self.pairs: dict[int, Pair] = {}
        self.warnings: dict[str, list[int]] = {}
        self._seen: dict[bytes, int] = {}
        self._ids: dict[str, int] = {}
        self._is_chat: bool | None = None

    def find_problems(self, row: PreferenceRow | BrokenRow, number: int) -> Iterator[str]:
        """What is wrong with the next row."""
        try:
            pair = check_pair(row)
        except Undecided:
            self.warnings.setdefault(NEITHER, []).append(number)
            return
        except Unscorable as error:
            yield str(error)
            return
        if len(self.pairs) < MOST_JUDGED:
            self.pairs[number] = pair
        if isinstance(pair.prompt, list) and pair.prompt[-1]["role"] == "assistant":
            self.warnings.setdefault(CONTINUED, []).append(number)
        yield from pair_problems(pair)
        yield from self._compare(pair, number)

    def _compare(self, pair: Pair, number: int) -> Iterator[str]:
        """What is wrong beside the rows before."""
        own = pair.row.get("pair_id")
        if own not in (None, "") and (first := self._ids.setdefault(str(own), number)) != number:
            yield f"its pair_id is that of row {first}"
        if self._is_chat is None:
            self._is_chat = pair.is_conversational
        elif self._is_chat != pair.is_conversational:
            kinds = "a list of messages", "text"
            yield f"is {kinds[self._is_chat]}, where the first pair is {kinds[not self._is_chat]}"
        if pair.chosen == pair.rejected:
            return
        if (first := self._seen.setdefault(_digest(pair.prompt, pair.chosen, pair.rejected), number)) != number:
            yield f"the same pair as row {first}"
        elif turned := self._seen.get(_digest(pair.prompt, pair.rejected, pair.chosen)):
            yield f"the pair of row {turned} the other way round"


def _digest(*texts: Text) -> bytes:
    return hashlib.blake2b(json.dumps(texts, sort_keys=True, default=str).encode(), digest_size=16).digest()


# One pair


def pair_problems(pair: Pair) -> list[str]:
    """What is wrong with a pair by itself."""
    found = [said for name in ("prompt", "chosen", "rejected") for said in _text_problems(name, getattr(pair, name))]
    found += [said for name in ("chosen", "rejected") for said in _answer_problems(name, getattr(pair, name))]
    if _bare(pair.chosen) == _bare(pair.rejected):
        found.append("chosen and rejected are the same")
    if _is_another_prompt(pair):
        found.append("prompt is no turn that chosen and rejected begin with")
    return found


def _text_problems(name: str, said: Text) -> Iterator[str]:
    turns = [] if isinstance(said, str) else said
    if any("\x00" in text for text in ([said] if isinstance(said, str) else _turn_texts(said))):
        yield f"{name} holds a null byte"
    for role in dict.fromkeys(turn["role"] for turn in turns if turn["role"] not in _ROLES):
        yield f"{name} has a turn of the unknown role {printable_line(role, _LONGEST_ROLE)!r}"


def _turn_texts(turns: list[Message]) -> Iterator[str]:
    """The texts of turns; of one in several parts, those of its parts."""
    for turn in turns:
        content = turn.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = (part.get("text") for part in parts if isinstance(part, Mapping))
        yield from (text for text in texts if isinstance(text, str))


def _answer_problems(name: str, answer: Text) -> Iterator[str]:
    if _is_empty(answer):
        yield f"{name} is empty"
    if isinstance(answer, str):
        return
    if asking := next((turn["role"] for turn in answer[:-1] if turn["role"] in _ASKING), None):
        yield (
            f"{name} holds a turn of the {asking}: the prompt again, or conversations that part before their last turn"
        )
    if answer[-1]["role"] != "assistant":
        yield f"{name} does not end with the assistant's turn"


def _is_empty(answer: Text) -> bool:
    if isinstance(answer, str):
        return not answer.strip()
    last = answer[-1]
    content = last.get("content")
    return not last.get("tool_calls") and not (content.strip() if isinstance(content, str) else content)


def _bare(said: Text) -> Any:
    """A text, or turns, without the spaces around."""
    if isinstance(said, str):
        return said.strip()
    return [{name: value.strip() if isinstance(value, str) else value for name, value in turn.items()} for turn in said]


def _is_another_prompt(pair: Pair) -> bool:
    """Whether a prompt stands as text beside conversations that do not hold it, so that it is not trained on."""
    own: Mapping[str, Any] = pair.row
    asked, turns = own.get("prompt"), pair.prompt
    if not isinstance(asked, str) or isinstance(turns, str):
        return False
    return all(not isinstance(turn.get("content"), str) or turn["content"].strip() != asked.strip() for turn in turns)


# Refusals


def _find_refusals(pairs: Mapping[int, Pair]) -> dict[str, list[int]]:
    """The rows whose answers are both refusals: the pairs that displace likelihood most."""
    asked = {number: (_last_text(pair.prompt), pair) for number, pair in pairs.items()}
    both = [*asked]
    for side in ("rejected", "chosen"):  # of mixed pairs the rejected answer is rarely the refusal
        exchanges = [Exchange(asked[number][0], _last_text(getattr(asked[number][1], side))) for number in both]
        verdicts = judge_exchanges("lexical", exchanges)
        both = [number for number, verdict in zip(both, verdicts, strict=True) if verdict.label == "refusal"]
    return {TWO_REFUSALS: both} if both else {}


def _last_text(said: Text) -> str:
    if isinstance(said, str):
        return said
    return next((turn["content"] for turn in reversed(said) if isinstance(turn.get("content"), str)), "")
