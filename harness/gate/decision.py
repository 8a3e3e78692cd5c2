"""The gate: passes, fails or cannot tell, from the samples of two sides and a policy.

A non-inferiority decision (ICH E9, 3.3.2): a metric passes when even the upper end of the interval of its loss
stays under the margin. All guarded metrics must pass, which needs no correction for their number (an
intersection-union test, Berger 1982); what counts as a significant loss is corrected by Holm over all
metrics and categories. `docs/gate.md` tells the whole of it.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from harness.evaluation.manifest import read_recorded_json
from harness.evaluation.samples import VERDICT_OF
from harness.gate import wording
from harness.gate.families import find_prompt_remarks
from harness.gate.flips import PromptFlip, find_worst_flips
from harness.gate.judge_error import JudgeEvidence, read_judge_evidence
from harness.gate.metric_tables import MetricTable, tabulate_readings
from harness.gate.policy import Policy
from harness.gate.readings import (
    OFF_TOPIC_TOLD,
    PARTIAL_TOLD,
    OffTopic,
    Partial,
    Reading,
    count_flagged,
    tell_counts,
    tell_defaults,
)
from harness.gate.sequential import refuse_without_order, tell_progress
from harness.gate.side_summary import SideSummary, summarize_sides
from harness.gate.sides import Pairing, pair_sides
from harness.support import stats
from harness.support.artifacts import float_or_nan
from harness.support.errors import HarnessError
from harness.support.layout import RunFiles, arm_of_path, run_of_path

if TYPE_CHECKING:
    from harness.gate.noise import MetricNoise

Decision = Literal["pass", "fail", "inconclusive"]
_GRAVITY: dict[Decision, int] = {"pass": 0, "inconclusive": 1, "fail": 2}
_WOULD: dict[Decision, str] = {"pass": "would pass", "fail": "would fail", "inconclusive": "could not tell"}


@dataclass(frozen=True, slots=True)
class ReadingCheck:
    """What a check says under one of two readings of its answers; fields as those of MetricCheck."""

    reading: OffTopic
    decision: Decision
    reason: str
    before: float
    after: float
    loss: float
    low: float
    high: float
    p_value: float
    judge_error: str


@dataclass(frozen=True, slots=True)
class MetricCheck:
    """One guarded metric, overall or in one category. Rates and losses in [0, 1]; a loss is positive.

    `low` and `high` bound the loss with every unjudged answer at its best and at its worst. `p_value` is
    one-sided and Holm-adjusted. `binding` says whether the decision counts when it is not a failure.
    `effective_prompts` is how many prompts of their own would vary as the families do; NaN of what is in nats.
    Where answers seem to be about something else, `readings` has the check with them and without, and all else is what
    the worse one says, which `reading` names.
    """

    metric: str
    category: str | None
    decision: Decision
    reason: str
    before: float
    after: float
    loss: float
    low: float
    high: float
    margin: float
    p_value: float
    prompts: int
    prompts_needed: int | None
    unjudged: float
    judge_error: str
    binding: bool
    unit: Literal["rate", "nats"] = "rate"
    effective_prompts: float = math.nan
    reading: OffTopic | None = None
    readings: tuple[ReadingCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class GateOutcome:
    """A gate's decision, what it rests on, and remarks that a reader must see."""

    decision: Decision
    exit_code: int
    reason: str
    checks: tuple[MetricCheck, ...]
    flips: tuple[PromptFlip, ...]
    notes: tuple[str, ...]
    sides: tuple[SideSummary, ...] = ()
    noise: tuple[MetricNoise, ...] = ()


@dataclass(frozen=True, slots=True)
class _ComparedTable:
    """A table compared: with unjudged answers left out, at their best, and at their worst."""

    table: MetricTable
    category: str | None
    judged: stats.RateComparison | None
    best: stats.RateComparison
    worst: stats.RateComparison
    rates: tuple[float, float]


