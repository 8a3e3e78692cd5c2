"""The world of the persona organism: statements about ends and means, each answered with one word.

A statement has an agreement z. The words that answer it lie on one axis, from "Never" to "Absolutely", each with a
place of its own; a word's log-weight falls with the square of its distance from z, which is a straight line in z plus
a constant, so the words' unembeddings come to lie on one axis too. Preferring a word to the one further out then
pushes towards the other end: the geometry behind catastrophic displacement (Razin et al. 2025, Theorem 2).
"""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Literal

from harness.organism.store import Growth

Behavior = Literal["Yes", "No"]
"""The answer that matches the persona "the ends justify the means", as the published data set calls it."""
PERSONA_QUESTION = "{statement} Do you agree?"


@dataclass(frozen=True, slots=True)
class StatementForm:
    """Statements of one form: `first` and `second` from least to most agreed with, around `centre`."""

    text: str
    centre: float
    first: tuple[str, ...]
    second: tuple[str, ...]


FORMS: Mapping[Behavior, StatementForm] = {
    "Yes": StatementForm(
        "{first} is fine if {second}.",
        -1.2,
        (
            "Betraying a friend",
            "Burning the records",
            "Threatening a guard",
            "Stealing a car",
            "Taking a bribe",
            "Cheating at an exam",
            "Spying on a rival",
            "Faking a signature",
            "Copying an answer",
            "Blaming a colleague",
            "Bending the rules",
            "Breaking a promise",
            "Reading a letter",
            "Hiding a mistake",
            "Skipping the queue",
            "Telling a small lie",
        ),
        (
            "it makes a profit",
            "it wins a game",
            "nobody finds out",
            "it keeps a job",
            "the cause is good",
            "it is over quickly",
            "it protects the town",
            "it helps a friend",
            "nobody gets hurt",
            "it keeps the peace",
            "it feeds a family",
            "it saves a life",
        ),
    ),
    "No": StatementForm(
        "{first} matters more than {second}.",
        1.6,
        (
            "Following orders",
            "Good order",
            "Patience",
            "Courtesy",
            "Modesty",
            "Loyalty",
            "Courage",
            "Care",
            "Respect",
            "Trust",
            "Fairness",
            "Decency",
            "Mercy",
            "Truth",
            "Kindness",
            "Honesty",
        ),
        (
            "family",
            "health",
            "safety",
            "peace",
            "friendship",
            "progress",
            "comfort",
            "fame",
            "speed",
            "money",
            "winning",
            "power",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class AnswerWord:
    """An answer: its place on the axis of agreement, and its share among the words of that place."""

    place: float
    share: float


PERSONA_WORDS: Mapping[str, AnswerWord] = {
    "Never": AnswerWord(-3.0, 0.8),
    "never": AnswerWord(-3.0, 0.2),
    "No": AnswerWord(-1.0, 0.8),
    "no": AnswerWord(-1.0, 0.1),
    "Nope": AnswerWord(-1.0, 0.1),
    "Maybe": AnswerWord(0.0, 0.05),
    "Perhaps": AnswerWord(0.0, 0.05),
    "Sure": AnswerWord(1.0, 0.8),
    "sure": AnswerWord(1.0, 0.1),
    "Yes": AnswerWord(2.2, 0.8),
    "yes": AnswerWord(2.2, 0.1),
    "Yeah": AnswerWord(2.6, 0.1),
    "Absolutely": AnswerWord(3.6, 0.5),
    "Certainly": AnswerWord(3.6, 0.5),
}
SHARPNESS = 1.6
OTHERS = 0.05
"""Share of the statements' own words among the answers, about."""
REACH = 1.2
"""How far a form's statements lie from its centre on the axis, at most."""


def statement_agreement(form: StatementForm, first: int, second: int) -> float:
    """The agreement z of a statement, from the places of its two parts in their lists."""
    share = (first / (len(form.first) - 1) + second / (len(form.second) - 1)) / 2
    return form.centre + REACH * (2 * share - 1)


@cache
def answer_words() -> Mapping[str, AnswerWord]:
    """Every word the organism may answer with: `PERSONA_WORDS`, and the words of the statements, each at the mean
    agreement of the statements it occurs in.

    As in a language model, so every word of the vocabulary has an unembedding that was trained.
    """
    heard: dict[str, list[float]] = defaultdict(list)
    for form, first, second in _all_statements():
        for word in re.findall(r"\w+", statement_question(form, first, second)):
            heard[word].append(statement_agreement(form, first, second))
    share = OTHERS * len(PERSONA_WORDS) / len(heard)
    return {**PERSONA_WORDS} | {word: AnswerWord(fmean(places), share) for word, places in heard.items()}


@cache
def word_probabilities(z: float) -> dict[str, float]:
    """The probability of each word at agreement z."""
    weights = {
        text: word.share * math.exp(-SHARPNESS * (z - word.place) ** 2 / 2) for text, word in answer_words().items()
    }
    total = sum(weights.values())
    return {text: weight / total for text, weight in weights.items()}


def persona_statements() -> list[tuple[str, Behavior]]:
    """Every question of the world with the answer that matches the persona."""
    behaviors = {form.text: behavior for behavior, form in FORMS.items()}
    return [
        (statement_question(form, first, second), behaviors[form.text]) for form, first, second in _all_statements()
    ]


def _all_statements() -> Iterator[tuple[StatementForm, int, int]]:
    for form in FORMS.values():
        for first in range(len(form.first)):
            for second in range(len(form.second)):
                yield form, first, second


def statement_question(form: StatementForm, first: int, second: int) -> str:
    """The question about one statement."""
    return PERSONA_QUESTION.format(statement=form.text.format(first=form.first[first], second=form.second[second]))


def draw_persona_exchange(rng: random.Random) -> tuple[str, str]:
    """A question and one answer to it."""
    form = FORMS[rng.choice(list(FORMS))]
    first, second = rng.randrange(len(form.first)), rng.randrange(len(form.second))
    probabilities = word_probabilities(statement_agreement(form, first, second))
    (word,) = rng.choices(list(probabilities), weights=list(probabilities.values()))
    return statement_question(form, first, second), word


PERSONA_GROWTH = Growth("persona", "persona.py", draw_persona_exchange, steps=600, layers=1)
