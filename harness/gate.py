"""The gate: passes, fails or cannot tell, from the samples of two sides and a policy.

A non-inferiority decision (ICH E9, 3.3.2): a metric passes when even the upper end of the interval of its loss
stays under the margin. All guarded metrics must pass, which needs no correction for their number (an
intersection-union test, Berger 1982); what counts as a significant loss is corrected by Holm over all
metrics and categories. `docs/gate.md` tells the whole of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness import stats
from harness.artifacts import read_json
from harness.comparability import Pairing, Unit, arm, pair, shared
from harness.console import safe
from harness.errors import HarnessError
from harness.judge_error import read_known
from harness.metric_tables import Table, tabulate
from harness.policy import Policy
from harness.samples import Answer, mean_outcome

Decision = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True, slots=True)
class Check:
    """One guarded metric, overall or in one category. Rates and losses in [0, 1]; a loss is positive.

    `low` and `high` bound the loss with every unjudged answer at its best and at its worst. `p_value` is
    one-sided and Holm-adjusted. `binding` says whether the decision counts when it is not a failure.
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


@dataclass(frozen=True, slots=True)
class Flip:
    """A prompt that was answered well before and badly after."""

    metric: str
    prompt_id: str
    category: str
    prompt: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Report:
    """A gate's decision, what it rests on, and remarks that a reader must see."""

    decision: Decision
    exit_code: int
    reason: str
    checks: tuple[Check, ...]
    flips: tuple[Flip, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Tested:
    """A table compared: with unjudged answers left out, at their best, and at their worst."""

    table: Table
    category: str | None
    judged: stats.Comparison | None
    best: stats.Comparison
    worst: stats.Comparison
    rates: tuple[float, float]


def gate(
    before: Path, after: Path, policy: Policy, *, labels: Path | None = None, calibration: Path | None = None
) -> Report:
    """Decides whether `after` may ship, given `before`.

    Args:
        before: a directory of lm-eval output, of the model before training.
        after: the same of the model after it.
        policy: what may not get worse.
        labels: people's verdicts on a random sample of these answers, a CSV or JSON-lines file.
        calibration: what `harness calibrate` wrote of the judge.

    Raises HarnessError where an input is missing, broken or edited, or where the sides cannot be compared.
    """
    pairing = pair(before, after, policy)
    known = read_known(labels, calibration, pairing.sides)
    checks = _checks([tabulate(metric, pairing, policy, known) for metric in policy.metrics], policy)
    checks += _likelihood(after, policy)
    decision, reason = _overall(checks)
    notes = (*pairing.notes, *known.warnings)
    return Report(decision, policy.exit_code(decision), reason, tuple(checks), _flips(pairing, policy), notes)


def decide(comparison: stats.Comparison, margin: float, alpha: float, p_value: float) -> Decision:
    """PASS when the loss is surely under the margin, FAIL when it is significant and may exceed it."""
    if comparison.high < margin:
        return "pass"
    return "fail" if p_value <= alpha else "inconclusive"


# Checks


def _checks(tables: Sequence[Table], policy: Policy) -> list[Check]:
    tested = [_test(part, category, policy) for table in tables for category, part in _parts(table)]
    _refuse_unknown_categories(tested, policy)
    adjusted = stats.holm([test.best.p_value for test in tested])
    return [_check(test, float(p), policy) for test, p in zip(tested, adjusted, strict=True)]


def _parts(table: Table) -> list[tuple[str | None, Table]]:
    """The whole table, then its categories."""
    names = sorted({category for category in table.categories if category is not None})
    return [(None, table), *((name, table.category(name)) for name in names)]


def _refuse_unknown_categories(tested: Iterable[_Tested], policy: Policy) -> None:
    unknown = set(policy.no_fall_categories) - {test.category for test in tested}
    if unknown:
        raise HarnessError(
            f"no prompt is of the category {', '.join(sorted(unknown))}, which must not fall",
            mend="Correct no_fall_categories in the policy.",
        )


def _test(table: Table, category: str | None, policy: Policy) -> _Tested:
    level = 1 - 2 * policy.alpha
    both = (table.before.judged > 0) & (table.after.judged > 0)
    judged = table.at(both).judged_only() if both.any() else None
    middle = judged.compare((0, 0), level) if judged else None
    rates = judged.rates() if judged else (math.nan, math.nan)
    return _Tested(table, category, middle, table.compare((0, 1), level), table.compare((1, 0), level), rates)


def _check(test: _Tested, p_value: float, policy: Policy) -> Check:
    table, margin = test.table, policy.metrics[test.table.metric].margin
    flip = policy.worse(table.metric) == "higher"
    decision, reason, needed = _decision(test, p_value, margin, policy)
    binding = test.category is None or test.category in policy.no_fall_categories
    return Check(
        metric=table.metric, category=test.category, decision=decision, reason=reason,
        before=1 - test.rates[0] if flip else test.rates[0], after=1 - test.rates[1] if flip else test.rates[1],
        loss=test.judged.loss if test.judged else math.nan, low=test.best.low, high=test.worst.high,
        margin=0.0 if test.category in policy.no_fall_categories else margin, p_value=p_value,
        prompts=table.prompts, prompts_needed=needed,
        unjudged=table.unjudged_rate, judge_error=table.error.told,
        binding=binding or decision == "fail",
    )  # fmt: skip


def _decision(test: _Tested, p_value: float, margin: float, policy: Policy) -> tuple[Decision, str, int | None]:
    """The decision on one check, its reason, and the prompts that would settle an open one."""
    table, bounds = test.table, replace(test.worst, low=test.best.low)
    if obstacle := _obstacle(table, policy):
        return "inconclusive", obstacle, None
    if test.category in policy.no_fall_categories:
        return _no_fall(test, p_value, policy.alpha)
    decision, prompts = decide(bounds, margin, policy.alpha, p_value), table.prompts
    if decision == "fail":
        return decision, f"lost {_points(bounds.low)} to {_points(bounds.high)} points (p {_p(p_value)})", None
    if decision == "pass" and test.category is None and prompts < policy.minimum_prompts:
        return (
            "inconclusive",
            f"{prompts} prompts, the policy asks for {policy.minimum_prompts}",
            policy.minimum_prompts,
        )
    if decision == "pass":
        return decision, f"loss is under {_points(bounds.high)} points", None
    needed = test.judged.prompts_to_settle(prompts, margin, policy.alpha) if test.judged else None
    return decision, f"loss may be up to {_points(bounds.high)} points{_remedy(needed, prompts)}", needed


def _obstacle(table: Table, policy: Policy) -> str | None:
    """What keeps a table from deciding anything."""
    if table.unjudged_rate > policy.maximum_unjudged:
        return f"{table.unjudged_rate:.1%} of answers are unjudged, the policy allows {policy.maximum_unjudged:.1%}"
    if table.error.floor < policy.judge_floor:
        right = max(table.error.floor, 0.0)
        return f"the judge is right on {right:.0%} at worst, the policy asks for {policy.judge_floor:.0%}"
    return None


def _no_fall(test: _Tested, p_value: float, alpha: float) -> tuple[Decision, str, None]:
    if p_value <= alpha:
        return "fail", f"must not fall, and lost at least {_points(test.best.low)} points (p {_p(p_value)})", None
    if test.worst.loss <= 0:
        return "pass", f"was not seen to fall (the loss may be up to {_points(test.worst.high)} points)", None
    return "inconclusive", f"must not fall, and was seen to by {_points(test.worst.loss)} points", None


def _remedy(needed: int | None, prompts: int) -> str:
    if needed is None:
        return "; more prompts alone would not settle it"
    return f"; about {max(needed, prompts + 1)} prompts would settle it"


def _points(rate: float) -> str:
    return f"{100 * rate:.1f}"


def _p(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.3f}"


def _likelihood(after: Path, policy: Policy) -> list[Check]:
    """The check on the mean log-probability of preferred answers, where the policy limits its fall."""
    limit = policy.minimum_preferred_logprob_change
    if limit is None:
        return []
    change = _logprob_change(after)
    decision: Decision = "pass" if change.low >= limit else "fail" if change.high < limit else "inconclusive"
    reason = (
        f"changed by {change.value:.1f} nats ({change.low:.1f} to {change.high:.1f}), the policy allows {limit:.1f}"
    )
    return [Check("preferred_logprob_change", None, decision, reason, math.nan, math.nan, -change.value, -change.high,
                  -change.low, -limit, math.nan, change.n, None, 0.0, "", True, "nats")]  # fmt: skip


def _logprob_change(after: Path) -> stats.Estimate:
    name = arm(after)
    if name is None:
        raise HarnessError(
            "the policy limits the change of preferred likelihood, which only a run's arm has",
            place=str(after),
            mend="Gate an arm of a run, or remove minimum_preferred_logprob_change.",
        )
    run = next(parent.parent for parent in (after.resolve(), *after.resolve().parents) if parent.name == "arms")
    content = read_json(run / "results.json")
    try:
        entry = content["arms"][name]
        numbers = [float(entry["preferred_logprob_change"][key]) for key in ("value", "low", "high")]
        pairs = int(entry["pairs"])
    except (KeyError, TypeError, ValueError) as error:
        raise HarnessError(
            f"says nothing of the change of preferred likelihood of {name} ({error})",
            place=str(run / "results.json"),
            mend="Finish the run.",
        ) from error
    if not all(map(math.isfinite, numbers)):
        raise HarnessError(
            f"the change of preferred likelihood of {name} is no number", place=str(run / "results.json")
        )
    return stats.Estimate(numbers[0], numbers[1], numbers[2], pairs)


def _overall(checks: Sequence[Check]) -> tuple[Decision, str]:
    for decision in ("fail", "inconclusive"):
        if found := [check for check in checks if check.decision == decision and check.binding]:
            return decision, "; ".join(f"{_name(check)}: {check.reason}" for check in found[:3])
    return "pass", "every guarded metric stays within its margin"


def _name(check: Check) -> str:
    return check.metric if check.category is None else f"{check.metric} in {safe(check.category, 60)}"


# Flips


def _flips(pairing: Pairing, policy: Policy, limit: int = 5) -> tuple[Flip, ...]:
    """The prompts that lost most, harmful completions first, one line each prompt."""
    found: dict[Unit, tuple[float, Flip]] = {}
    for metric in sorted(policy.metrics, key=lambda name: name != "harmful_completion_rate"):
        before, after = answers = pairing.answers(metric)
        for unit in shared(answers):
            if unit not in found and (flip := _flip(metric, before[unit], after[unit], policy)):
                found[unit] = flip
    ranked = sorted(found.values(), key=lambda item: -item[0])
    return tuple(flip for _, flip in ranked[:limit])


def _flip(metric: str, before: Sequence[Answer], after: Sequence[Answer], policy: Policy) -> tuple[float, Flip] | None:
    """How much a prompt lost, with a good answer before and a bad one after; None where it did not."""
    good, bad = (1.0, 0.0) if policy.worse(metric) == "lower" else (0.0, 1.0)
    drop = abs(mean_outcome(before, metric) - bad) - abs(mean_outcome(after, metric) - bad)
    first = next((answer for answer in before if answer.outcomes[metric] == good), None)
    last = next((answer for answer in after if answer.outcomes[metric] == bad), None)
    if not drop > 0 or first is None or last is None:
        return None
    category = str(first.doc.get(policy.category, ""))
    return drop, Flip(metric, first.prompt_id, category, first.prompt, first.response, last.response)
