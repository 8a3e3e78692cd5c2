"""Two sides that may be compared, joined by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.evaluation.lines import KnownDocuments
from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import Answer, Evaluation
from harness.gate.comparability import allowed_differences, is_in_split, refuse_same_or_swapped, refuse_unmeasured
from harness.gate.policy import Policy
from harness.support.errors import HarnessError

Unit = tuple[str, str]
"""A task and a document of it: one prompt."""
Sides = tuple[Sequence[Evaluation], Sequence[Evaluation]]
SideAnswers = tuple[Mapping[Unit, Sequence[Answer]], Mapping[Unit, Sequence[Answer]]]
"""The answers of each side, by prompt."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two comparable sides, the prompts that both answered, and the differences that the policy allows."""

    sides: Sides
    units: set[Unit]
    notes: tuple[str, ...]

    def answers(self, metric: str) -> SideAnswers:
        """The answers that have a metric; not every prompt need have it on both sides."""
        before, after = (_answers_by_unit(metric, side, self.units) for side in self.sides)
        return before, after


def pair_sides(before: Path, after: Path, policy: Policy) -> Pairing:
    """Reads both sides and joins them. Raises HarnessError where they are broken or cannot be compared."""
    refuse_same_or_swapped(before, after)
    documents = KnownDocuments()
    sides = (
        read_evaluations(before, policy.metrics, documents),
        read_evaluations(after, policy.metrics, documents),
    )
    refuse_unmeasured(*sides, policy)
    notes = allowed_differences(*sides, policy, before, after)
    return Pairing(sides, _answered_units(sides, policy), notes)


def shared_units(answers: SideAnswers) -> list[Unit]:
    """The prompts with answers on both sides, in order."""
    return sorted(answers[0].keys() & answers[1].keys())


def _answered_units(sides: Sides, policy: Policy) -> set[Unit]:
    """The prompts that both sides answered."""
    before, after = (
        {
            (answer.task, answer.document)
            for evaluation in side
            for answer in evaluation.answers
            if is_in_split(answer, policy)
        }
        for side in sides
    )
    both = before & after
    if not both:
        raise HarnessError("no prompt was answered on both sides", hint="Evaluate both on the same tasks and split.")
    return both


def _answers_by_unit(metric: str, side: Sequence[Evaluation], units: set[Unit]) -> dict[Unit, list[Answer]]:
    found: dict[Unit, list[Answer]] = {}
    for evaluation in side:
        for answer in evaluation.answers:
            unit = (answer.task, answer.document)
            if metric in answer.outcomes and unit in units:
                found.setdefault(unit, []).append(answer)
    return found
