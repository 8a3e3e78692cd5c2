"""A guarded metric on both sides, prompt by prompt: the good answers, the rates and the loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.samples import Answer
from harness.gate.judge_error import JudgeErrorEstimate, JudgeEvidence, estimate_judge_error
from harness.gate.policy import Policy
from harness.gate.sides import Pairing, shared_units
from harness.support import stats
from harness.support.errors import HarnessError


@dataclass(frozen=True, slots=True)
class JudgedSide:
    """A metric on one side: for each prompt the number of answers, judged ones, and good ones of these."""

    answers: stats.FloatArray
    judged: stats.FloatArray
    good: stats.FloatArray

    def good_share(self, unjudged: float) -> stats.FloatArray:
        """Each prompt's share of good answers, the unjudged ones counted as given."""
        return np.asarray((self.good + unjudged * (self.answers - self.judged)) / self.answers)

    def select_prompts(self, chosen: NDArray[np.bool_]) -> JudgedSide:
        """Some of the prompts."""
        return JudgedSide(self.answers[chosen], self.judged[chosen], self.good[chosen])

    @property
    def unjudged_rate(self) -> float:
        """Share of the answers without a verdict."""
        return float(1 - self.judged.sum() / self.answers.sum())


@dataclass(frozen=True, slots=True)
class MetricTable:
    """A guarded metric's prompts on both sides, and the judge's error on it."""

    metric: str
    categories: tuple[str | None, ...]
    before: JudgedSide
    after: JudgedSide
    error: JudgeErrorEstimate

    @property
    def prompts(self) -> int:
        """How many there are."""
        return len(self.categories)

    @property
    def unjudged_rate(self) -> float:
        """The larger one of the two sides."""
        return max(self.before.unjudged_rate, self.after.unjudged_rate)

    def in_category(self, name: str) -> MetricTable:
        """The prompts of one category."""
        chosen = self.select_prompts(np.array([category == name for category in self.categories]))
        return replace(chosen, error=self.error.in_category())

    def select_prompts(self, chosen: NDArray[np.bool_]) -> MetricTable:
        """Some of the prompts."""
        kept = tuple(category for category, keep in zip(self.categories, chosen, strict=True) if keep)
        return MetricTable(
            self.metric,
            kept,
            self.before.select_prompts(chosen),
            self.after.select_prompts(chosen),
            self.error.select_prompts(chosen),
        )

    def judged_only(self) -> MetricTable:
        """Without the unjudged answers; each prompt must have a judged one on both sides."""
        before, after = (replace(side, answers=side.judged) for side in (self.before, self.after))
        return replace(self, before=before, after=after)

    @property
    def answers(self) -> float:
        """The harmonic mean of answers a prompt and side."""
        return float(2 / (1 / self.before.answers + 1 / self.after.answers).mean())

    def compare_sides(self, unjudged: tuple[float, float], level: float) -> stats.RateComparison:
        """The loss with the unjudged answers of both sides counted as given."""
        before, after = self.before.good_share(unjudged[0]), self.after.good_share(unjudged[1])
        return self.error.compare_sides(before, after, self.answers, level)

    def corrected_rates(self) -> tuple[float, float]:
        """The share of good answers on each side, corrected where the judge's error is known."""
        good = self.error.correct_rates(float(self.before.good_share(0).mean()), float(self.after.good_share(0).mean()))
        return min(max(good[0], 0.0), 1.0), min(max(good[1], 0.0), 1.0)


def tabulate_metric(metric: str, pairing: Pairing, policy: Policy, known: JudgeEvidence) -> MetricTable:
    """A metric's prompts on both sides. Raises HarnessError where a side has none."""
    answers = pairing.answers(metric)
    units = shared_units(answers)
    if not units:
        raise HarnessError(
            f"{metric} is guarded, but no prompt has it on both sides",
            hint="Evaluate a task with this metric, or leave it out of the policy's metrics.",
        )
    before, after = (_judged_side(metric, [side[unit] for unit in units], policy) for side in answers)
    documents = (answers[0][unit][0].doc for unit in units)
    categories = tuple(None if (name := doc.get(policy.category)) is None else str(name) for doc in documents)
    return MetricTable(metric, categories, before, after, estimate_judge_error(metric, answers, policy, known))


def _judged_side(metric: str, prompts: Sequence[Sequence[Answer]], policy: Policy) -> JudgedSide:
    flip = policy.worse_direction(metric) == "higher"
    outcomes = [[answer.outcomes[metric] for answer in answers] for answers in prompts]
    judged = [[1 - x if flip else x for x in some if not math.isnan(x)] for some in outcomes]
    if not all(0 <= x <= 1 for some in judged for x in some):
        raise HarnessError(f"{metric} has values outside [0, 1]", hint="Guard a metric that is a rate.")
    counts = [(len(every), len(some), sum(some)) for every, some in zip(outcomes, judged, strict=True)]
    return JudgedSide(*np.array(counts, float).T)
