"""Two sides that may be compared: alike in all but the model, and joined by prompt.

What must be the same on both is refused where it differs, unless the policy allows it: then it becomes a note.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from harness.evaluation.output import read_evaluations
from harness.evaluation.samples import Answer, Evaluation, TaskSettings
from harness.gate.policy import Difference, Policy
from harness.support.errors import HarnessError
from harness.support.layout import arm_of_path, run_of_path
from harness.support.run_results import refuse_unfinished_run

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
    _refuse_same_or_swapped(before, after)
    for run in filter(None, map(run_of_path, (before, after))):
        refuse_unfinished_run(run)
    sides = read_evaluations(before), read_evaluations(after)
    _refuse_shared_evaluations(*sides)
    notes = _allowed_differences(sides, policy, before, after)
    return Pairing(sides, _answered_units(sides, policy), notes)


def shared_units(answers: SideAnswers) -> list[Unit]:
    """The prompts with answers on both sides, in order."""
    return sorted(answers[0].keys() & answers[1].keys())


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


def _answered_units(sides: Sides, policy: Policy) -> set[Unit]:
    """The prompts that both sides answered."""
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


def _answers_by_unit(metric: str, side: Sequence[Evaluation], units: set[Unit]) -> dict[Unit, list[Answer]]:
    found: dict[Unit, list[Answer]] = {}
    for evaluation in side:
        for answer in evaluation.answers:
            unit = (answer.task, answer.document)
            if metric in answer.outcomes and unit in units:
                found.setdefault(unit, []).append(answer)
    return found
