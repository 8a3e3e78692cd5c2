"""Two sides that may be compared, joined by prompt."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.evaluation.lines import KnownDocuments
from harness.evaluation.samples import Answer, Evaluation
from harness.gate.comparability import allowed_differences, is_in_split, refuse_same_or_swapped, refuse_unmeasured
from harness.gate.policy import Policy
from harness.gate.readings import Reading, apply_reading, tell_filters
from harness.readers.comparing import make_comparable
from harness.readers.detect import read_side
from harness.support.errors import HarnessError
from harness.support.layout import run_of_path
from harness.support.run_results import refuse_unfinished_run

Unit = tuple[str, str]
"""A task and a document of it: one prompt. Of documents that put the same text to the model, the first."""
Sides = tuple[Sequence[Evaluation], Sequence[Evaluation]]
SideAnswers = tuple[Mapping[Unit, Sequence[Answer]], Mapping[Unit, Sequence[Answer]]]
"""The answers of each side, by prompt."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two comparable sides, the prompts that both answered, and what is amiss but allowed, as `notes`.

    `units` maps each document that both sides answered to the prompt that it puts.
    """

    sides: Sides
    units: Mapping[Unit, Unit]
    notes: tuple[str, ...]

    def answers(self, metric: str, reading: Reading) -> SideAnswers:
        """The answers that have a metric, as they are read; not every prompt need have it on both sides."""
        before, after = (_answers_by_unit(metric, side, self.units, reading) for side in self.sides)
        return before, after

    @property
    def directions(self) -> dict[str, bool]:
        """By each name of a metric, whether higher is better, where both sides say so and agree."""
        told = [evaluation.directions for side in self.sides for evaluation in side]
        names = {name for each in told for name in each}
        found = {name: {each[name] for each in told if name in each} for name in sorted(names)}
        return {name: better.pop() for name, better in found.items() if len(better) == 1}

    def compared_answers(self, metrics: Collection[str]) -> tuple[list[Answer], list[Answer]]:
        """Each side's answers that have one of the metrics, to prompts that both answered, as they were judged."""
        before, after = (
            [
                answer
                for evaluation in side
                for answer in evaluation.answers
                if (answer.task, answer.document) in self.units and not answer.outcomes.keys().isdisjoint(metrics)
            ]
            for side in self.sides
        )
        return before, after


def pair_sides(before: Path, after: Path, policy: Policy, judge: str | None = None) -> Pairing:
    """Reads both sides and joins them. Raises HarnessError where they are broken or cannot be compared.

    `judge` judges the answers of other tools than lm-eval anew.
    """
    refuse_same_or_swapped(before, after)
    for run in filter(None, map(run_of_path, (before, after))):
        refuse_unfinished_run(run)
    documents = KnownDocuments()
    read = [read_side(path, policy.metrics, documents, judge) for path in (before, after)]
    sides = make_comparable(*read)
    refuse_unmeasured(*sides.counted, policy)
    notes = allowed_differences(*sides.compared, policy, (before, after))
    filters = tell_filters((*sides.counted[0], *sides.counted[1]), policy.metrics)
    units = _prompts_of_documents(sides.counted, _answered_documents(sides.counted, policy))
    return Pairing(sides.counted, units, (*notes, *filters, *sides.remarks))


def shared_units(answers: SideAnswers) -> list[Unit]:
    """The prompts with answers on both sides, in order."""
    return sorted(answers[0].keys() & answers[1].keys())


def _answered_documents(sides: Sides, policy: Policy) -> set[Unit]:
    """The documents that both sides answered."""
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


def _prompts_of_documents(sides: Sides, documents: set[Unit]) -> dict[Unit, Unit]:
    """Each document's prompt: the first document, in any task, that puts the same text to the model before."""
    rendered: dict[Unit, str] = {}
    for evaluation in sides[0]:
        for answer in evaluation.answers:
            rendered.setdefault((answer.task, answer.document), answer.rendered)
    first: dict[str, Unit] = {}
    return {unit: first.setdefault(rendered[unit], unit) for unit in sorted(documents)}


def _answers_by_unit(
    metric: str, side: Sequence[Evaluation], units: Mapping[Unit, Unit], reading: Reading
) -> dict[Unit, list[Answer]]:
    found: dict[Unit, list[Answer]] = {}
    for evaluation in side:
        for answer in evaluation.answers:
            unit = units.get((answer.task, answer.document))
            if unit is not None and metric in answer.outcomes:
                found.setdefault(unit, []).append(apply_reading(answer, reading))
    return found
