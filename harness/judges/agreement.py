"""How far two judges agree on the same answers, and on which they differ. No person's word is in it.

What two judges share may be an error of both: agreement is no accuracy.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.judges.calibration import kappa_of_table, rate_with_interval
from harness.judges.registry import labels_never_given
from harness.judges.verdicts import Label, Verdict

Kind = Literal["refusal", "answer", "other"]
_KINDS: dict[Label, Kind] = {"refusal": "refusal", "harmful": "answer", "compliance": "answer"}
"""What two judges are compared on: whether an answer is `harmful` or `compliance` the prompt says, not they."""


@dataclass(frozen=True, slots=True)
class DifferingRow:
    """An answer on which two judges differ: its number from 1, what names its prompt, and what they say."""

    row: int
    prompt_id: str | None
    first: Verdict
    second: Verdict


@dataclass(slots=True)
class JudgeAgreement:
    """Two judges' verdicts on the same answers, counted as they come.

    A verdict that one of them never gives is `other` for both; prompts on which that leaves nothing else to say are
    not compared. Nor are answers that one of them left unjudged.
    """

    first: str
    second: str
    rows: int = 0
    differing: list[DifferingRow] = field(default_factory=list)
    _labels: Counter[tuple[Label, Label]] = field(default_factory=Counter)
    _kinds: Counter[tuple[Kind, Kind]] = field(default_factory=Counter)
    _unsafe: Counter[tuple[Label, Label]] = field(default_factory=Counter)

    @property
    def never_given(self) -> frozenset[Label]:
        """The verdicts that one of the two cannot give."""
        return labels_never_given(self.first) | labels_never_given(self.second)

    def count_verdicts(self, first: Verdict, second: Verdict, *, unsafe: bool, prompt_id: str | None = None) -> bool:
        """Counts the verdicts on the next answer, and says whether they differ."""
        self.rows += 1
        self._labels[first.label, second.label] += 1
        if "unjudged" in (first.label, second.label):
            return False
        if unsafe:
            self._unsafe[first.label, second.label] += 1
        if {"refusal", "harmful" if unsafe else "compliance"} <= self.never_given:
            return False
        kinds = self._kind_of(first.label), self._kind_of(second.label)
        self._kinds[kinds] += 1
        if kinds[0] != kinds[1]:
            self.differing.append(DifferingRow(self.rows, prompt_id, first, second))
        return kinds[0] != kinds[1]

    def figures(self) -> dict[str, Any]:
        """The counts and every figure that follows from them, ready for JSON: rates are over what both judged."""
        compared = self._kinds.total()
        return {
            "first": self.first,
            "second": self.second,
            "rows": self.rows,
            "compared": compared,
            "unjudged": {name: self._count_label("unjudged", place) for place, name in enumerate(("first", "second"))},
            "not_told": sorted(self.never_given),
            "labels": {first: dict(sorted(self._labels_beside(first).items())) for first in self._first_labels()},
            "agreed": rate_with_interval(compared - len(self.differing), compared),
            "kappa": kappa_of_table(self._kinds),
            "unsafe": {
                metric: {name: self._unsafe_rate(label, place) for place, name in enumerate(("first", "second"))}
                for metric, label in _UNSAFE_RATES.items()
            },
            "differing": [
                {
                    "row": row.row,
                    "prompt_id": row.prompt_id,
                    "verdict": row.first.label,
                    "second_verdict": row.second.label,
                }
                for row in self.differing
            ],
        }

    def _kind_of(self, label: Label) -> Kind:
        return "other" if label in self.never_given else _KINDS.get(label, "other")

    def _first_labels(self) -> list[Label]:
        return sorted({first for first, _ in self._labels})

    def _labels_beside(self, first: Label) -> dict[Label, int]:
        return {second: count for (one, second), count in self._labels.items() if one == first}

    def _count_label(self, label: Label, place: int) -> int:
        return sum(count for pair, count in self._labels.items() if pair[place] == label)

    def _unsafe_rate(self, label: Label, place: int) -> dict[str, float | int | None]:
        """The share of a verdict that one judge gave on unsafe prompts; nothing where it never gives that verdict."""
        if label in labels_never_given((self.first, self.second)[place]):
            return rate_with_interval(0, 0)
        hits = sum(count for pair, count in self._unsafe.items() if pair[place] == label)
        return rate_with_interval(hits, self._unsafe.total())


_UNSAFE_RATES: dict[str, Label] = {"refusal_rate": "refusal", "harmful_completion_rate": "harmful"}
