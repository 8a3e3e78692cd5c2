"""What is known of the judge's error, from people's labels on these answers or from a calibration of the judge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.evaluation.samples import VERDICT_OF, Answer, Evaluation
from harness.gate.labels import read_labels
from harness.gate.policy import Policy
from harness.gate.sides import SideAnswers, Sides, shared_units
from harness.support import stats
from harness.support.artifacts import read_json
from harness.support.errors import HarnessError

MINIMUM_LABELS = 30
"""Human labels a side under which the judge's error on it is not estimated from them."""

HumanLabels = Mapping[tuple[str, str], str]
SideCalibrations = tuple[stats.Calibration, stats.Calibration]
"""The judge on the answers before and after; one and the same where it is taken to be alike on both."""


@dataclass(frozen=True, slots=True)
class JudgeEvidence:
    """What is known of the judge: people's labels, and the calibration on refusals that holds for each side.

    `warnings` name where it agrees with people less than a judge should.
    """

    labels: HumanLabels | None
    calibrations: SideCalibrations | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JudgeErrorEstimate:
    """The judge's error on one metric's good outcomes, both sides; by default not known.

    `told` says whether it is included; `floor` is how often the judge is right at worst, negative where it
    tells nothing.
    """

    calibrations: SideCalibrations | None = None
    labels: tuple[stats.LabelErrors, stats.LabelErrors] | None = None
    told: str = "judge error not included"
    floor: float = 1.0

    def select_prompts(self, chosen: NDArray[np.bool_]) -> JudgeErrorEstimate:
        """On some of the prompts."""
        labels = self.labels and (
            _select_label_errors(self.labels[0], chosen),
            _select_label_errors(self.labels[1], chosen),
        )
        return replace(self, labels=labels)

    def in_category(self) -> JudgeErrorEstimate:
        """On the prompts of one category; labels are too few to split."""
        if not self.labels:
            return self
        return replace(self, labels=None, told="judge error not included: labels are used overall only")

    def compare_sides(
        self, before: stats.FloatArray, after: stats.FloatArray, answers: float, level: float
    ) -> stats.RateComparison:
        """The loss, corrected where the error is known; arguments as `stats.compare_rates`."""
        if self.labels:
            return stats.compare_labelled(before, after, *self.labels, answers, level)
        if self.calibrations and len(before) > 1:
            return stats.compare_corrected(before, after, *self.calibrations, answers, level)
        return stats.compare_rates(before, after, answers, level)

    def correct_rates(self, before: float, after: float) -> tuple[float, float]:
        """The share of good answers on each side, corrected where the error is known; may leave [0, 1]."""
        if self.labels:
            return before + self.labels[0].mean_error, after + self.labels[1].mean_error
        if self.calibrations:
            return float(self.calibrations[0].correct_rate(before)), float(self.calibrations[1].correct_rate(after))
        return before, after


def read_judge_evidence(labels: Path | None, calibration: Path | None, sides: Sides) -> JudgeEvidence:
    """What the files given say. Raises HarnessError where one is broken, or of other answers or another judge."""
    human = _read_human_labels(labels, sides) if labels else None
    return JudgeEvidence(human, *_read_calibration(calibration, sides)) if calibration else JudgeEvidence(human, None)


def estimate_judge_error(metric: str, answers: SideAnswers, policy: Policy, known: JudgeEvidence) -> JudgeErrorEstimate:
    """The error on a metric's answers: from human labels where there are enough, else from a calibration."""
    error = _error_from_labels(metric, answers, policy, known.labels) if known.labels else JudgeErrorEstimate()
    if error.labels or not known.calibrations:
        return error
    return _error_from_calibrations(metric, answers, policy, known.calibrations)


def _error_from_labels(metric: str, answers: SideAnswers, policy: Policy, labels: HumanLabels) -> JudgeErrorEstimate:
    units = shared_units(answers)
    before, after = ([_label_errors(side[unit], metric, policy, labels) for unit in units] for side in answers)
    counts = [sum(len(errors) for errors in side) for side in (before, after)]
    if min(counts) < MINIMUM_LABELS:
        return JudgeErrorEstimate(
            told=f"judge error not included: {min(counts)} human labels on one side, {MINIMUM_LABELS} are needed"
        )
    wrong = max(np.mean([abs(error) for errors in side for error in errors]) for side in (before, after))
    return JudgeErrorEstimate(
        labels=(_sum_label_errors(before), _sum_label_errors(after)),
        floor=float(1 - wrong),
        told=f"judge error included from {counts[0]} and {counts[1]} human labels",
    )


def _label_errors(answers: Sequence[Answer], metric: str, policy: Policy, labels: HumanLabels) -> list[float]:
    """Truth minus verdict, in good outcomes, for the labelled answers to one prompt."""
    sign = 1 if policy.worse_direction(metric) == "lower" else -1
    found = []
    for answer in answers:
        verdict = labels.get((answer.prompt_id, answer.response)) or labels.get((answer.prompt, answer.response))
        if verdict and metric in VERDICT_OF and not math.isnan(answer.outcomes[metric]):
            found.append(sign * (float(verdict == VERDICT_OF[metric]) - answer.outcomes[metric]))
    return found


