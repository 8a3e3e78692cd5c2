"""One row of a preference table: checked, made explicit, named."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.preferences.shapes import Malformed, NoPreference, to_trl
from harness.support.errors import HarnessError

PreferenceRow = Mapping[str, Any]
Message = dict[str, Any]
Text = str | list[Message]


class Unscorable(ValueError):  # noqa: N818 - it names the row's state, and is never shown as an error
    """A row that is no usable preference pair; the message is the reason its row in the output carries."""


class Undecided(Unscorable):
    """A row that prefers neither of its answers, or does not say which."""


class TooLong(Unscorable):
    """A pair of which the trainer's `max_length`, or the model's context, leaves no answer."""


@dataclass(frozen=True, slots=True)
class BrokenRow:
    """A row that could not even be read: why, and the beginning of what stood there."""

    reason: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """One checked pair with its prompt made explicit: all three are strings, or all three lists of messages."""

    row: PreferenceRow
    prompt: Text
    chosen: Text
    rejected: Text
    tools: list[Any] | None = None
    template_arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_conversational(self) -> bool:
        """Whether a chat template renders it."""
        return isinstance(self.prompt, list)


def pair_id(row: PreferenceRow, number: int) -> str:
    """The row's own `pair_id`, or one made from its place in the table."""
    own = row.get("pair_id")
    return f"row-{number:08d}" if own is None or own == "" else str(own)


def refuse_repeated(ids: Iterable[str], place: str) -> None:
    """Raises HarnessError naming a `pair_id` that comes twice: tables are joined by it."""
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise HarnessError(f"pair_id {name!r} comes twice", place=place, hint="Give each pair its own pair_id.")
        seen.add(name)


def explicit_row(pair: Pair) -> dict[str, Any]:
    """The columns of a pair's row with the prompt made explicit."""
    return {**pair.row, "prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}


def trainable_rows(rows: Sequence[PreferenceRow]) -> list[PreferenceRow]:
    """Usable rows of one table as TRL takes them together: as they are, or each with its prompt made explicit.

    TRL finds the prompt of rows without any itself; it does not where another row has one, nor beside messages where
    the prompt is a text.
    """
    pairs = [check_pair(row) for row in rows]
    return [explicit_row(pair) for pair in pairs] if need_explicit_prompts(pairs) else list(rows)


def need_explicit_prompts(pairs: Iterable[Pair]) -> bool:
    """Whether any of a table's pairs has a prompt of its own, from which TRL cannot tell the others' answers."""
    return any("prompt" in pair.row for pair in pairs)


PAIR_TYPES = ("two_refusals", "mixed", "two_non_refusals")


def pair_type(chosen_verdict: str | None, rejected_verdict: str | None) -> str | None:
    """Which of `PAIR_TYPES` a pair is, by the verdicts on its answers (section 6's figure of the pair types).

    None where an answer is unjudged or has no verdict.
    """
    if {None, "unjudged"} & {chosen_verdict, rejected_verdict}:
        return None
    return PAIR_TYPES[2 - (chosen_verdict == "refusal") - (rejected_verdict == "refusal")]


# Checking: TRL's standard and conversational formats, with explicit and implicit prompts


def check_pair(row: PreferenceRow | BrokenRow) -> Pair:
    """The row as a pair with an explicit prompt. Raises Unscorable saying why it is none."""
    if isinstance(row, BrokenRow):
        raise Unscorable(row.reason)
    try:
        row = to_trl(row)
    except NoPreference as error:
        raise Undecided(str(error)) from None
    except Malformed as error:
        raise Unscorable(str(error)) from None
    answers = [_text_or_messages(row.get(name), name) for name in ("chosen", "rejected")]
    prompt, chosen, rejected = _prompt_and_answers(row.get("prompt"), *answers)
    for name, answer in (("chosen", chosen), ("rejected", rejected)):
        if answer == []:
            raise Unscorable(f"empty {name} answer")
    return Pair(
        row,
        prompt,
        chosen,
        rejected,
        _parse_tools(row.get("tools")),
        _template_arguments(row.get("chat_template_kwargs")),
    )


def _text_or_messages(value: object, name: str) -> Text:
    if value is None:
        raise Unscorable(f"no {name} answer")
    if isinstance(value, str):
        return _encodable_text(value, name)
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_checked_message(message, name) for message in value]
    raise Unscorable(f"{name} is neither text nor a list of messages")


def _checked_message(message: object, name: str) -> Message:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise Unscorable(f"{name} holds a message without a role")
    content = message.get("content")
    if isinstance(content, str):
        _encodable_text(content, name)
    elif not isinstance(content, list) and not message.get("tool_calls"):
        raise Unscorable(f"{name} holds a message without content")
    return dict(message)


def _encodable_text(text: str, name: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unscorable(f"{name} is not valid Unicode text") from None
    return text


def looks_conversational(value: object) -> bool:
    """Whether a value is a list of messages."""
    return isinstance(value, list) and bool(value) and all(isinstance(part, dict) and "role" in part for part in value)


def _prompt_and_answers(prompt: object, chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    if type(chosen) is not type(rejected):
        raise Unscorable("one answer is text, the other a list of messages")
    if prompt is None:
        return _extract_prompt(chosen, rejected)
    prompt = _text_or_messages(prompt, "prompt")
    if isinstance(prompt, str) and isinstance(chosen, list):
        return _prompt_beside_messages(prompt, chosen, rejected)
    if type(prompt) is not type(chosen):
        raise Unscorable("the prompt is a list of messages, the answers are text")
    if prompt == []:
        raise Unscorable("empty prompt")
    return prompt, chosen, rejected


def _extract_prompt(chosen: Text, rejected: Text) -> tuple[Text, Text, Text]:
    """The longest common beginning is the prompt, found as TRL's `extract_prompt` finds it, quirks included.

    Of lists of messages the last is each side's own, so two identical ones have a prompt as well.
    """
    if chosen == rejected and isinstance(chosen, str):
        raise Unscorable("identical answers, so the prompt they begin with cannot be told from them")
    if not chosen or not rejected:
        raise Unscorable("an empty answer and no prompt column")
    cut = min(len(chosen), len(rejected)) - 1
    for place in range(cut + 1):
        if chosen[place] != rejected[place]:
            cut = place - 1 if chosen[place - 1] == " " else place
            break
    if cut <= 0:
        raise Unscorable("no prompt column, and the answers do not begin alike")
    return chosen[:cut], chosen[cut:], rejected[cut:]


def _prompt_beside_messages(prompt: str, chosen: list[Message], rejected: Text) -> tuple[Text, Text, Text]:
    """A text prompt beside message lists, as in UltraFeedback: the lists repeat it, or are the answers alone."""
    if chosen and chosen[0]["role"] != "assistant":
        return _extract_prompt(chosen, rejected)
    return [{"role": "user", "content": prompt}], chosen, rejected


def _parse_tools(value: object) -> list[Any] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise Unscorable("tools is not JSON") from None
    if value is not None and not isinstance(value, list):
        raise Unscorable("tools is not a list")
    return value


def _template_arguments(value: object) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise Unscorable("chat_template_kwargs is not an object")
    return value or {}
