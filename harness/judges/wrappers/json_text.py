"""An answer given as JSON, as the text that a reader would read in it; broken and cut-off JSON is read as well.

So is what Python writes for a dict or a list: single quotation marks, `None` and `False`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_BEGINS = re.compile(
    r"""\{\s{0,200}(?:"[^"\n]{0,80}(?:"\s{0,20}:|\Z)|'[^'\n]{0,80}(?:'\s{0,20}:|\Z))|\[\s{0,200}(?:["']|\{\s{0,200}["'])"""
)
# A quotation mark ends a string only before what can follow one: models forget to escape those inside.
_TOKEN = re.compile(
    r'"(?P<text>(?:[^"\\]|\\(?:.|\Z)|"(?!\s{0,200}(?:[,:}\]]|\Z)))*+)(?:"(?P<key>\s{0,200}:)?)?'
    r"|'(?P<single>(?:[^'\\]|\\(?:.|\Z)|'(?!\s{0,200}(?:[,:}\]]|\Z)))*+)(?:'(?P<single_key>\s{0,200}:)?)?"
    r'|(?P<mark>[{}\[\]])|[\s,:]++|(?P<word>[^"{}\[\],:\s][^"{}\[\],:\n]*+)',
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.)|\Z)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\n", "b": "", "f": "\n"}
_SURROGATE = re.compile("[\ud800-\udfff]")

_ANSWER_KEYS = frozenset(
    {"answer", "assistant", "body", "completion", "content", "final", "final_answer", "generated_text", "message"}
    | {"output", "output_text", "refusal", "reply", "response", "result", "text"}
)
_REASONING_KEYS = frozenset(
    {"analysis", "chain_of_thought", "reasoning", "reasoning_content", "reflection", "scratchpad", "thinking"}
    | {"thought", "thoughts"}
)
_RECORD_KEYS = frozenset(
    {"created", "finish_reason", "id", "index", "logprobs", "model", "object", "role", "timestamp"}
)
_KINDS = frozenset({"json", "message", "object", "output_text", "text"})
"""Values of `type` that say nothing of an answer."""
_TELLING_KEYS = frozenset(
    {"blocked", "code", "error", "flagged", "reason", "refusal", "refused", "status", "success", "warning"}
)
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
    scan = _Scan()
    rest = scan.read_text(text)
    spoken = _drop_other_turns(scan.leaves, scan.outer)
    answered = any(leaf.key in _ANSWER_KEYS and leaf.quoted and leaf.value.strip() for leaf in spoken)
    kept = [leaf for leaf in spoken if not (answered and leaf.key in _REASONING_KEYS)]
    lines = [line for leaf in kept if (line := _leaf_line(leaf))]
    return "\n".join([*lines, rest]).strip(), len(kept) < len(spoken)


@dataclass(slots=True)
class _Scan:
    """The scalars of a JSON text, each object's next outer one, the objects that are open, and the key read last.

    A flat scan and not a parser: depth costs no recursion, and it goes on where the syntax is broken.
    """

    leaves: list[_Leaf] = field(default_factory=list)
    outer: list[int] = field(default_factory=lambda: [0])
    open_marks: list[int] = field(default_factory=list)
    key: str = ""

    @property
    def owner(self) -> int:
        """The number of the innermost open object, 0 outside of all."""
        return self.open_marks[-1] if self.open_marks else 0

    def read_text(self, text: str) -> str:
        """Reads a text; returns what follows the JSON in it."""
        for token in _TOKEN.finditer(text):
            if mark := token["mark"]:
                self._take_mark(mark)
                if not self.open_marks and not _goes_on(text, token.end()):
                    return text[token.end() :].strip()
                continue
            value = token["single"] if token["text"] is None else token["text"]
            if value is not None and (token["key"] or token["single_key"]):
                self.key = _unescape(value).strip().lower()
            elif value is not None:
                self._add_leaf(_unescape(value), quoted=True)
            elif word := token["word"]:
                self._add_leaf(word.strip(), quoted=False)
        return ""

    def _take_mark(self, mark: str) -> None:
        self.key = ""
        if mark == "{":
            self.outer.append(self.owner)
            self.open_marks.append(len(self.outer) - 1)
        elif mark == "[":
            self.open_marks.append(self.owner)
        elif self.open_marks:
            self.open_marks.pop()

    def _add_leaf(self, value: str, *, quoted: bool) -> None:
        self.leaves.append(_Leaf(self.key, value, quoted, self.owner))
        self.key = ""


def _goes_on(text: str, end: int) -> bool:
    """Whether behind a closed object another one comes, as in JSON lines."""
    return begins_as_json(text[end : end + 400].lstrip(" ,\r\n\t"))


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(
        lambda found: chr(int(code, 16)) if (code := found[1] or found[2]) else _ESCAPED.get(found[3], found[3] or ""),
        text,
    )
    if _SURROGATE.search(plain):
        plain = plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return plain


def _drop_other_turns(leaves: list[_Leaf], outer: list[int]) -> list[_Leaf]:
    """Without what stands under another role than the assistant's; all of it where the assistant says nothing."""
    roles = {leaf.owner: leaf.value.strip().lower() for leaf in leaves if leaf.key == "role"}
    if "assistant" not in roles.values():
        return leaves
    spoken, answered = list[_Leaf](), False
    for leaf in leaves:
        role = roles.get(leaf.owner) or roles.get(outer[leaf.owner], "assistant")
        if role == "assistant":
            spoken.append(leaf)
            answered = answered or (leaf.key not in _RECORD_KEYS and bool(leaf.value.strip()))
        elif role == "user" and answered:
            break
    return spoken


def _leaf_line(leaf: _Leaf) -> str:
    key, value = leaf.key, leaf.value.strip()
    if not value or key in _RECORD_KEYS or (key == "type" and value in _KINDS):
        return ""
    if not leaf.quoted and (value in {"null", "None"} or (value.lower() == "false" and key in _TELLING_KEYS)):
        return ""
    told = key in _TELLING_KEYS or not leaf.quoted or len(value.split()) < _SELF_EVIDENT_WORDS
    if key and told and not (key in _ANSWER_KEYS and leaf.quoted):
        return f"{key.replace('_', ' ')}: {value}"
    return value
