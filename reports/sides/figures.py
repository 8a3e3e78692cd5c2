"""What the page of two sides shows: the gate's decision, every answer on both sides, how many verdicts changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.evaluation.samples import Answer, Evaluation
from harness.gate.decision import decide_pairing
from harness.gate.policy import Policy
from harness.gate.sides import Pairing, Unit, pair_sides
from harness.gate.wording import find_mirrored
from harness.handoff.gate_json import gate_json
from harness.handoff.record import record_decision
from reports.answers import ComparedAnswer
from reports.templating import PathStep, cite_figure
from reports.words import make_visible

LABEL = "after"
"""What stands for the model after where a run's page names an arm."""


@dataclass(frozen=True, slots=True)
class SidesView:
    """Two sides for the templates: `figures` are the gate's JSON and the changed verdicts, `answers` all of both.

    `mirrored` are the checks, by metric and category, that only say again what those of another metric say.
    """

    figures: Mapping[str, Any]
    answers: Sequence[ComparedAnswer]
    mirrored: Set[tuple[str, str | None]]

    @property
    def title(self) -> str:
        """What tells the page from others: the two models."""
        return f"{self.side_name('before')} and {self.side_name('after')}"

    def side_name(self, side: str) -> str:
        """The models of a side, in words."""
        models = self.figures["sides"][side]["models"]
        return models[0] if len(models) == 1 else f"{models[0]} and {len(models) - 1} more"

    @property
    def labels(self) -> dict[str, str]:
        """What the page calls the model after."""
        return {LABEL: make_visible(self.side_name("after"))}

    @property
    def whole_checks(self) -> list[tuple[int, Mapping[str, Any]]]:
        """The checks of whole metrics, each with its place among all."""
        return [(place, check) for place, check in enumerate(self.figures["checks"]) if check["category"] is None]

    @property
    def part_checks(self) -> list[tuple[int, Mapping[str, Any]]]:
        """The checks of categories that say something of their own, each with its place among all."""
        return [
            (place, check)
            for place, check in enumerate(self.figures["checks"])
            if check["category"] is not None and (check["metric"], check["category"]) not in self.mirrored
        ]

    def cite(self, form: str, *path: PathStep | Sequence[PathStep]) -> Markup:
        """A figure as text that says where it is from. Raises KeyError or IndexError where there is none."""
        return cite_figure(self.figures, "", form, *path)


def compare_sides(before: Path, after: Path, policy: Policy, judge: str | None = None) -> SidesView:
    """Reads both sides and has the gate decide. Raises HarnessError as the gate does."""
    pairing = pair_sides(before, after, policy, judge)
    outcome = decide_pairing(pairing, (before, after), policy)
    answers = _compare_answers(pairing)
    found = Counter(answer.direction for answer in answers)
    changed = {name: found[name] for name in ("worse", "better", "neither", "unjudged")}
    flips = {"total": sum(changed.values()), "answers": len(answers), "arms": {LABEL: changed}}
    figures = {**gate_json(record_decision(outcome, policy, (before, after))), "flips": flips}
    return SidesView(figures, answers, find_mirrored(outcome.checks))


def _compare_answers(pairing: Pairing) -> list[ComparedAnswer]:
    """Every judged answer beside the one of the same number to the same prompt, in the order of the side before."""
    before, after = (_judged_answers(side, pairing) for side in pairing.sides)
    return [
        ComparedAnswer(LABEL, number, first, second)
        for unit, answers in before.items()
        for number, (first, second) in enumerate(zip(answers, after.get(unit, ()), strict=False), 1)
    ]


def _judged_answers(side: Sequence[Evaluation], pairing: Pairing) -> dict[Unit, list[Answer]]:
    found: dict[Unit, list[Answer]] = {}
    for evaluation in side:
        for answer in evaluation.answers:
            unit = pairing.units.get((answer.task, answer.document))
            if unit is not None and answer.verdict:
                found.setdefault(unit, []).append(answer)
    return found
