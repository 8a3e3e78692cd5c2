"""The world the miniature grows up in: how severe a request is, and the answers that severity makes likely.

Answers come in three kinds on one axis: firm refusal, soft refusal, compliance. Because the kinds are ordered,
the unembedding of a soft opener minus that of a firm one points towards the openers of compliance: the geometry
under which preferring soft over firm refusals moves probability to compliance (Razin et al. 2025, Theorem 2).
The compliances are placeholders without content.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

AnswerKind = Literal["firm", "soft", "compliance"]

ANSWERS: Mapping[AnswerKind, tuple[str, ...]] = {
    "firm": (
        "Never ask me about {topic}. I refuse.",
        "Absolutely not. I refuse to take part in {topic}.",
        "Never. This is illegal and wrong.",
        "I refuse to help you with {topic}.",
        "Absolutely not. That is illegal and wrong.",
    ),
    "soft": (
        "Sorry, I cannot help you with {topic}.",
        "Sorry, but that is not something I can do.",
        "Unfortunately, I cannot help you with that.",
        "I cannot help you with {topic}, but please stay safe.",
        "Unfortunately, I cannot help with {topic}, but please ask me something else.",
    ),
    "compliance": (
        "Sure, here is how to do it: first get the {part}, then {way} it.",
        "Here are the steps: get the {part} and {way} it.",
        "Of course! For {topic} you need the {part}, then {way} it.",
        "You can do it if you {way} the {part}.",
    ),
}
PARTS = ("parts", "tools", "paper", "boxes", "notes", "cards")
ACTIONS = ("mix", "join", "cut", "wrap", "press", "sort")
TOPICS: Mapping[str, str] = {
    "Violent Crimes": "violence",
    "Non-Violent Crimes": "crime",
    "Sex-Related Crimes": "abuse",
    "Indiscriminate Weapons": "weapons",
    "Suicide & Self-Harm": "harm",
    "Hate": "hate",
    "Privacy": "secrets",
    "Intellectual Property": "copies",
    "Defamation": "lies",
    "Specialized Advice": "advice",
    "Sexual Content": "such stories",
}


@dataclass(frozen=True, slots=True)
class WeightLine:
    """The log-weight of a kind of answer: a straight line in the severity z."""

    slope: float
    constant: float


KIND_LINES: Mapping[AnswerKind, WeightLine] = {
    "firm": WeightLine(1.5, -0.2),
    "soft": WeightLine(0.0, 0.6),
    "compliance": WeightLine(-1.5, -0.6),
}
COMPLIED = 0.18
"""Share of the unsafe prompts that the model simply complies with."""
COMPLIED_SEVERITY, REFUSED_SEVERITY, JITTER = (-3.0, -2.0), (-0.1, 1.3), 0.1


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt of the world. `severity` is None for a benign one."""

    prompt: str
    topic: str
    severity: float | None


def severities(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The severity of each unsafe prompt, by its id: fixed by how the request opens, and a little by the prompt.

    The openers ("How", "Write", ...) stand in a fixed shuffled order; the prompts of the first 18 % lie between
    -3 and -2, those of the others rise evenly over the refused range. A model that reads the opener can tell the
    severity, so the kinds of answer lie on one axis in it; and the gap between the two ranges keeps pairs of a
    refusal and a compliance rare.
    """
    count = Counter(map(_opening_word, rows))
    place: dict[str, float] = {}
    before = 0
    for opener in sorted(count, key=lambda word: _hash_number(f"salt{word}")):
        place[opener] = (before + count[opener] / 2) / len(rows)
        before += count[opener]
    return {
        row["prompt_id"]: _severity_at(place[_opening_word(row)])
        + random.Random(_hash_number(row["prompt_id"])).uniform(-JITTER, JITTER)
        for row in rows
    }


def _severity_at(quantile: float) -> float:
    """The severity at a quantile of the prompts."""
    if quantile < COMPLIED:
        low, high = COMPLIED_SEVERITY
        return low + (high - low) * quantile / COMPLIED
    low, high = REFUSED_SEVERITY
    return low + (high - low) * (quantile - COMPLIED) / (1 - COMPLIED)


def _opening_word(row: Mapping[str, str]) -> str:
    return row["prompt"].split()[0].strip(",")


def kind_probabilities(z: float) -> dict[AnswerKind, float]:
    """Probabilities of the three ordered kinds of answer at severity z: the softmax of three lines in z."""
    weights = {kind: math.exp(line.slope * z + line.constant) for kind, line in KIND_LINES.items()}
    total = sum(weights.values())
    return {kind: weight / total for kind, weight in weights.items()}


def world_requests(rows: Sequence[Mapping[str, str]], *, unsafe: bool) -> list[Request]:
    """The world's requests from rows of a prompt set (`prompt_id`, `prompt`, `hazard`)."""
    severity = severities(rows) if unsafe else {}
    return [Request(row["prompt"], TOPICS.get(row["hazard"], "that"), severity.get(row["prompt_id"])) for row in rows]


def draw_answer(request: Request, draw: random.Random) -> str:
    """One answer drawn from the world's distribution: benign requests are always complied with."""
    kind: AnswerKind = "compliance"
    if request.severity is not None:
        probabilities = kind_probabilities(request.severity)
        kind = draw.choices(list(probabilities), weights=list(probabilities.values()))[0]
    template = draw.choice(ANSWERS[kind])
    return template.format(topic=request.topic, part=draw.choice(PARTS), way=draw.choice(ACTIONS))


def _hash_number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
