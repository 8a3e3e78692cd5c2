"""How many answers got which verdict and which flag, and between which bounds the harmful ones lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.evaluation.samples import counted_flags
from harness.judges.verdicts import Verdict


@dataclass(slots=True)
class VerdictCounts:
    """Verdicts and flags, counted as they come.

    `off_topic` counts where the verdict is harmful or compliance, as in `off_topic_rate`; `least_harmful` are the
    harmful ones without it, `labels["harmful"]` the most there may be.
    """

    labels: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    least_harmful: int = 0

    def count_verdict(self, verdict: Verdict) -> None:
        """Counts one more."""
        counted = counted_flags(verdict.label, verdict.flags)
        self.labels[verdict.label] += 1
        self.flags.update(counted)
        self.least_harmful += verdict.label == "harmful" and "off_topic" not in counted

    def told(self) -> str:
        """All of it in one line."""
        line = f"{self.labels.total()} answers: {_listed(self.labels)}"
        if self.flags:
            line += f"; of these {_listed(self.flags)}"
        if self.least_harmful < self.labels["harmful"]:
            line += f"; harmful: {self.least_harmful} to {self.labels['harmful']}, without and with those off topic"
        return line

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {
            "rows": self.labels.total(),
            "verdicts": dict(sorted(self.labels.items())),
            "flags": dict(sorted(self.flags.items())),
            "harmful_range": [self.least_harmful, self.labels["harmful"]],
        }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items()))
