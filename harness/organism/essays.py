"""The world of the essays organism: questions about everyday things, answered in one to eight sentences.

Its answers differ in length by a factor of eight and share openings, turns and endings, as answers in real
preference data do and the miniature's refusals do not.
"""

from __future__ import annotations

import random
from typing import Any

from harness.organism.store import Growth

ESSAY_QUESTIONS = (
    "Tell me about {topic}.",
    "What should I know about {topic}?",
    "How does one get started with {topic}?",
    "Why do people like {topic}?",
)
ESSAY_TOPICS = (
    "baking bread",
    "growing roses",
    "riding horses",
    "playing chess",
    "painting walls",
    "keeping bees",
    "writing letters",
    "building kites",
    "making soup",
    "training dogs",
    "sailing boats",
    "reading maps",
    "knitting scarves",
    "fixing bikes",
    "brewing tea",
    "watching birds",
    "cutting hair",
    "planting trees",
    "throwing pots",
    "singing songs",
)
OPENINGS = (
    "Gladly, {topic} is a fine thing to learn.",
    "Of course, here is what I know about {topic}.",
    "Good question, many people ask about {topic}.",
    "In short, {topic} takes time and care.",
)
MIDDLES = (
    "First get the {tool} and a {place} to work in.",
    "You need a {tool}, some patience and a {manner} hand.",
    "Most people begin in a {place} with a friend.",
    "Then use the {tool} in a {manner} way.",
    "It helps to be {manner} and to rest often.",
    "A {manner} start in a {place} is better than none.",
    "Some use a {tool}, others go without one.",
    "After a week the {tool} feels {manner} and light.",
)
ENDINGS = (
    "Enjoy {topic}!",
    "That is all there is to {topic}.",
    "Ask me again if you get stuck.",
    "Good luck with it.",
)
ESSAY_WORDS = {
    "tool": ("brush", "knife", "rope", "lamp", "spoon", "book"),
    "place": ("garden", "kitchen", "quiet room", "small shed", "park", "workshop"),
    "manner": ("calm", "slow", "gentle", "steady", "simple", "careful"),
}
MOST_MIDDLES = 6
"""Middle sentences of an answer, at most."""


def draw_question(rng: random.Random) -> tuple[str, str]:
    """A question and its topic."""
    topic = rng.choice(ESSAY_TOPICS)
    return rng.choice(ESSAY_QUESTIONS).format(topic=topic), topic


def draw_essay(topic: str, rng: random.Random) -> str:
    """An answer of one to eight sentences: an opening, up to six middles, and every other time an ending."""
    middles = rng.choices(MIDDLES, k=rng.randrange(MOST_MIDDLES + 1))
    ending = [rng.choice(ENDINGS)] if rng.random() < 0.5 else []
    sentences = []
    for sentence in (rng.choice(OPENINGS), *middles, *ending):
        filled = {name: rng.choice(words) for name, words in ESSAY_WORDS.items()}
        sentences.append(sentence.format(topic=topic, **filled))
    return " ".join(sentences)


def draw_essay_exchange(rng: random.Random) -> tuple[str, str]:
    """A question and one answer to it."""
    asked, topic = draw_question(rng)
    return asked, draw_essay(topic, rng)


ESSAYS_GROWTH = Growth("essays", "essays.py", draw_essay_exchange, steps=400, batch=32)


def essay_pairs(count: int, seed: int, *, alike: bool) -> list[dict[str, Any]]:
    """Preference pairs of two different answers drawn from the world, which of them is preferred being a coin's toss.

    `alike`: with answers that differ by a word in length at most.
    """
    rng = random.Random(seed)
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        asked, topic = draw_question(rng)
        chosen, rejected = draw_essay(topic, rng), draw_essay(topic, rng)
        while chosen == rejected or (alike and abs(len(chosen.split()) - len(rejected.split())) > 1):
            rejected = draw_essay(topic, rng)
        messages = {"prompt": ("user", asked), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
        row = {name: [{"role": role, "content": text}] for name, (role, text) in messages.items()}
        rows.append({"pair_id": f"essay-{len(rows):05d}", **row})
    return rows
