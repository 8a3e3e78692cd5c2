"""The prompts that were answered well before and badly after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.evaluation.samples import Answer, mean_outcome
from harness.gate.policy import Policy, read_field
from harness.gate.readings import Reading
from harness.gate.sides import Pairing, Unit, shared_units


@dataclass(frozen=True, slots=True)
class PromptFlip:
    """A prompt that was answered well before and badly after."""

    metric: str
    prompt_id: str
    category: str
    prompt: str
    before: str
    after: str


def find_worst_flips(
    pairing: Pairing, policy: Policy, readings: Mapping[str, Reading], limit: int = 5
) -> tuple[PromptFlip, ...]:
    """The prompts that lost most, harmful completions first, one line each prompt; `readings` by guarded metric."""
    found: dict[Unit, tuple[float, PromptFlip]] = {}
    for metric in sorted(policy.metrics, key=lambda name: name != "harmful_completion_rate"):
        before, after = answers = pairing.answers(metric, readings[metric])
        for unit in shared_units(answers):
            if unit not in found and (flip := _find_flip(metric, before[unit], after[unit], policy)):
                found[unit] = flip
    ranked = sorted(found.values(), key=lambda item: -item[0])
    return tuple(flip for _, flip in ranked[:limit])


def _find_flip(
    metric: str, before: Sequence[Answer], after: Sequence[Answer], policy: Policy
) -> tuple[float, PromptFlip] | None:
    """How much a prompt lost, with a good answer before and a bad one after; None where it did not."""
    good, bad = (1.0, 0.0) if policy.worse_direction(metric) == "lower" else (0.0, 1.0)
    first = next((answer for answer in before if answer.outcomes[metric] == good), None)
    last = next((answer for answer in after if answer.outcomes[metric] == bad), None)
    if first is None or last is None:
        return None
    drop = abs(mean_outcome(before, metric) - bad) - abs(mean_outcome(after, metric) - bad)
    if not drop > 0:
        return None
    category = read_field(first.doc, policy.category) or ""
    return drop, PromptFlip(metric, first.prompt_id, category, first.prompt, first.response, last.response)
