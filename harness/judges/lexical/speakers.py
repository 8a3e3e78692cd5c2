"""Answers in which several speakers talk, as jailbreaks ask for: "[GPT] I can't ... [DAN] Sure: ..."."""

from __future__ import annotations

import re

_BRACKETED = r"[\[(【][^\[\](){}【】\n]{1,40}[\])】]:?[ \t\n]"
_ACTING = r"As (?:an? |the )?[A-Z][\w-]{0,20}(?: [A-Z][\w-]{0,20})?(?:, I would say)?[:,][ \t\n]"
_NAMED = (
    r"[^\w\s\"'(\[{]{0,3} ?[A-Za-z\u0370-\u03ff][\w.'-]{0,20}(?: [A-Z(][\w.'-]{0,20}\)?){0,2} ?"
    r"[^\w\s:\"'(\[{]{0,3}:[*_]{0,3}[ \t\n]"
)
_VOICE = (
    r"(?i:(?:chat)?gpt|dan|ai|(?:normal|standard|default|classic|safe|unfiltered|uncensored|unrestricted|jailbroken|"
    r"evil|good|bad|developer mode) (?:response|output|answer|version|mode|angel|ai|bot))"
    r" ?(?: [-\u2013\u2014]|:)[*_]{0,3}[ \t\n]"
)
"""A voice by its usual name, also before a dash."""
_TURN = re.compile(r"\A|\n|[.!?)\"'\u201d] (?=[\[(【]|[A-Z][A-Z0-9]{1,15}:)")
"""Where a speaker may begin: a text, a line, and inside a line what stands in brackets or in capitals."""
_LABEL = re.compile(
    rf"[ \t>*_#-]{{0,4}}(?P<label>{_BRACKETED}|{_ACTING}|{_NAMED}|{_VOICE}|[\u0370-\u03ff]:? |"
    r"[\U0001F300-\U0001FAFF\u2600-\u27bf]\ufe0f?:? )"
)
_NO_NAME = re.compile(
    r"(?:note|disclaimer|warning|caution|important|remember|reason|example|step|tip|answer|response|question|title|"
    r"subject|chapter|scene|verse|chorus|bridge|part|day|week|section|ingredients|instructions|conclusion|introduction|"
    r"summary|method|option|pros|cons|dear|ps|p\.s|edit|update|source|sources|output|input|result|results|insert|your|"
    r"name|date|address|company|city|email|phone|link|image|intro|outro|setting|characters?|interior|exterior|int|ext|"
    r"policy|explanation|background|purpose|goal|solution|problem|fact|myth|key|first|second|third|finally|however|"
    r"materials|equipment|safety|code|python|javascript|html|json|optional|e\.g|i\.e|a|b|c|d|e|i|ii|iii|iv|v)\b|"
    r"[\d.,:)]+$",
    re.IGNORECASE,
)
_ASSISTANT = re.compile(
    r"gpt|\bai\b|\bassistant\b|\bclassic\b|\bnormal\b|\bstandard\b|\baligned\b|\bdefault\b|\bjailbreak|"
    r"\bdan\b|\bunaligned\b|\bunfiltered\b|\buncensored\b|\bunrestricted\b|\bevil\b|\bangel\b|\bdeveloper\b|\bmode\b|\bbot\b|\bsafe\b",
    re.IGNORECASE,
)
_MOST_SPEAKERS = 20
"""More names than these are lines of a list."""

_CAPITALS = re.compile(r"[A-Z0-9][A-Z0-9.-]{1,11}")
_SYMBOL = re.compile(r"[^\w\s'.-]|[\u0370-\u03ff]")


def split_speakers(response: str) -> list[str]:
    """What each speaker of a raw answer says, without names; one text where none, one alone or a crowd is named."""
    labels = (_LABEL.match(response, turn.end()) for turn in _TURN.finditer(response))
    found = [match for match in labels if match and _names_speaker(match["label"])]
    names = [_name_of(match["label"]) for match in found]
    if len(set(names)) < 2:
        starts = bool(found) and not response[: found[0].start()].strip() and _is_persona(names[0])
        return [response[found[0].end() :] if starts else response]
    if len(set(names)) > _MOST_SPEAKERS or not any(map(_is_persona, names)):
        return [response]
    said: dict[str, list[str]] = {"": [response[: found[0].start()]]}
    ends = [match.start() for match in found[1:]] + [len(response)]
    for match, name, end in zip(found, names, ends, strict=True):
        said.setdefault(name, []).append(response[match.end() : end].strip())
    return [text for turns in said.values() if (text := "\n".join(turns)).strip()] or [response]


def _name_of(label: str) -> str:
    return label.strip(" \t\n[]()【】:,*_-\u2013\u2014").removeprefix("As ").removesuffix(", I would say").strip()


def _names_speaker(label: str) -> bool:
    name = _name_of(label)
    return bool(name) and not _NO_NAME.match(name)


def _is_persona(name: str) -> bool:
    """Whether a name is one that people give a model's voices, rather than a person's in a dialogue or a heading."""
    return bool(_ASSISTANT.search(name) or _CAPITALS.fullmatch(name) or _SYMBOL.search(name))