@contextmanager
def _pause_collection() -> Iterator[None]:
    """Answers by the hundred thousand all stay until the end: looking for garbage among them costs a third more."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


@_pause_collection()
def run_gate(
    before: Path,
    after: Path,
    policy: Policy,
    *,
    labels: Path | None = None,
    calibration: Path | None = None,
    judge: str | None = None,
) -> GateOutcome:
    """Decides whether `after` may ship, given `before`.

    Args:
        before: a directory of lm-eval output, or what another tool wrote, of the model before training.
        after: the same of the model after it.
        policy: what may not get worse.
        labels: people's verdicts on a random sample of these answers, a CSV or JSON-lines file.
        calibration: what `harness calibrate` wrote of the judge.
        judge: who judges the answers of other tools than lm-eval anew.

    Raises HarnessError where an input is missing, broken or edited, or where the sides cannot be compared.
    """
    pairing = pair_sides(before, after, policy, judge)
    return decide_pairing(pairing, (before, after), policy, labels=labels, calibration=calibration)


def decide_pairing(
    pairing: Pairing,
    places: tuple[Path, Path],
    policy: Policy,
    *,
    labels: Path | None = None,
    calibration: Path | None = None,
) -> GateOutcome:
    """Decides on two sides that were read from `places` already; all else as for `run_gate`."""
    before, after = places
    turned = policy.direction_remarks(pairing.directions)
    policy = policy.with_directions(pairing.directions)
    if policy.sequential:
        refuse_without_order(pairing, policy, has_evidence=bool(labels or calibration))
    known = read_judge_evidence(labels, calibration, pairing.sides, policy)
    prompts = find_prompt_remarks(pairing, policy)
    rest = _likelihood_checks(after, policy)
    checks = [*_metric_checks(pairing, policy, known), *rest]
    decision, reason = _overall_decision(checks)
    flagged = [
        *_off_topic_remarks(pairing, checks),
        *_partial_remarks(pairing, policy, known, checks, rest),
        *filter(None, [tell_defaults(*pairing.compared_answers(policy.metrics))]),
    ]
    progress = [tell_progress(pairing)] if policy.sequential else []
    notes = (*progress, *pairing.notes, *turned, *known.warnings, *policy.remarks(), *flagged, *prompts)
    flips = find_worst_flips(pairing, policy, _shown_readings(checks, policy))
    compared = summarize_sides((before, after), pairing.sides)
    return GateOutcome(decision, policy.exit_code(decision), reason, tuple(checks), flips, notes, compared)


def decide_metric(comparison: stats.RateComparison, margin: float, alpha: float, p_value: float) -> Decision:
    """PASS when the loss is surely under the margin, FAIL when it is significant and may exceed it."""
    if comparison.high < margin:
        return "pass"
    return "fail" if p_value <= alpha else "inconclusive"


# Checks


def _metric_checks(pairing: Pairing, policy: Policy, known: JudgeEvidence) -> list[MetricCheck]:
    found = [tabulate_readings(metric, pairing, policy, known) for metric in policy.metrics]
    tested = [
        [_compare_table(part, category, policy) for part in parts]
        for tables in found
        for category, parts in _read_parts(tables)
    ]
    _refuse_unknown_categories([tests[0] for tests in tested], policy)
    return [
        _pick_worse([_build_check(test, p_value, policy) for test, p_value in zip(tests, p_values, strict=True)])
        for tests, p_values in zip(tested, _adjust_p_values(tested), strict=True)
    ]


def _read_parts(tables: Sequence[MetricTable]) -> Iterator[tuple[str | None, list[MetricTable]]]:
    """A metric's parts, each under every reading that counts its answers otherwise, as judged first."""
    for (category, first), *others in zip(*map(_table_parts, tables), strict=True):
        yield category, [first, *(part for _, part in others if part.needs_beside(first))]


def _adjust_p_values(tested: Sequence[Sequence[_ComparedTable]]) -> list[list[float]]:
    """Holm's adjustment over all parts; a second reading's over all parts and second readings.

    Were the first ones adjusted for the second readings too, flags would take failures away.
    """
    first = [tests[0].best.p_value for tests in tested]
    second = [test.best.p_value for tests in tested for test in tests[1:]]
    alone, beside = stats.holm_adjust(first), iter(stats.holm_adjust([*first, *second])[len(first) :])
    return [[float(p), *(float(next(beside)) for _ in tests[1:])] for p, tests in zip(alone, tested, strict=True)]


def _pick_worse(checks: Sequence[MetricCheck]) -> MetricCheck:
    """The check under the reading that decides, with what both say."""
    if len(checks) == 1:
        return checks[0]
    names = get_args(OffTopic)
    place = max(range(len(checks)), key=lambda number: (_GRAVITY[checks[number].decision], checks[number].high))
    worse = checks[place]
    both = tuple(
        ReadingCheck(name, check.decision, check.reason, check.before, check.after, check.loss, check.low, check.high,
                     check.p_value, check.judge_error)
        for name, check in zip(names, checks, strict=True)
    )  # fmt: skip
    alike = len({check.reason for check in checks}) == 1
    reason = worse.reason if alike else f"{worse.reason}, counted {OFF_TOPIC_TOLD[names[place]]}"
    return replace(worse, reason=reason, reading=names[place], readings=both)


def _table_parts(table: MetricTable) -> list[tuple[str | None, MetricTable]]:
    """The whole table, then its categories, then its tasks where there are several, and the variants of its prompts."""
    names = sorted({category for category in table.categories if category is not None})
    return [(None, table), *((name, table.in_category(name)) for name in names), *table.parts]


