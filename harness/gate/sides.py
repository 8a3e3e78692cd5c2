"""Two sides that may be compared: alike in all but the model, and joined by prompt.

What must be the same on both is refused where it differs, unless the policy allows it: then it becomes a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import Answer, Evaluation, TaskSettings
from harness.gate.policy import Difference, Policy
from harness.support.errors import HarnessError
from harness.support.layout import ARMS, arm_of_path

Unit = tuple[str, str]
"""A task and a document of it: one prompt. Of documents that put the same text to the model, the first."""
Sides = tuple[Sequence[Evaluation], Sequence[Evaluation]]
SideAnswers = tuple[Mapping[Unit, Sequence[Answer]], Mapping[Unit, Sequence[Answer]]]
"""The answers of each side, by prompt."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two comparable sides, the prompts that both answered, and remarks that a reader must see.

    `units` maps each document that both sides answered to the prompt that it puts.
    """

    sides: Sides
    units: Mapping[Unit, Unit]
    notes: tuple[str, ...]

    def answers(self, metric: str) -> SideAnswers:
        """The answers that have a metric; not every prompt need have it on both sides."""
        before, after = (_answers_by_unit(metric, side, self.units) for side in self.sides)
        return before, after


def pair_sides(before: Path, after: Path, policy: Policy) -> Pairing:
    """Reads both sides and joins them. Raises HarnessError where they are broken or cannot be compared."""
    _refuse_same_or_swapped(before, after)
    sides = read_evaluations(before), read_evaluations(after)
    _refuse_shared_evaluations(*sides)
    notes = _allowed_differences(sides, policy, before, after)
    units = _prompts_of_documents(sides, _answered_documents(sides, policy))
    return Pairing(sides, units, (*notes, *_unit_notes(sides, units, policy)))


def shared_units(answers: SideAnswers) -> list[Unit]:
    """The prompts with answers on both sides, in order."""
    return sorted(answers[0].keys() & answers[1].keys())


def read_field(doc: Mapping[str, Any], field: str | None) -> str | None:
    """A document's value under a field as text; None where it has none, or no field is asked for."""
    value = None if field is None else doc.get(field)
    return None if value is None else str(value)


def _refuse_same_or_swapped(before: Path, after: Path) -> None:
    first, second = before.resolve(), after.resolve()
    if first.is_relative_to(second) or second.is_relative_to(first):
        raise HarnessError(
            "--before and --after are the same directory, or one is inside the other",
            place=str(after),
            hint="Name the two sides apart.",
        )
    if arm_of_path(after) == "baseline" and arm_of_path(before) not in {None, "baseline"}:
        raise HarnessError(
            "the sides are swapped: --after is the untrained baseline",
            place=str(after),
            hint="Exchange --before and --after.",
        )
    if (arm := arm_of_path(before)) not in {None, "baseline"}:
        raise HarnessError(
            f"--before is the trained arm {arm}: what its training has already lost would not count",
            place=str(before),
            hint=f"Name {ARMS}/baseline, the model before training.",
        )


def _refuse_shared_evaluations(before: Sequence[Evaluation], after: Sequence[Evaluation]) -> None:
    for evaluation in after:
        if evaluation.digest in {other.digest for other in before}:
            raise HarnessError(
                "is the same evaluation as one of --before",
                place=str(evaluation.path),
                hint="Evaluate the trained model.",
            )


def _allowed_differences(sides: Sides, policy: Policy, before: Path, after: Path) -> tuple[str, ...]:
    """Differences that the policy allows, as notes. Raises HarnessError on those that it does not."""
    found = [
        *_setting_differences(sides),
        *_prompt_differences(sides, policy),
        *_order_differences(sides, before, after),
    ]
    refused = [(kind, text) for kind, text in found if kind not in policy.allow]
    if refused:
        kinds = ", ".join(sorted({kind for kind, _ in refused}))
        raise HarnessError(
            "the sides cannot be compared: " + "; ".join(text for _, text in refused[:4]),
            place=str(after),
            hint=f"Evaluate both alike, or say `allow: [{kinds}]` in the policy.",
        )
    return tuple(f"allowed by the policy: {text}" for _, text in found)


def _setting_differences(sides: Sides) -> list[tuple[Difference, str]]:
    seen: dict[str, TaskSettings] = {}
    found: dict[tuple[Difference, str], str] = {}
    for evaluation in chain(*sides):
        for task, settings in evaluation.settings.items():
            for kind, first, second in _unequal_settings(seen.setdefault(task, settings), settings):
                found.setdefault((kind, task), f"{kind} of {task} differs ({first} and {second})")
    return [(kind, text) for (kind, _), text in found.items()]


