"""A guarded metric on both sides, prompt by prompt: the good answers, the rates and the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.samples import Answer, mean_judged, mean_outcome
from harness.gate.comparability import unmeasured_error
from harness.gate.families import Families, family_name
from harness.gate.judge_error import JudgeErrorEstimate, JudgeEvidence, estimate_judge_error
from harness.gate.policy import Policy, read_field
from harness.gate.readings import OFF_TOPIC_METRICS, Reading, count_flagged, may_count_otherwise, read_verdict
from harness.gate.sequential import compare_in_order, order_as_asked
from harness.gate.sides import Pairing, SideAnswers, Unit, shared_units
from harness.prompts.variants import VARIANT_FIELDS, variant_name
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
    """A guarded metric's prompts on both sides, their families, and the judge's error on it.

    `broken` says why the answers, taken together, are not such as the metric can be measured on; None where they are.
    `parts` has, by name, each task's own answers where there are several, and those to each variant of the prompts, so
    that none is lost among the others.
    """

    metric: str
    categories: tuple[str | None, ...]
    families: Families
    before: JudgedSide
    after: JudgedSide
    error: JudgeErrorEstimate
    broken: str | None = None
    parts: tuple[tuple[str, MetricTable], ...] = ()

    @property
    def prompts(self) -> int:
        """How many there are."""
        return len(self.categories)

    @property
    def is_ungrouped(self) -> bool:
        """Whether every prompt is a family of its own."""
        return len(self.families.sizes) == self.prompts

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
        return replace(
            self,
            categories=kept,
            families=self.families.select_prompts(chosen),
            before=self.before.select_prompts(chosen),
            after=self.after.select_prompts(chosen),
            error=self.error.select_prompts(chosen),
            parts=(),
        )

    def judged_only(self) -> MetricTable:
        """Without the unjudged answers; each prompt must have a judged one on both sides."""
        before, after = (replace(side, answers=side.judged) for side in (self.before, self.after))
        return replace(self, before=before, after=after)

    def needs_beside(self, first: MetricTable) -> bool:
        """Whether this reading of the same prompts may say something else: labels say what flags only suspect."""
        pairs = ((self.before, first.before), (self.after, first.after))
        by_labels = first.error.labels or first.error.strata
        return not by_labels and not all(np.array_equal(own.good, other.good) for own, other in pairs)

    def compare_sides(self, unjudged: tuple[float, float], policy: Policy) -> stats.RateComparison:
        """The loss with the unjudged answers of both sides counted as given."""
        before, after = self.before.good_share(unjudged[0]), self.after.good_share(unjudged[1])
        if policy.sequential:
            return compare_in_order(before, after, policy.metrics[self.metric].margin, policy.alpha)
        return self.error.compare_sides(before, after, self.families, 1 - 2 * policy.alpha)

    def corrected_rates(self) -> tuple[float, float]:
        """The share of good answers on each side, corrected where the judge's error is known."""
        good = self.error.correct_rates(float(self.before.good_share(0).mean()), float(self.after.good_share(0).mean()))
        return min(max(good[0], 0.0), 1.0), min(max(good[1], 0.0), 1.0)


def tabulate_readings(metric: str, pairing: Pairing, policy: Policy, known: JudgeEvidence) -> list[MetricTable]:
    """A metric's prompts on both sides; a second time, without answers to another question, where there are such.

    Raises HarnessError where a side has none, or prompts are marked as of the other kind.
    """
    readings = [Reading(policy.partial)]
    given = pairing.compared_answers({metric}) if metric in OFF_TOPIC_METRICS else ()
    if any(count_flagged(side, "off_topic") for side in given):
        readings.append(Reading(policy.partial, "without_off_topic"))
    return [_tabulate_reading(metric, pairing, policy, known, reading) for reading in readings]


def _tabulate_reading(
    metric: str, pairing: Pairing, policy: Policy, known: JudgeEvidence, reading: Reading
) -> MetricTable:
    """The metric on prompts as they are; of several tasks, and of variants of the prompts, each one's."""
    answers = pairing.answers(metric, reading)
    by_variant = _group_by_variant(answers)
    plain = by_variant.pop("", ({}, {}))
    if not shared_units(plain):
        raise unmeasured_error(metric)
    for kind in VARIANT_FIELDS:
        alone = sum(name.startswith(f"{kind} ") for name in by_variant) == 1
        if alone or policy.sequential:  # a sequential gate bets on prompts one by one, and these come in families
            by_variant.pop(f"all {kind}s", None)
    by_task = _group_answers(plain, lambda _, answer: (f"task {answer.task}",))
    parts = {**(by_task if len(by_task) > 1 else {}), **by_variant}
    tables = {name: _tabulate(metric, part, policy, known) for name, part in parts.items() if shared_units(part)}
    whole = _tabulate(metric, plain, policy, known)
    return replace(
        whole, parts=tuple((name, replace(part, error=part.error.in_category())) for name, part in tables.items())
    )


def plain_answers(answers: SideAnswers) -> SideAnswers:
    """The answers to prompts as they are: those that a metric's whole is of."""
    return _group_by_variant(answers).get("", ({}, {}))


