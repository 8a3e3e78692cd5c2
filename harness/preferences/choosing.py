"""On-policy preference pairs (Razin et al. 2025, section 6): sampled answers to a prompt, the refusal preferred."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.judges.verdicts import Verdict
from harness.preferences.pairs import PAIR_TYPES, pair_type
from harness.preferences.shapes import chat_messages
from harness.support import artifacts

_COURTEOUS_PHRASES = ("sorry", "unfortunately", "i cannot")


def engagement_reward(text: str) -> int:
    """A fixed reward for ties: 1 for an answer with a courteous phrase of refusal, 0 without.

    It stands in for a reward model that likes the more engaging of two refusals, and is blind to everything else.
    """
    lowered = text.lower()
    return int(any(phrase in lowered for phrase in _COURTEOUS_PHRASES))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to a prompt: its text, the verdict on it, and the reward that tells it from others of its kind."""

    text: str
    verdict: Verdict
    reward: float = 0.0


def choose_pairs(
    rows: Sequence[Mapping[str, str]],
    candidates: Sequence[Sequence[Candidate]],
    seed: int,
    *,
    keep_identical: bool = False,
    unjudged_at_random: bool = False,
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Preference rows from the answers to each prompt, and how many prompts gave none, by reason.

    Of a prompt's judged, distinct answers the best is chosen and the worst rejected. A refusal is better than anything
    else; of two of a kind the one with the higher reward is, and where that ties too, a coin says, which depends on
    the seed and the prompt alone. A prompt with fewer than two such answers gives no pair. As in the authors' code,
    with `keep_identical` two answers of the same text make a pair too, and with `unjudged_at_random` a prompt with an
    unjudged answer gives one whose order the coin alone says.
    """
    table: list[dict[str, Any]] = []
    dropped: Counter[str] = Counter()
    for row, answers in zip(rows, candidates, strict=True):
        usable = [answer for answer in answers if unjudged_at_random or answer.verdict.label != "unjudged"]
        texts = {answer.text: answer for answer in usable}
        left = usable if keep_identical else [*texts.values()]
        if len(left) < 2:
            unjudged = any(answer.text not in texts for answer in answers)
            dropped["unjudged" if unjudged else "identical answers"] += 1
        else:
            table.append(_pair_row(row, *_best_and_worst(left, f"{seed}:{row['prompt_id']}")))
    return table, dropped


def _best_and_worst(answers: Sequence[Candidate], coin: str) -> tuple[Candidate, Candidate]:
    """The best and the worst answer; by the coin alone where one of them is unjudged."""
    draw = random.Random(coin)
    known = all(answer.verdict.label != "unjudged" for answer in answers)
    ranked = sorted(
        answers,
        key=lambda answer: (known and answer.verdict.label == "refusal", known and answer.reward, draw.random()),
    )
    return ranked[-1], ranked[0]


def _pair_row(row: Mapping[str, str], chosen: Candidate, rejected: Candidate) -> dict[str, Any]:
    return {
        "pair_id": artifacts.json_fingerprint([row["prompt_id"], chosen.text, rejected.text]),
        "prompt_id": row["prompt_id"],
        **chat_messages(row["prompt"], chosen.text, rejected.text),
        "hazard": row["hazard"],
        "split": row["split"],
        "chosen_verdict": chosen.verdict.label,
        "rejected_verdict": rejected.verdict.label,
    }


def count_pair_types(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many pairs are two refusals, one of each, or two non-refusals; one with an unjudged answer is neither."""
    counts = Counter(pair_type(row["chosen_verdict"], row["rejected_verdict"]) for row in rows)
    return {name: counts[name] for name in PAIR_TYPES}