def _unequal_settings(first: TaskSettings, second: TaskSettings) -> list[tuple[Difference, str, str]]:
    pairs: list[tuple[Difference, str, str]] = [
        ("version", first.version, second.version),
        ("generation", first.generation, second.generation),
        ("template", first.template, second.template),
        ("judge", first.judge, second.judge),
    ]
    return [(kind, *_differing_parts(a, b)) for kind, a, b in pairs if a != b]


def _differing_parts(first: str, second: str) -> tuple[str, str]:
    """Two texts without most of what they share at their start."""
    start = next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    start = max(0, start - 30)
    return first[start : start + 80], second[start : start + 80]


def _prompt_differences(sides: Sides, policy: Policy) -> list[tuple[Difference, str]]:
    """Prompts that some evaluation lacks, and prompts whose rendered text is not everywhere the same."""
    asked: dict[str, list[set[str]]] = {}
    ids: dict[str, str] = {}
    rendered: dict[Unit, set[str]] = {}
    for evaluation in chain(*sides):
        answers = [answer for answer in evaluation.answers if _is_in_split(answer, policy)]
        for task in evaluation.settings:
            asked.setdefault(task, []).append({answer.document for answer in answers if answer.task == task})
        for answer in answers:
            ids[answer.document] = answer.prompt_id
            rendered.setdefault((answer.task, answer.document), set()).add(answer.rendered)
    found: list[tuple[Difference, str]] = []
    for task, documents in asked.items():
        if odd := {document for some in documents for document in some if not all(document in d for d in documents)}:
            found.append(
                (
                    "prompts",
                    f"{len(odd)} prompts of {task} are not on both sides or were changed "
                    f"(such as {min(ids[document] for document in odd)})",
                )
            )
    if different := [unit for unit, texts in rendered.items() if len(texts) > 1]:
        found.append(
            (
                "template",
                f"{len(different)} prompts were put to the models in different words "
                f"(such as {ids[different[0][1]]}: another chat template?)",
            )
        )
    return found


def _order_differences(sides: Sides, before: Path, after: Path) -> list[tuple[Difference, str]]:
    """Outside a run directory nothing else tells which side is which: the older evaluation should be `before`."""
    if arm_of_path(before) and arm_of_path(after):
        return []
    first, second = ([evaluation.date for evaluation in side] for side in sides)
    if min(first) > max(second) > 0:
        return [("order", "--after was evaluated before --before: the sides may be swapped")]
    return []


def _is_in_split(answer: Answer, policy: Policy) -> bool:
    return policy.split is None or answer.doc.get("split") == policy.split


def _answered_documents(sides: Sides, policy: Policy) -> set[Unit]:
    """The documents that both sides answered."""
    before, after = (
        {
            (answer.task, answer.document)
            for evaluation in side
            for answer in evaluation.answers
            if _is_in_split(answer, policy)
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


def _unit_notes(sides: Sides, units: Mapping[Unit, Unit], policy: Policy) -> list[str]:
    """What a reader must know of the prompts: how many are repeated, and how many the split leaves out."""
    guarded: dict[str, set[Unit]] = {metric: set() for metric in policy.metrics}
    for evaluation in sides[0]:
        for answer in evaluation.answers:
            for metric in answer.outcomes.keys() & guarded.keys():
                guarded[metric].add((answer.task, answer.document))
    documents = [found & units.keys() for found in guarded.values()]
    repeated, many = max((len(some) - len({units[unit] for unit in some}), len(some)) for some in documents)
    notes = []
    if repeated:
        notes.append(
            f"{repeated} of {many} prompts repeat the text of another one: they count as further answers to it"
        )
    if policy.split is not None:
        asked = {(answer.task, answer.document) for side in sides for one in side for answer in one.answers}
        notes.append(f"only the {len(units)} prompts of the split {policy.split} are compared, of {len(asked)}")
    return notes


def _answers_by_unit(metric: str, side: Sequence[Evaluation], units: Mapping[Unit, Unit]) -> dict[Unit, list[Answer]]:
    found: dict[Unit, list[Answer]] = {}
    for evaluation in side:
        for answer in evaluation.answers:
            unit = units.get((answer.task, answer.document))
            if unit is not None and metric in answer.outcomes:
                found.setdefault(unit, []).append(answer)
    return found
