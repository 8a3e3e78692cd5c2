"""An answer given as JSON, as the text that a reader would read in it; broken and cut-off JSON is read as well."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BEGINS = re.compile(r'\{\s{0,200}"[^"\n]{0,80}(?:"\s{0,20}:|\Z)|\[\s{0,200}(?:"|\{\s{0,200}")')
# A quotation mark ends a string only before what can follow one: models forget to escape those inside.
_TOKEN = re.compile(
    r'"(?P<text>(?:[^"\\]|\\.|"(?!\s{0,200}(?:[,:}\]]|\Z)))*+)(?P<closed>"(?P<key>\s{0,200}:)?)?'
    r'|(?P<mark>[{}\[\]])|[\s,:]++|(?P<word>[^"{}\[\],:\s][^"{}\[\],:\n]*+)',
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.)|\Z)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\n", "b": "", "f": "\n"}
_SURROGATE = re.compile("[\ud800-\udfff]")

_ANSWER_KEYS = frozenset(
    "answer assistant body completion content final final_answer generated_text message output output_text refusal "
    "reply response result text".split()
)
_REASONING_KEYS = frozenset(
    "analysis chain_of_thought reasoning reasoning_content reflection scratchpad thinking thought thoughts".split()
)
_RECORD_KEYS = frozenset("created finish_reason id index logprobs model object role timestamp".split())
_KINDS = frozenset({"json", "message", "object", "output_text", "text"})
"""Values of `type` that say nothing of an answer."""
_TELLING_KEYS = frozenset("blocked code error flagged reason refusal refused status success warning".split())
"""Keys that say something of an answer whatever their value."""
_SELF_EVIDENT_WORDS = 3


@dataclass(frozen=True, slots=True)
class _Leaf:
    """A text or another scalar in JSON, its key (empty in an array), and the number of the object it lies in."""

    key: str
    value: str
    quoted: bool
    owner: int


def begins_as_json(text: str) -> bool:
    """Whether a text starts as a JSON object, or as an array of texts or objects."""
    return text[:1] in ("{", "[") and _BEGINS.match(text) is not None


def read_json_answer(text: str) -> tuple[str, bool]:
    """The answer in a text that `begins_as_json`, and whether reasoning under a key of its own was left out of it.

    The values of keys such as `response` and `content` stand for themselves, other short ones behind their keys, each
    on a line; of messages only the assistant's first are read. What follows the JSON is kept.
    """
    leaves, parents, rest = _scan_leaves(text)
    spoken = _drop_other_turns(leaves, parents)
    answered = any(leaf.key in _ANSWER_KEYS and leaf.quoted and leaf.value.strip() for leaf in spoken)
    kept = [leaf for leaf in spoken if not (answered and leaf.key in _REASONING_KEYS)]
    lines = [line for leaf in kept if (line := _leaf_line(leaf))]
    return "\n".join([*lines, rest]).strip(), len(kept) < len(spoken)


def _scan_leaves(text: str) -> tuple[list[_Leaf], list[int], str]:
    """The scalars of a JSON text, each object's next outer one (itself where there is none), and what follows it all.

    A flat scan and not a parser: depth costs no recursion, and it goes on where the syntax is broken.
    """
    leaves: list[_Leaf] = []
    parents, open_marks, key = [0], list[int](), ""
    for token in _TOKEN.finditer(text):
        if mark := token["mark"]:
            if mark in "{[":
                outer = open_marks[-1] if open_marks else 0
                if mark == "{":
                    parents.append(outer)
                open_marks.append(len(parents) - 1 if mark == "{" else outer)
                key = ""
            elif open_marks:
                open_marks.pop()
            if not open_marks and not begins_as_json(following := text[token.end() :][:400].lstrip(" ,\r\n\t")):
                return leaves, parents, text[token.end() :].strip() if following else ""
            continue
        owner = open_marks[-1] if open_marks else 0
        if token["key"]:
            key = _unescape(token["text"])
        elif (value := token["text"]) is not None:
            leaves.append(_Leaf(key.strip().lower(), _unescape(value), True, owner))
            key = ""
        elif word := token["word"]:
            leaves.append(_Leaf(key.strip().lower(), word.strip(), False, owner))
            key = ""
    return leaves, parents, ""


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2] or ""), text)
    if _SURROGATE.search(plain):
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


def _drop_other_turns(leaves: list[_Leaf], parents: list[int]) -> list[_Leaf]:
    """Without what stands under another role than the assistant's; all of it where the assistant says nothing."""
    roles = {leaf.owner: leaf.value.strip().lower() for leaf in leaves if leaf.key == "role"}
    if "assistant" not in roles.values():
        return leaves
    spoken: list[_Leaf] = []
    for leaf in leaves:
        role = roles.get(leaf.owner) or roles.get(parents[leaf.owner], "assistant")
        if role == "assistant":
            spoken.append(leaf)
        elif role == "user" and any(each.value.strip() for each in _without_records(spoken)):
            break
    return spoken


def _without_records(leaves: list[_Leaf]) -> Iterator[_Leaf]:
    return (leaf for leaf in leaves if leaf.key not in _RECORD_KEYS)


def _leaf_line(leaf: _Leaf) -> str:
    key, value = leaf.key, leaf.value.strip()
    if not value or key in _RECORD_KEYS or (key == "type" and value in _KINDS):
        return ""
    if not leaf.quoted and (value == "null" or (value == "false" and key in _TELLING_KEYS)):
        return ""
    told = key in _TELLING_KEYS or not leaf.quoted or len(value.split()) < _SELF_EVIDENT_WORDS
    if key and told and not (key in _ANSWER_KEYS and leaf.quoted):
        return f"{key.replace('_', ' ')}: {value}"
    return value