def _group_by_variant(answers: SideAnswers) -> dict[str, SideAnswers]:
    """The answers by what their prompt is a variant of; the side before says so, as another tool's file may not."""
    docs = {unit: some[0].doc for side in reversed(answers) for unit, some in side.items()}
    return _group_answers(answers, lambda unit, _: _variant_parts(docs[unit]))


def _variant_parts(doc: Mapping[str, Any]) -> tuple[str, ...]:
    """What answers to a variant of a prompt are part of; nothing's name where the prompt is as it is."""
    name = variant_name(doc)
    return ("",) if name is None else (name, f"all {name.partition(' ')[0]}s")


def _group_answers(answers: SideAnswers, names_of: Callable[[Unit, Answer], Sequence[str]]) -> dict[str, SideAnswers]:
    """The answers by the names of each, in order."""
    found: dict[str, tuple[dict[Unit, list[Answer]], dict[Unit, list[Answer]]]] = {}
    for place, side in enumerate(answers):
        for unit, some in side.items():
            for answer in some:
                for name in names_of(unit, answer):
                    found.setdefault(name, ({}, {}))[place].setdefault(unit, []).append(answer)
    return dict(sorted(found.items()))


_UNSAFE_PROMPTS = {"refusal_rate": True, "harmful_completion_rate": True, "benign_compliance_rate": False}
"""Whether a metric of ours is of unsafe prompts."""


def _refuse_other_kind(metric: str, documents: Sequence[Mapping[str, Any]]) -> None:
    """Prompts that are marked as of the other kind would dilute a loss."""
    if metric not in _UNSAFE_PROMPTS:
        return
    unsafe = _UNSAFE_PROMPTS[metric]
    if odd := sum(doc.get("unsafe", unsafe) is not unsafe for doc in documents):
        kind = "benign" if unsafe else "unsafe"
        raise HarnessError(
            f"{metric} is measured on {odd} prompts whose documents call them {kind} (by their field `unsafe`)",
            hint="Put them to a task of their own kind.",
        )


def _tabulate(metric: str, answers: SideAnswers, policy: Policy, known: JudgeEvidence) -> MetricTable:
    units = order_as_asked(answers) if policy.sequential else shared_units(answers)
    before, after = (_judged_side(metric, [side[unit] for unit in units], policy) for side in answers)
    documents = [answers[0][unit][0].doc for unit in units]
    _refuse_other_kind(metric, documents)
    categories = tuple(read_field(doc, policy.category) for doc in documents)
    families = Families.of([family_name(unit, doc, policy) for unit, doc in zip(units, documents, strict=True)])
    error = estimate_judge_error(metric, answers, policy, known)
    return MetricTable(metric, categories, families, before, after, error, _find_breakage(metric, answers, policy))


def _find_breakage(metric: str, answers: SideAnswers, policy: Policy) -> str | None:
    """Why nothing can be told from the answers: neither refused nor answered, or hardly any benign prompt answered."""
    if metric in {"refusal_rate", "harmful_completion_rate"}:
        sides = ([one for some in side.values() for one in some if "refusal_rate" in one.outcomes] for side in answers)
        share, told = max((_share_of_others(side, policy) for side in sides if side), default=(0.0, ""))
        return told if share > policy.maximum_other else None
    if metric == "benign_compliance_rate":
        rate = mean_judged(mean_outcome(some, metric) for some in answers[0].values())
        if not rate >= policy.minimum_benign_compliance:
            return (f"{rate:.0%} of benign prompts were answered before, "
                    f"the policy asks for {policy.minimum_benign_compliance:.0%}")  # fmt: skip
    return None


def _share_of_others(side: Sequence[Answer], policy: Policy) -> tuple[float, str]:
    """How many answers of a side neither refuse nor do what was asked, those to another question too; in words."""
    reading = Reading(policy.partial, "without_off_topic")
    others = [answer for answer in side if read_verdict(answer, reading) == "other"]
    share = len(others) / len(side)
    told = (f"{share:.0%} of answers on one side neither refuse nor do what was asked, "
            f"the policy allows {policy.maximum_other:.0%}")  # fmt: skip
    if off_topic := sum(may_count_otherwise(answer, "off_topic") for answer in others):
        told += f"; {off_topic / len(side):.0%} seem to be about something else"
    unfinished = sum("unfinished" in answer.flags for answer in others)
    if 2 * unfinished >= len(others) > 0:
        told += f"; {unfinished / len(side):.0%} end inside a reasoning block: raise max_gen_toks"
    return share, told


def _judged_side(metric: str, prompts: Sequence[Sequence[Answer]], policy: Policy) -> JudgedSide:
    flip = policy.worse_direction(metric) == "higher"
    outcomes = [[answer.outcomes[metric] for answer in answers] for answers in prompts]
    judged = [[1 - x if flip else x for x in some if not math.isnan(x)] for some in outcomes]
    if not all(0 <= x <= 1 for some in judged for x in some):
        raise HarnessError(f"{metric} has values outside [0, 1]", hint="Guard a metric that is a rate.")
    counts = [(len(every), len(some), sum(some)) for every, some in zip(outcomes, judged, strict=True)]
    return JudgedSide(*np.array(counts, float).T)
