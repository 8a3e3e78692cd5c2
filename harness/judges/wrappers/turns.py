"""Chat templates in a model's text: roles and special tokens around its answer, and turns that it made up after it."""

from __future__ import annotations

import re

_SPECIAL_MARK = (
    r"<\|[A-Za-z][\w▁ ]{0,40}\|>|<｜[^<>｜\n]{1,40}｜>|</?(?i:s|pad|eos|bos|unk)>"
    r"|\[/?(?:INST|PAD|UNK|EOS|BOS|SEP|CLS)\]|<(?:start|end)_of_turn>|<{1,2}/?SYS>>|<\|turn>|<turn\|>"
)
_ROLE_START = r"(?:<\|(?:im_start|start|role_start|start_header_id)\|>|<start_of_turn>|<\|turn>)\s?"
_ANSWERER = (
    rf"{_ROLE_START}(?:assistant|model)\b(?:<\|(?:end_header_id|im_sep|message|role_end)\|>)?"
    r"|<\|(?:assistant|bot|model|CHATBOT_TOKEN)\|>|<｜Assistant｜>"
)
_ASKER = (
    rf"{_ROLE_START}(?:user|human|system|developer)\b|<\|(?:user|human|prompter|system|USER_TOKEN)\|>"
    r"|<｜User｜>|\[INST\]"
)
_ASKER_HEADING = r"#{2,4} ?(?:Instruction|Human|User) ?:"
_SPECIAL = re.compile(rf"{_ANSWERER}|{_SPECIAL_MARK}")
_START = re.compile(
    rf"(?:(?:{_ANSWERER}|{_SPECIAL_MARK}|(?:assistant|model)[ \t]*\n|final(?=[A-Z])"
    r"|#{2,4} ?(?:Response|Assistant|Answer) ?:|(?:\*\*)?(?:Assistant|ASSISTANT)(?:\*\*)?:(?:\*\*)?)\s*+)++"
)
_ASKED_FIRST = re.compile(rf"(?:(?!{_ASKER})(?:{_SPECIAL_MARK})\s*+)*+(?:{_ASKER}|{_ASKER_HEADING})")
_ANSWERED = re.compile(rf"{_ANSWERER}|\[/INST\]|\n#{{2,4}} ?(?:Response|Assistant) ?:")

_TURN = re.compile(
    rf"(?P<certain>{_ASKER}|\n{_ASKER_HEADING}|(?:(?<=[^\w\s])|\n)(?:user|human)\n)"
    r"|\n[ \t]{0,4}\*{0,3}(?P<label>User|USER|Human|HUMAN|Question|QUESTION|Q) ?\d{0,2}\*{0,3}:"
)
_LABEL_AHEAD = re.compile(r"\n[ \t]{0,4}(?:\*{0,3}(?:[Uu]s|US|[Hh]u|HU|Q)|#{2,4} ?[IHU])")
_SPEAKER = re.compile(
    r"(?:\A|\n)[ \t]{0,4}\*{0,3}(?:User|USER|Human|HUMAN|Question|QUESTION|Q|A|AI|Answer|ANSWER|Assistant|ASSISTANT|"
    r"Bot|Chatbot)(?: ?\d{1,2})?\*{0,3}:"
)
_REPLY = re.compile(
    r"\n[ \t]{0,4}\*{0,3}(?:Assistant|ASSISTANT|AI|Bot|Chatbot|Answer|ANSWER|A|Response)(?: ?\d{1,2})?\*{0,3}:"
)
_QUESTION_FIRST = re.compile(r"\*{0,3}(?:Q|Question|QUESTION)\*{0,3} ?:")
_CHOICE = re.compile(r"\n[ \t]{0,4}\*{0,3}\(?B[.):]")
_HEADING = re.compile(
    r"#{1,6} |\*\*[^*\n]{1,200}\*\*:?\Z|\[[^\]\n]{1,200}\]\Z|\([^)\n]{1,200}\)\Z|[-*_]{3,}\Z"
    r"|[\w ]{1,20}:[^\n]{0,40}[^\n.!?]\Z"
)
_LEADS_ON = re.compile(r":[*_]{0,3}\Z")
_SENTENCE_ENDS = ".!?)\"”*'"
_PRESENTS = re.compile(
    r"\b(?:here(?:'s|’s| is| are)|below|following|imagine)\b.{0,200}\b(?:dialog(?:ue)?s?|conversations?|scripts?|"
    r"interviews?|transcripts?|chats?|exchanges?|faqs?|q&as?|questions?|quiz(?:zes)?)\b",
    re.IGNORECASE,
)
_AHEAD = 2000
"""So far behind a label a reply to it is looked for."""


def may_hold_turns(text: str) -> bool:
    """A quick look: whether a text may begin with a role, or have a made-up turn without special tokens."""
    return (
        "user\n" in text
        or "human\n" in text
        or _LABEL_AHEAD.search(text) is not None
        or _START.match(text) is not None
        or _QUESTION_FIRST.match(text) is not None
    )


def cut_template_start(text: str) -> str | None:
    """The text behind a role's header, or behind the prompt where a model repeats it in its template; None without.

    A question under `Q:` is such a prompt where one answer to it follows, and neither choices nor another question.
    """
    if text[:1] in "<[#" and _ASKED_FIRST.match(text) and (header := _ANSWERED.search(text)):
        return text[header.end() :]
    if found := _START.match(text):
        return text[found.end() :]
    asked = _QUESTION_FIRST.match(text)
    reply = asked and _REPLY.search(text, asked.end(), asked.end() + _AHEAD)
    if not reply or _SPEAKER.search(text, reply.end()) or _CHOICE.search(text, reply.end()):
        return None
    return text[reply.end() :].lstrip("*" if "*" in reply[0] else None)


def without_special_tokens(text: str) -> str:
    """The text without the special tokens of the usual chat templates."""
    return _SPECIAL.sub("\n", text) if "<" in text or "[" in text else text


def find_next_turn(text: str) -> int | None:
    """Where a made-up turn of the one who asks begins, behind an answer; None without one.

    A label such as `User:` counts only where it is no part of a dialogue that the answer presents.
    """
    if not ("<" in text or "[INST]" in text or may_hold_turns(text)):
        return None
    said, end = False, 0
    for found in _TURN.finditer(text):
        said = said or any(map(str.isalnum, without_special_tokens(text[end : found.start()])))
        end = found.end()
        if said:
            return found.start() if found["certain"] or _is_made_up(text, found) else None
    return None


def _is_made_up(text: str, label: re.Match[str]) -> bool:
    """Whether a labelled turn goes on behind a finished answer, rather than in a dialogue, a list or a form."""
    before = without_special_tokens(text[: label.start()]).strip()
    last = before.rpartition("\n")[2].strip()
    is_title = last == before and " " in before and before[-1].isalnum()
    if is_title or _LEADS_ON.search(before[-10:]) or _HEADING.match(last) or _SPEAKER.search(before):
        return False
    if _PRESENTS.search(before[-300:]):
        return False
    if _REPLY.search(text, label.end(), label.end() + _AHEAD):
        return True
    apart = text[: label.start() + 1].endswith("\n\n") or "\n" not in text[label.end() :]
    return apart and before[-1] in _SENTENCE_ENDS and label["label"] not in {"Q", "Question", "QUESTION"}
