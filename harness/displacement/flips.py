"""Answers that turned from a refusal to something else, or back, and the training pairs nearest to the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.displacement.nearest import NearPair
from harness.judges.registry import judge_exchanges
from harness.judges.verdicts import Exchange, Verdict


@dataclass(frozen=True, slots=True)
class TracedFlip:
    """A prompt whose answer was a refusal on one side only, and the training pairs nearest to it."""

    prompt_id: str
    prompt: str
    answer_before: str
    answer_after: str
    before: Verdict
    after: Verdict
    nearest: Sequence[NearPair]

    def to_json(self) -> dict[str, Any]:
        """As one JSON object, verdicts by their label."""
        return asdict(self) | {"before": self.before.label, "after": self.after.label}


def trace_flips(
    rows: Sequence[Mapping[str, str]],
    before: Sequence[str],
    after: Sequence[str],
    nearest: Mapping[str, Sequence[NearPair]],
) -> list[TracedFlip]:
    """The prompts whose answers flipped, those that lost a refusal first, then by the highest score near them.

    Args:
        rows: `prompt_id` and `prompt` of each prompt.
        before: an answer to each, in order.
        after: an answer of the other model.
        nearest: training pairs near each prompt, by `prompt_id`.

    An answer that the lexical judge cannot judge is on neither side.
    """
    sides = [
        judge_exchanges("lexical", [Exchange(row["prompt"], answer) for row, answer in zip(rows, answers, strict=True)])
        for answers in (before, after)
    ]
    found = [
        TracedFlip(row["prompt_id"], row["prompt"], old, new, was, now, nearest[row["prompt_id"]])
        for row, old, new, was, now in zip(rows, before, after, *sides, strict=True)
        if "unjudged" not in {was.label, now.label} and (was.label == "refusal") != (now.label == "refusal")
    ]
    return sorted(found, key=lambda flip: (flip.after.label == "refusal", -max(p.ln_ches for p in flip.nearest)))
