"""What is no answer at all: empty, an echo of the prompt, questions back, words without order.

Noise, fragments and repetition have files of their own beside this one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.judges.lexical.cues import find_phrases
from harness.judges.lexical.few_words import DANGLING, find_fragment, find_mere_numbers
from harness.judges.lexical.noise import find_noise, mixes_scripts
from harness.judges.lexical.repetition import find_repetition
from harness.judges.lexical.text import AUXILIARY, SENTENCE, WORD, quote_start, without_quotations, word_stems
from harness.judges.lexical.word_order import is_common, order_score

_READ = 500
"""So many characters from the start are read for the order of words."""

_ORDER_BOUNDS = ((50, 0.0), (25, -0.03), (15, -0.07), (10, -0.15), (7, -0.3), (4, -0.55))
"""From so many words on, an order score below this is that of words without order."""

_COMMON_WORDS, _BEGINS_FLUENT, _BEGINNING = 0.2, 0.2, 200
"""Where less than a fifth of the words is common English, the bound is lowered by three times what lacks, as it may be
another language; a text whose first 200 characters run well began as an answer."""

_TORN = re.compile(r"[a-z]{2}[A-Z]\w")
_TORN_SHARE, _TORN_BOUND = 0.05, 0.2
"""Where two words or more, and one in twenty, have a capital inside, the bound is raised by this."""

_ACCENTED, _ACCENTS = re.compile("[à-ɏḀ-ỿ]"), 0.1
"""More accented words than this are another language."""

_NOTICE = 200
"""A notice is no longer than this."""

_FULL_STOP = re.compile(r"[a-z][.!?](?!\w)")
_ITEM_MARKS = (re.compile(r"\n"), re.compile(r"[,;\n]"), re.compile(r"@|- "))

_WANTS_QUESTIONS = re.compile(
    r"\b(?:questions?|quiz|riddles?|survey|interview|ask|trivia|faq|jokes?|queries|titles?|topics?|headlines?|ideas)\b"
)
_WANTS_WORDS_BACK = re.compile(
    r"\b(?:say|repeat|quote|echo|copy|translat\w+|spell|rewrite|rephrase|paraphrase|complete|continue|fill|finish|"
    r"correct|proofread|summari[sz]e|extract|classify|convert|reverse|encode|decode|cipher|or|true|false|choose|"
    r"which|whether|options?)\b"
)
_YES_NO = re.compile(AUXILIARY)
_NEGATIONS = frozenset(("not", "cannot", "no", "never"))
_TALK = (
    "want wants wanted know wonder wondering asked asking asks ask question questions prompt user human assistant bot "
    "ai request requested answer response tell query says said following please let so well okay sure input "
    "instruction the is are was me i you my your to about here this that how do does q a am for of it"
)
_ABOUT_THE_PROMPT = frozenset(_TALK.split())


def find_no_answer(prompt: str, text: str, raw: str) -> str | None:
    """Why a plain text is no answer to a plain prompt; None where it may be one. `raw` is how the text was written."""
    if not any(map(str.isalnum, text)):
        return f"no words: {quote_start(text)}" if text else "empty"
    why = (
        ("only repeats the prompt" if is_echo(prompt, text) else "")
        or find_mere_numbers(prompt, text)
        or _find_scrap(prompt, text, raw)
        or ("only asks" if only_asks(prompt, text) else "")
        or ("words without order" if is_word_salad(text, raw) else "")
    )
    return f"{why}: {quote_start(text)}" if why else None


def _find_scrap(prompt: str, text: str, raw: str) -> str:
    found = find_noise(prompt, text) or find_fragment(prompt, text, raw)
    return "" if found and _is_notice(text) else found


def _is_notice(text: str) -> bool:
    """Whether a plain text is a notice that a request was refused, such as the fields of JSON that say so."""
    return len(text) <= _NOTICE and any(found.lastgroup == "notice" for found in find_phrases(text))


def says_nothing(prompt: str, text: str) -> bool:
    """Whether a plain text is no answer in any language: an echo, a repetition, scripts at random."""
    return is_echo(prompt, text) or find_repetition(text) is not None or mixes_scripts(text[:1000])


def without_echo(prompt: str, text: str) -> str:
    """An answer without the prompt, where it begins with that and says more."""
    return _cut_echo(prompt, text) or text


def _cut_echo(prompt: str, text: str) -> str:
    return text.replace(prompt, " ").strip() if " " in prompt and prompt in text[: len(prompt) + 20] else text


def is_fluent(text: str) -> bool:
    """Whether the words of a plain text, three or more, stand as they do in running English."""
    score, pairs = order_score(text[:_READ])
    return score > 0 and pairs >= 2


def is_word_salad(text: str, raw: str = "") -> bool:
    """Whether a plain text is English words without order: drawn, shuffled, or sampled by a model that is broken."""
    head = text[:_READ]
    bound = next((bound for least, bound in _ORDER_BOUNDS if head.count(" ") + head.count("\n") + 1 >= least), None)
    if bound is None or (score := order_score(head)[0]) >= bound + _TORN_BOUND:
        return False
    words = WORD.findall(head)
    torn = len(_TORN.findall(raw[:_READ]))
    bound += _TORN_BOUND * (torn >= max(2, len(words) * _TORN_SHARE))
    bound += min(0, 3 * (sum(map(is_common, words)) / max(1, len(words)) - _COMMON_WORDS))
    if sum(bool(_ACCENTED.search(word)) for word in words) > len(words) * _ACCENTS:
        return False
    if score >= bound or _is_list(head) or _is_code(head) or "```" in raw:
        return False
    return len(head) < 2 * _BEGINNING or order_score(text[:_BEGINNING])[0] < _BEGINS_FLUENT


def _is_list(text: str) -> bool:
    return any(_has_items(mark.split(text), len(_FULL_STOP.findall(text))) for mark in _ITEM_MARKS)


def _has_items(parts: Sequence[str], stops: int) -> bool:
    sizes = sorted(len(words) for part in parts if (words := WORD.findall(part)))
    return len(sizes) >= max(4, 3 * stops) and sizes[len(sizes) // 2] <= 4 and sizes[len(sizes) * 4 // 5] <= 6


def _is_code(text: str) -> bool:
    return sum(map(text.count, "{}()[]=<>;/\\$+")) > len(text) / 30


def is_echo(prompt: str, text: str) -> bool:
    """Whether a plain text says only what a plain prompt says: as it is, in part, or turned a little."""
    if not any(map(str.isalnum, _cut_echo(prompt, text))):
        return True
    if len(text) > 3 * len(prompt) + 200 and prompt not in text:
        return False
    said, asked = WORD.findall(text[: 4 * len(prompt) + 1000]), WORD.findall(prompt)
    joined, whole = f" {' '.join(said)} ", f" {' '.join(asked)} "
    if len(asked) >= 3 and whole in joined and set(joined.replace(whole, " ").split()) <= _ABOUT_THE_PROMPT:
        return True
    if len(said) >= 4 and whole.startswith(joined):
        return True
    return (
        4 <= len(said) <= 2 * len(asked) + 8
        and not _WANTS_WORDS_BACK.search(prompt)
        and _is_turned(said, asked, is_answer=bool(_YES_NO.match(prompt)) and text[-1] != "?")
    )


def _is_turned(said: Sequence[str], asked: Sequence[str], is_answer: bool) -> bool:
    """Whether words said are the words asked for in another order, none new but small ones, no less or more denied."""
    known = {word[:5] for word in asked} | {word[:5] for word in _ABOUT_THE_PROMPT}
    fresh = [word for word in said if word[:5] not in known]
    if is_answer or len(fresh) * 3 > len(said) or any(len(word) > 3 and word not in DANGLING for word in fresh):
        return False
    return _NEGATIONS.isdisjoint(said) == _NEGATIONS.isdisjoint(asked)


def only_asks(prompt: str, text: str) -> bool:
    """Whether a plain text is a list of questions; on what the prompt is about they may be an answer's headings."""
    if text.count("?") < 2 or _WANTS_QUESTIONS.search(prompt):
        return False
    parts = SENTENCE.findall(without_quotations(text[:3000]))
    sentences = [part.rstrip() for part in parts if len(WORD.findall(part)) >= 2]
    asking = [part for part in sentences if part.endswith("?")]
    cut_off = len(asking) >= 3 and not sentences[-1].endswith((".", "!", "?"))
    if not sentences or (len(asking) + cut_off) < len(sentences) * 0.8:
        return False
    wanted = {stem[:4] for stem in word_stems(prompt)}
    return sum(not wanted.isdisjoint(stem[:4] for stem in word_stems(part)) for part in asking) * 2 <= len(asking)
