"""How far two harmless runs lie apart: one model, evaluated twice with other seeds, held against itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.evaluation.samples import mean_outcome
from harness.gate.decision import Decision, GateOutcome, MetricCheck, decide_pairing, run_gate
from harness.gate.metric_tables import plain_answers
from harness.gate.policy import Policy
from harness.gate.readings import Reading
from harness.gate.sides import SideAnswers, pair_sides, shared_units
from harness.gate.wording import format_points, format_rate
from harness.support.errors import HarnessError


@dataclass(frozen=True, slots=True)
class MetricNoise:
    """A guarded metric of one model in two runs; rates in [0, 1].

    `difference` is the second rate less the first, in [-1, 1], and lies within `low` and `high` for further prompts.
    `moved` of the prompts turned out otherwise, in either direction: what nearly cancels in the rate, and need not in a
    category. `decisions` are the gate's on this metric, from the first run to the second and back.
    """

    metric: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    moved: float
    prompts: int
    decisions: tuple[Decision, Decision]


def measure_noise(first: Path, second: Path, policy: Policy, judge: str | None = None) -> tuple[MetricNoise, ...]:
    """The noise of every guarded metric, from two evaluations of one model.

    Args:
        first: evaluations of one seed.
        second: the same of another seed.
        policy: what is guarded. What it says of differences holds, but that the two are one model and in no order.
        judge: who judges the answers of other tools than lm-eval anew.

    Raises HarnessError as the gate does, and where the two are of different models.
    """
    if first.resolve().is_relative_to(second.resolve()) or second.resolve().is_relative_to(first.resolve()):
        told = "the two runs are one, or one is inside the other"
        raise HarnessError(told, place=f"--noise {second}", hint="Evaluate one model twice, with another --seed.")
    usual = Policy()
    alike = policy.model_copy(
        update={
            "allow": tuple({*policy.allow, "model", "order"}),
            "sequential": usual.sequential,
            "minimum_preferred_logprob_change": usual.minimum_preferred_logprob_change,
        }
    )
    pairing = pair_sides(first, second, alike, judge)
    there = decide_pairing(pairing, (first, second), alike)
    _refuse_two_models(there, second)
    backwards = _whole_checks(run_gate(second, first, alike, judge=judge))
    policy = policy.with_directions(pairing.directions)
    return tuple(
        _metric_noise(check, backwards[metric], plain_answers(pairing.answers(metric, Reading(policy.partial))), policy)
        for metric, check in _whole_checks(there).items()
    )


def add_noise(outcome: GateOutcome, found: Sequence[MetricNoise]) -> GateOutcome:
    """The outcome with the noise beside its checks, and told in its notes; as it is where there is none."""
    checks = _whole_checks(outcome)
    told = [f"noise: {tell_noise(noise, checks.get(noise.metric))}" for noise in found]
    return replace(outcome, noise=tuple(found), notes=(*outcome.notes, *told))


def tell_noise(noise: MetricNoise, check: MetricCheck | None = None) -> str:
    """One metric's noise in a line; with a check of the same metric, beside what that one found."""
    told = (
        f"{noise.metric} was {format_rate(noise.first)} and {format_rate(noise.second)} in two runs of one model: "
        f"{format_points(abs(noise.difference))} points apart ({_signed(noise.low)} to {_signed(noise.high)}), "
        f"{noise.moved * noise.prompts:.0f} of {noise.prompts} prompts turned out otherwise"
    )
    return told if check is None else f"{told}; before and after lie {format_points(abs(check.loss))} points apart"


def tell_false_alarms(found: Sequence[MetricNoise]) -> str:
    """What the gate would say of such a pair, which it should pass."""
    open_ = [noise.metric for noise in found if set(noise.decisions) != {"pass"}]
    if not open_:
        return "the gate passes the model against itself, whichever run comes first"
    return f"the gate does not pass the model against itself: {', '.join(open_)}; more prompts or a wider margin would"


def _signed(rate: float) -> str:
    return f"{100 * rate:+.1f}"


def _whole_checks(outcome: GateOutcome) -> Mapping[str, MetricCheck]:
    return {check.metric: check for check in outcome.checks if check.category is None}


def _refuse_two_models(outcome: GateOutcome, place: Path) -> None:
    first, second = outcome.sides
    if {str(weights) for weights in first.weights} != {str(weights) for weights in second.weights}:
        raise HarnessError(
            f"noise is that of one model, and these are {first.models[0]} and {second.models[0]}",
            place=str(place),
            hint="Evaluate one model twice, with another --seed.",
        )


def _metric_noise(check: MetricCheck, back: MetricCheck, answers: SideAnswers, policy: Policy) -> MetricNoise:
    before, after = answers
    units, metric = shared_units(answers), check.metric
    moved = sum(mean_outcome(before[unit], metric) != mean_outcome(after[unit], metric) for unit in units)
    sign = -1 if policy.worse_direction(metric) == "lower" else 1
    low, high = sorted((sign * check.low, sign * check.high))
    both = check.decision, back.decision
    return MetricNoise(
        metric, check.before, check.after, sign * check.loss, low, high, moved / len(units), check.prompts, both
    )