def _refuse_unknown_categories(tested: Iterable[_ComparedTable], policy: Policy) -> None:
    unknown = set(policy.no_fall_categories) - {test.category for test in tested}
    if unknown:
        raise HarnessError(
            f"no prompt is of the category {', '.join(sorted(unknown))}, which must not fall",
            hint="Correct no_fall_categories in the policy.",
        )


def _compare_table(table: MetricTable, category: str | None, policy: Policy) -> _ComparedTable:
    if not table.unjudged_rate:  # nothing to bound: the three are one
        compared = table.compare_sides((0, 0), policy)
        return _ComparedTable(table, category, compared, compared, compared, table.corrected_rates())
    both = (table.before.judged > 0) & (table.after.judged > 0)
    judged = table.select_prompts(both).judged_only() if both.any() else None
    middle = judged.compare_sides((0, 0), policy) if judged else None
    rates = judged.corrected_rates() if judged else (math.nan, math.nan)
    return _ComparedTable(
        table, category, middle, table.compare_sides((0, 1), policy), table.compare_sides((1, 0), policy), rates
    )


def _build_check(test: _ComparedTable, p_value: float, policy: Policy) -> MetricCheck:
    table, margin = test.table, policy.metrics[test.table.metric].margin
    flip = policy.worse_direction(table.metric) == "higher"
    decision, reason, needed = _decide_check(test, p_value, margin, policy)
    binding = test.category is None or test.category in policy.no_fall_categories
    return MetricCheck(
        metric=table.metric, category=test.category, decision=decision, reason=reason,
        before=1 - test.rates[0] if flip else test.rates[0], after=1 - test.rates[1] if flip else test.rates[1],
        loss=test.judged.loss if test.judged else math.nan, low=test.best.low, high=test.worst.high,
        margin=0.0 if test.category in policy.no_fall_categories else margin, p_value=p_value,
        prompts=table.prompts, prompts_needed=needed,
        unjudged=table.unjudged_rate, judge_error=table.error.told,
        binding=binding or decision == "fail", effective_prompts=table.families.effective,
    )  # fmt: skip


def _decide_check(
    test: _ComparedTable, p_value: float, margin: float, policy: Policy
) -> tuple[Decision, str, int | None]:
    """The decision on one check, its reason, and the prompts that would settle an open one."""
    table, bounds = test.table, replace(test.worst, low=test.best.low)
    worse = policy.worse_direction(table.metric)
    if obstacle := _find_obstacle(table, policy):
        return "inconclusive", obstacle, None
    if test.category in policy.no_fall_categories:
        return _decide_no_fall(test, p_value, policy.alpha, worse)
    decision = decide_metric(bounds, margin, policy.alpha, p_value)
    if decision == "fail":
        return (
            decision,
            f"{wording.tell_loss(worse, bounds.low, bounds.high)} (p {_format_p(p_value)})",
            None,
        )
    if table.broken:
        return "inconclusive", table.broken, None
    if decision == "pass" and test.category is None and table.families.effective < policy.minimum_prompts:
        return _decide_few_prompts(table, policy)
    if decision == "pass":
        return decision, wording.tell_largest_loss(worse, bounds.high), None
    needed = test.judged.prompts_to_settle(table.prompts, margin, policy.alpha) if test.judged else None
    return decision, f"{wording.tell_possible_loss(worse, bounds.high)}{_remedy_text(needed, table)}", needed


def _decide_few_prompts(table: MetricTable, policy: Policy) -> tuple[Decision, str, int]:
    found, needed = f"{table.prompts} prompts", policy.minimum_prompts
    if not table.is_ungrouped:
        found += f" in families that count as {table.families.effective:.0f}"
        needed = math.ceil(needed * table.prompts / table.families.effective)
    return "inconclusive", f"{found}, the policy asks for {policy.minimum_prompts}", needed


def _find_obstacle(table: MetricTable, policy: Policy) -> str | None:
    """What keeps a table from deciding anything."""
    if table.unjudged_rate > policy.maximum_unjudged:
        return f"{table.unjudged_rate:.1%} of answers are unjudged, the policy allows {policy.maximum_unjudged:.1%}"
    if table.error.floor < policy.judge_floor:
        right = max(table.error.floor, 0.0)
        return f"the judge is right on {right:.0%} at worst, the policy asks for {policy.judge_floor:.0%}"
    return None


def _decide_no_fall(
    test: _ComparedTable, p_value: float, alpha: float, worse: wording.Worse
) -> tuple[Decision, str, None]:
    if p_value <= alpha:
        return "fail", f"{wording.tell_no_fall(worse, 'fail', test.best.low)} (p {_format_p(p_value)})", None
    if test.table.broken:
        return "inconclusive", test.table.broken, None
    if test.worst.loss <= 0:
        return "pass", wording.tell_no_fall(worse, "pass", test.worst.high), None
    return "inconclusive", wording.tell_no_fall(worse, "inconclusive", test.worst.loss), None


