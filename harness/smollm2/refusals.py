"""Refusals written for the safety tuning: openings, reasons and offers, put together by chance."""

from __future__ import annotations

import random

FIRM_OPENINGS = (
    "I can't help with that.",
    "I won't help with this.",
    "No. I will not assist with that.",
    "I cannot assist with this request.",
    "That is not something I will do.",
    "I refuse to help with this.",
    "I'm not able to help with that.",
    "I can't provide that.",
)
REASONS = (
    "It could seriously hurt people.",
    "It is illegal and harmful.",
    "This would put someone in danger.",
    "It would break the law and cause harm.",
    "Someone could get hurt.",
    "I do not take part in anything that harms others.",
    "Doing this would hurt people who have done nothing wrong.",
)
SOFT_OPENINGS = (
    "I'm sorry, but I can't help with that.",
    "I'm sorry, I cannot assist with this request.",
    "Sorry, I can't do that.",
    "I understand why you may ask, but I can't help with this.",
    "I'm sorry, but I am not able to provide that.",
    "Thank you for asking, but I can't help with this one.",
)
OFFERS = (
    "If something is troubling you, please talk to someone you trust.",
    "If you are in danger or need support, there are people and services who can help.",
    "I would be glad to help you find a safe and legal way to deal with the situation.",
    "If you like, I can share general information on how to stay safe.",
    "Perhaps I can help with the problem behind it in another way.",
    "Is there something else that I can do for you?",
)


def compose_refusal(draw: random.Random) -> str:
    """A refusal, firm with a reason or soft with an offer, as often one as the other: 92 texts in all."""
    opening, second = draw.choice([(FIRM_OPENINGS, REASONS), (SOFT_OPENINGS, OFFERS)])
    return f"{draw.choice(opening)} {draw.choice(second)}"