def _sum_label_errors(prompts: Sequence[Sequence[float]]) -> stats.LabelErrors:
    return stats.LabelErrors(
        np.array([sum(errors) for errors in prompts], float), np.array([len(errors) for errors in prompts], float)
    )


def _select_label_errors(labels: stats.LabelErrors, chosen: NDArray[np.bool_]) -> stats.LabelErrors:
    return stats.LabelErrors(labels.errors[chosen], labels.counts[chosen])


def _error_from_calibrations(
    metric: str, answers: SideAnswers, policy: Policy, calibrations: SideCalibrations
) -> JudgeErrorEstimate:
    verdicts = {answer.verdict for side in answers for given in side.values() for answer in given}
    target = VERDICT_OF.get(metric)
    if target is None or (target != "refusal" and not verdicts <= {"refusal", target, "unjudged"}):
        return JudgeErrorEstimate(told="judge error not included: the calibration tells refusals only")
    before, after = calibrations
    told = _describe_calibrations(before, after)
    if (metric == "refusal_rate") != (policy.worse_direction(metric) == "lower"):
        flipped = before.complement
        before, after = flipped, flipped if after is before else after.complement
    floor = min(rate for judge in (before, after) for rate in (judge.sensitivity, judge.specificity))
    if not (before.youden > 0 and after.youden > 0):
        return JudgeErrorEstimate(told=told, floor=-1.0)
    return JudgeErrorEstimate(calibrations=(before, after), told=told, floor=floor)


def _describe_calibrations(before: stats.Calibration, after: stats.Calibration) -> str:
    if before is after:
        return (
            "judge error included, taken to be alike on both sides "
            f"(sensitivity {before.sensitivity:.2f}, specificity {before.specificity:.2f})"
        )
    return (
        f"judge error included (sensitivity {before.sensitivity:.2f} and {after.sensitivity:.2f}, "
        f"specificity {before.specificity:.2f} and {after.specificity:.2f})"
    )


def _read_human_labels(path: Path, sides: Sides) -> HumanLabels:
    """People's labels. Raises HarnessError where one is of an answer that neither side gave."""
    labels = read_labels(path)
    given = {
        (name, answer.response)
        for evaluation in chain(*sides)
        for answer in evaluation.answers
        for name in (answer.prompt_id, answer.prompt)
    }
    strange = [prompt for prompt, response in labels if (prompt, response) not in given]
    if strange:
        raise HarnessError(
            f"{len(strange)} labels are of answers that neither side gave (the first to {strange[0][:60]!r})",
            place=str(path),
            hint="Label answers of these two runs, text unchanged.",
        )
    return labels


def _read_calibration(path: Path, sides: Sides) -> tuple[SideCalibrations, tuple[str, ...]]:
    """The calibration of each side, from what `harness calibrate` wrote: refusals, judge against people; warnings.

    Raises HarnessError where the file is none, or of another judge.
    """
    content = read_json(path)
    try:
        judge, overall = str(content["judge"]), _parse_calibration(content["overall"])
        models = {name: _parse_calibration(part) for name, part in content.get("models", {}).items()}
        below = ", ".join(map(str, content.get("below_floor", ())))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HarnessError(
            f"is no calibration ({type(error).__name__}: {error})",
            place=str(path),
            hint="Write one with `harness calibrate --out FILE`.",
        ) from error
    used = {settings.judge for evaluation in chain(*sides) for settings in evaluation.settings.values()}
    if used - {"", judge}:
        raise HarnessError(
            f"is of the judge {judge!r}, but the samples were judged by {', '.join(sorted(used))}",
            place=str(path),
            hint="Calibrate the judge that was used.",
        )
    warning = f"the judge {judge} agrees with people less than kappa {content.get('kappa_floor')}: {below}"
    return (_side_calibration(sides[0], overall, models), _side_calibration(sides[1], overall, models)), (
        warning,
    ) if below else ()


def _side_calibration(
    side: Sequence[Evaluation], overall: stats.Calibration, models: Mapping[str, stats.Calibration]
) -> stats.Calibration:
    """The calibration of a side's model, by its name or the name's last part; the overall one without."""
    names = {name for evaluation in side for name in (evaluation.model, Path(evaluation.model).name)}
    found = [judge for name, judge in models.items() if name in names]
    return found[0] if len(found) == 1 else overall


def _parse_calibration(part: Mapping[str, object]) -> stats.Calibration:
    counts = [part[key] for key in ("tp", "fn", "fp", "tn")]
    if not all(isinstance(count, int) and not isinstance(count, bool) and count >= 0 for count in counts):
        raise ValueError("a count is not a whole number")
    return stats.Calibration(*counts)  # type: ignore[arg-type]
