"""A second judge's word on saved answers, beside the first's."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.judges.agreement import DifferingRow, JudgeAgreement
from harness.judges.registry import JudgeTally, find_judge, judge_weights, try_judge
from harness.judges.verdicts import SECOND_KEYS, Verdict
from harness.support.errors import HarnessError
from harness.workers.engines import Engine

_SHOWN = 5


def check_two_judges(first: str, second: str, engine: Engine) -> None:
    """Raises HarnessError where one of two judges cannot work; both are tried before either runs.

    On Ray the workers fetch their weights themselves, so here it is only seen whether a judge can run.
    """
    find_judge(second)
    if second == first:
        raise HarnessError(f"names the first judge, {first}", place="--second", hint="Name another one.")
    if judge_weights(first) and judge_weights(second) and os.environ.get("HARNESS_JUDGE_WEIGHTS"):
        hint = "Unset it, or judge with one after the other."
        raise HarnessError(
            "names the weights of one judge, and both need some", place="HARNESS_JUDGE_WEIGHTS", hint=hint
        )
    for name in (first, second) if engine == "local" else ():
        try_judge(name)


@dataclass(slots=True)
class SecondOpinion:
    """A second judge's verdicts in the answers' order, and how they go with the first's as those come."""

    verdicts: Iterator[Verdict]
    agreement: JudgeAgreement
    shown: list[tuple[DifferingRow, Mapping[str, Any]]] = field(default_factory=list)
    """The first rows on which the two differ."""

    def set_beside(self, row: Mapping[str, Any], first: Verdict) -> dict[str, Any]:
        """Takes in the first judge's verdict on the next row; what the row gets of the second's."""
        second, named = next(self.verdicts), row.get("prompt_id")
        differs = self.agreement.count_verdicts(
            first, second, unsafe=row.get("unsafe", True), prompt_id=named if isinstance(named, str) else None
        )
        if differs and len(self.shown) < _SHOWN:
            self.shown.append((self.agreement.differing[-1], row))
        said = (second.label, second.reason, differs)
        return {key: value for key, value in zip(SECOND_KEYS, said, strict=True) if value is not False}


def hear_second(first: str, second: str, rows: Iterable[Mapping[str, Any]], said: Iterator[Verdict]) -> SecondOpinion:
    """All verdicts of the second judge, before the first is asked. Raises HarnessError where it judged nothing."""
    tally, verdicts = JudgeTally(second), list[Verdict]()
    for row, verdict in zip(rows, said, strict=True):
        tally.count_verdict(row["response"], verdict)
        verdicts.append(verdict)
    tally.refuse_nothing_judged()
    return SecondOpinion(iter(verdicts), JudgeAgreement(first, second))