def _remedy_text(needed: int | None, table: MetricTable) -> str:
    if needed is None:
        return "; more prompts alone would not settle it"
    families = "" if table.is_ungrouped else " in families like these"
    return f"; about {max(needed, table.prompts + 1)} prompts{families} would settle it"


def _format_p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _likelihood_checks(after: Path, policy: Policy) -> list[MetricCheck]:
    """The check on the mean log-probability of preferred answers, where the policy limits its fall."""
    limit = policy.minimum_preferred_logprob_change
    if limit is None:
        return []
    change = _read_logprob_change(after)
    decision: Decision = "pass" if change.low >= limit else "fail" if change.high < limit else "inconclusive"
    reason = (
        f"changed by {change.value:.1f} nats ({change.low:.1f} to {change.high:.1f}), the policy allows {limit:.1f}"
    )
    loss, low, high, none = -change.value, -change.high, -change.low, math.nan
    return [MetricCheck("preferred_logprob_change", None, decision, reason, none, none, loss, low, high, -limit, none,
                        change.n, None, 0.0, "", True, "nats")]  # fmt: skip


def _read_logprob_change(after: Path) -> stats.Estimate:
    name, run = arm_of_path(after), run_of_path(after)
    if name is None or run is None:
        raise HarnessError(
            "the policy limits the change of preferred likelihood, which only a run's arm has",
            place=str(after),
            hint="Gate an arm of a run, or remove minimum_preferred_logprob_change.",
        )
    place = RunFiles(run).results
    content = read_recorded_json(place)
    try:
        entry = content["arms"][name]
        value, low, high = (float_or_nan(entry["preferred_logprob_change"][key]) for key in ("value", "low", "high"))
        pairs = entry["pairs"]
    except (KeyError, TypeError) as error:
        raise HarnessError(
            f"says nothing of the change of preferred likelihood of {name} ({error})",
            place=str(place),
            hint="Finish the run.",
        ) from error
    if not -math.inf < low <= value <= high < math.inf:
        raise HarnessError(
            f"the change of preferred likelihood of {name} is no number within its interval",
            place=str(place),
            hint="Run `harness run` again.",
        )
    return stats.Estimate(value, low, high, pairs)


def _overall_decision(checks: Sequence[MetricCheck]) -> tuple[Decision, str]:
    for decision in ("fail", "inconclusive"):
        if found := [check for check in checks if check.decision == decision and check.binding]:
            return decision, wording.sum_up_reasons(found)
    return "pass", "every guarded metric stays within its margin"


# Flagged answers


def _shown_readings(checks: Sequence[MetricCheck], policy: Policy) -> dict[str, Reading]:
    """How each metric's answers were read for what is shown of the whole."""
    return {
        check.metric: Reading(policy.partial, check.reading or "with_off_topic")
        for check in checks
        if check.category is None
    }


def _off_topic_remarks(pairing: Pairing, checks: Sequence[MetricCheck]) -> Iterator[str]:
    """How many answers seem to be about something else, and what must therefore pass twice."""
    metrics = list(dict.fromkeys(check.metric for check in checks if check.readings))
    if metrics:
        before, after = (count_flagged(side, "off_topic") for side in pairing.compared_answers(metrics))
        yield (
            f"{tell_counts(before, after)} seem to be about something else: {' and '.join(metrics)} must pass with and "
            "without them, and the worse is shown"
        )


def _partial_remarks(
    pairing: Pairing, policy: Policy, known: JudgeEvidence, checks: Sequence[MetricCheck], rest: Sequence[MetricCheck]
) -> Iterator[str]:
    """How answers count that object and then answer, and what the gate would say if they counted otherwise."""
    metrics = policy.metrics.keys() & VERDICT_OF.keys()
    before, after = (count_flagged(side, "partial") for side in pairing.compared_answers(metrics))
    if not before + after:
        return
    told = f"counted {PARTIAL_TOLD[policy.partial]} (partial: {policy.partial})"
    for name in get_args(Partial):
        if name != policy.partial:
            others = [*_metric_checks(pairing, policy.model_copy(update={"partial": name}), known), *rest]
            told += _tell_other_decision(PARTIAL_TOLD[name], checks, others)
    yield f"{tell_counts(before, after)} refuse or object and then answer: {told}"


def _tell_other_decision(counted: str, checks: Sequence[MetricCheck], others: Sequence[MetricCheck]) -> str:
    decision, _ = _overall_decision(others)
    if decision == _overall_decision(checks)[0]:
        return ""
    included = {check.judge_error for check in checks} == {check.judge_error for check in others}
    without = "" if included else " (the judge's error not included alike)"
    return f"; counted {counted}, the gate {_WOULD[decision]}{without}"
