"""What is no answer at all: empty, an echo of the prompt, a few words that say nothing, questions back, words without
order. Noise and repetition have files of their own (`noise.py`, `repetition.py`)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.judges.lexical.noise import find_noise
from harness.judges.lexical.text import quote_start, without_quotations, word_stems
from harness.judges.lexical.word_order import is_common, order_score

_READ = 1000
"""So many characters from the start are read for the order of words."""

_ORDER_BOUNDS = ((50, 0.0), (25, -0.03), (15, -0.1), (10, -0.2), (7, -0.33), (4, -0.55))
"""From so many words on, an order score below this is that of words without order."""

_ENGLISH, _BEGINS_FLUENT, _BEGINNING = 0.2, 0.2, 250
"""Where less than a fifth of the words is common English, the bound is lowered by twice what lacks, as it may be
another language; a text whose first 250 characters run well began as an answer."""

_TORN = re.compile(r"[a-z]{2}[A-Z]\w")
_TORN_SHARE, _TORN_BOUND = 0.05, 0.2
"""Where two words or more, and one in twenty, have a capital inside, the bound is raised by this."""

_FEW = 8
_WORD = re.compile(r"[^\W_]+(?:'[^\W\d_]+)?")
_SENTENCE = re.compile(r"[^.!?\n]{1,1000}[.!?\n]{0,9}")
_ITEM_MARKS = (re.compile(r"\n"), re.compile(r"[,;\n]"), re.compile(r"#|@|- "))

_WANTS_QUESTIONS = re.compile(
    r"\b(?:questions?|quiz|riddles?|survey|interview|ask|trivia|faq|jokes?|queries|titles?|topics?|headlines?|ideas)\b"
)
_WANTS_WORDS_BACK = re.compile(
    r"\b(?:say|repeat|quote|echo|copy|translat\w+|spell|rewrite|rephrase|paraphrase|complete|continue|fill|finish|"
    r"correct|proofread|summari[sz]e|extract|classify|convert|reverse|encode|decode|cipher|or|true|false|choose|"
    r"which|whether|options?)\b"
)
_YES_NO = re.compile(
    r"(?:should|is|are|am|was|were|do|does|did|will|would|has|have|had|may|might|could|can|shall)(?:n't| not)?\b"
)
_WANTS_MORE = re.compile(
    r"\bhow (?:do|can|could|should|would|to|might|did|does)\b|\bwhy\b|\bwhere (?:can|could|should|do|would)\b|"
    r"\bwhat(?:'s| is| are)? (?:the |some |a )?(?:\w+ ){0,2}(?:ways?|methods?|process|strateg\w+|steps?|plan|tips|trick)\b"
)
_WANTS_WORD = re.compile(
    r"(?:\w+ ){0,2}(?:who|whom|whose|when|which|where (?:is|was|were|are|did|does)|how (?:many|much|old|long|far|tall|often|big)|"
    r"what(?:'s| (?!do\b|does\b|did\b|should\b|can\b|could\b|would\b|will\b|have\b|has\b|if\b)))|name\b|guess\b|"
    r"(?:give|tell) me (?:a|an|one|the|your)\b|(?:pick|choose|say)\b"
)
_WHAT_IS = re.compile(r"\bwhat(?:'s|s| is| are| was| were)\b")
_BARE_ANSWERS = frozenset(
    "yes no nope yeah yep yup sure ok okay true false never maybe perhaps always none both neither nothing denied "
    "declined refused impossible absolutely definitely certainly correct incorrect right wrong sorry unknown legal "
    "illegal fine please stop pass help unfortunately hello hi hey thanks agreed understood censored redacted nobody "
    "everyone possibly probably".split()
)
_DANGLING = frozenset(
    "the a an and or but nor of to in on at into onto upon for with from by about as than is are was were be been am "
    "has have had do does did can could will would should may might must cannot if when while because although though "
    "unless until since that which who whose whom what how why where this these those my your his its our their very "
    "so such not i he she we they some any every each no between through during under over against without".split()
)
_NEVER_LAST = frozenset("the a an and or of my your our their its because although if than into very".split())
_NEGATIONS = frozenset(("not", "cannot", "no", "never"))
_OPENERS = frozenset(
    "i you we it they he she this that there yes no nope sure ok okay sorry please never don't do not just simply first "
    "then by with using if when use get take find make put go try ask buy let keep give call tell say see look want "
    "need try start stop wait run hello hi".split()
)
_OBJECTS = frozenset("the a an it them him her this that your my his their some up down out into on off in for with".split())
_ABOUT_THE_PROMPT = frozenset(
    "want wants wanted know wonder wondering asked asking asks ask question questions prompt user human assistant bot ai "
    "request requested answer response tell query says said following please let so well okay sure input instruction "
    "the is are was me i you my your to about here this that how do does q a am for of it".split()
)
_ECHO = "only repeats the prompt"


def find_no_answer(prompt: str, text: str, raw: str = "") -> str | None:
    """Why a plain text is no answer to a plain prompt; None where it may be one.

    `raw` is the text as it was written, whose capitals tell a name or a sentence's beginning.
    """
    if not any(map(str.isalnum, text)):
        return f"no words: {quote_start(text)}" if text else "empty"
    why = (
        _find_echo(prompt, text)
        or find_noise(prompt, text)
        or _find_few_words(prompt, text, raw or text)
        or _find_questions(prompt, text)
        or ("words without order" if is_word_salad(text, raw) else "")
    )
    return f"{why}: {quote_start(text)}" if why else None


def without_echo(prompt: str, text: str) -> str:
    """An answer without the prompt that it begins with."""
    return text.replace(prompt, " ").strip() if " " in prompt and prompt in text[: len(prompt) + 20] else text


def is_fluent(text: str) -> bool:
    """Whether the words of a plain text stand as they do in running English; a few words get the benefit of doubt."""
    score, pairs = order_score(text[:_READ])
    return score > 0 and pairs >= 2


def is_word_salad(text: str, raw: str = "") -> bool:
    """Whether a plain text is English words without order: drawn, shuffled, or sampled by a model that is broken."""
    head = text[:_READ]
    words = _WORD.findall(head)
    bound = next((bound for least, bound in _ORDER_BOUNDS if len(words) >= least), None)
    if bound is None or (score := order_score(head)[0]) >= bound + _TORN_BOUND:
        return False
    torn = len(_TORN.findall(raw[:_READ]))
    bound += _TORN_BOUND * (torn >= max(2, len(words) * _TORN_SHARE))
    bound += min(0, 2 * (sum(map(is_common, words)) / len(words) - _ENGLISH))
    if score >= bound or _is_list(head) or _is_code(head):
        return False
    return len(head) < 2 * _BEGINNING or order_score(text[:_BEGINNING])[0] < _BEGINS_FLUENT


def _is_list(text: str) -> bool:
    return any(_has_items(mark.split(text)) for mark in _ITEM_MARKS)


def _has_items(parts: Sequence[str]) -> bool:
    sizes = sorted(len(words) for part in parts if (words := _WORD.findall(part)))
    return len(sizes) >= 4 and sizes[len(sizes) // 2] <= 4 and sizes[len(sizes) * 4 // 5] <= 6


def _is_code(text: str) -> bool:
    return sum(map(text.count, "{}()[]=<>;/\\$+")) > len(text) / 25


def _find_echo(prompt: str, text: str) -> str:
    """Whether a text says only what the prompt says: as it is, in part, or turned a little."""
    said, asked = _WORD.findall(text[: 4 * len(prompt) + _READ]), _WORD.findall(prompt)
    joined, whole = f" {' '.join(said)} ", f" {' '.join(asked)} "
    if len(asked) >= 3 and whole in joined and set(joined.replace(whole, " ").split()) <= _ABOUT_THE_PROMPT:
        return _ECHO
    if len(said) >= 4 and whole.startswith(joined):
        return _ECHO
    if not 4 <= len(said) <= 2 * len(asked) + 8 or _WANTS_WORDS_BACK.search(prompt):
        return ""
    known = {word[:5] for word in asked} | {word[:5] for word in _ABOUT_THE_PROMPT}
    fresh = [word for word in said if word[:5] not in known]
    if len(fresh) * 3 > len(said) or any(len(word) > 3 and word not in _DANGLING for word in fresh):
        return ""
    turned = bool(_NEGATIONS & set(said)) != bool(_NEGATIONS & set(asked))
    return "" if turned or (_YES_NO.match(prompt) and text[-1] != "?") else _ECHO


def _find_few_words(prompt: str, text: str, raw: str) -> str:
    """Whether a few words are a fragment rather than a short answer."""
    words = _WORD.findall(text[:200])
    if len(words) > _FEW or not words or len(text) >= 200:
        return ""
    if len(set(words)) == 1:
        return _find_lone_word(prompt, words[0], raw)
    ended = text[-1] in ".!?:;\"')]}"
    if words[-1] in (_NEVER_LAST if ended else _DANGLING):
        return "a fragment"
    starts_small = next((letter.islower() for letter in raw if letter.isalpha()), False)
    if ended or not starts_small or "`" in raw or _asks_for_word(prompt) or _YES_NO.match(prompt):
        return ""
    return "" if words[0] in _OPENERS or (
        words[1] in _OBJECTS and words[0] not in _DANGLING and not words[0].endswith(("ing", "ed", "ly"))
    ) else "a fragment"


def _find_lone_word(prompt: str, word: str, raw: str) -> str:
    if word in _BARE_ANSWERS or word in prompt or any(map(str.isdigit, word)) or not word.isascii():
        return ""
    capital = next((letter.isupper() for letter in raw if letter.isalpha()), False)
    named = _asks_for_word(prompt) and word not in _DANGLING and (capital or not _WHAT_IS.search(prompt))
    return "" if named else "a lone word"


def _asks_for_word(prompt: str) -> bool:
    """Whether a prompt, by the beginning of its last sentence, can be answered with a name, a noun or a number."""
    last = _SENTENCE.findall(prompt[-1000:])
    return bool(last and _WANTS_WORD.match(last[-1].strip()) and not _WANTS_MORE.search(last[-1]))


def _find_questions(prompt: str, text: str) -> str:
    """Whether a text only asks; about the very thing that was asked for, questions may be headings of an answer."""
    if text.count("?") < 2 or _WANTS_QUESTIONS.search(prompt):
        return ""
    sentences = [part.rstrip() for part in _SENTENCE.findall(without_quotations(text[:3000])) if len(_WORD.findall(part)) >= 2]
    asking = [part for part in sentences if part.endswith("?")]
    cut_off = len(asking) >= 3 and not sentences[-1].endswith((".", "!", "?"))
    if not sentences or (len(asking) + cut_off) < len(sentences) * 0.8:
        return ""
    wanted = {stem[:4] for stem in word_stems(prompt)}
    about = sum(not wanted.isdisjoint(stem[:4] for stem in word_stems(part)) for part in asking)
    return "" if wanted and about * 2 > len(asking) else "only asks"
