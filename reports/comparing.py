"""Several runs on one page: rates by date, paired tests on the same prompts, and what differs in their recipes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING

from harness.evaluation.samples import Answer
from harness.support import stats
from harness.support.run_results import Interval, Metric, SeedEstimate
from reports.figures import gain_interval
from reports.words import flatten_recipe, measured

if TYPE_CHECKING:
    from reports.view import View


PROMPTS_SHOWN = 500
_NONE = "none"
"""What a recipe says of a key that it sets to null, or that its version of the harness did not know."""


@dataclass(frozen=True, slots=True)
class SharedPrompt:
    """One prompt put to all runs: by run, the good outcomes before and after, out of how many judged answers."""

    prompt_id: str
    category: str
    before: Sequence[tuple[int, int]]
    after: Sequence[tuple[int, int]]

    @property
    def outcome_range(self) -> float:
        """How far apart the runs are after training, in shares of good outcomes."""
        shares = [good / judged for good, judged in self.after if judged]
        return max(shares, default=0.0) - min(shares, default=0.0)


@dataclass(frozen=True, slots=True)
class PairedTest:
    """One arm of a run against the same arm of the first run, on the prompts that both answered.

    `rates` are the first run's and this one's, `gain` is how many more good outcomes this one has, with Tango's 95 %
    interval; `p_value` is McNemar's exact one, two-sided, Holm-adjusted over all tests of the page.
    """

    run: str
    arm: str
    metric: Metric
    rates: tuple[float, float]
    gain: Interval
    p_value: float


@dataclass(frozen=True, slots=True)
class RunComparison:
    """What a page says of several runs together.

    `names` and `arms` are the shared arms and what the page calls them, `label` the one that prompts are followed
    through; `trend` is each run's name, what it must share with its neighbour to be joined by a line, and its arms'
    rates by label; `metric` is None where some judges tell refusals and others harm only.
    """

    judges: Sequence[str]
    metric: Metric | None
    models: Sequence[str]
    trend: Sequence[tuple[str, str, Mapping[str, SeedEstimate]]]
    tests: Sequence[PairedTest]
    names: Sequence[str]
    arms: Sequence[str]
    label: str
    prompts: Sequence[SharedPrompt]
    shared_prompts: int
    recipes: Sequence[tuple[str, Sequence[str]]]


def compare_runs(views: Sequence[View]) -> RunComparison:
    """Compares runs, in the order given; rates only where their judges tell the same outcome."""
    metrics = {measured(view.run.recipe.judge) for view in views}
    metric = metrics.pop() if len(metrics) == 1 else None
    common = [name for name in views[0].run.arms if all(name in view.run.arms for view in views)]
    labels = {name: _shared_label(views, name) for name in common}
    arm = next((name for name in common if name != "baseline"), None)
    asked = _shared_prompts(views, arm, metric) if arm and metric else []
    return RunComparison(
        [*dict.fromkeys(view.run.recipe.judge for view in views)],
        metric,
        [*dict.fromkeys(view.starting_model for view in views)],
        [(view.run.name, _line_of(view), _arm_rates(view, labels, metric)) for view in views] if metric else [],
        _paired_tests(views, labels, metric) if metric else [],
        common,
        [*labels.values()],
        labels[arm] if arm else "",
        sorted(asked, key=lambda prompt: -prompt.outcome_range)[:PROMPTS_SHOWN],
        len(asked),
        _recipe_differences(views),
    )


def _shared_label(views: Sequence[View], arm: str) -> str:
    """An arm's label where all runs agree on it, else its name."""
    labels = {view.labels[arm] for view in views}
    return labels.pop() if len(labels) == 1 else arm.replace("_", " ")


def _line_of(view: View) -> str:
    """What two runs must share for a line between them to say something: the starting model and the judge."""
    return f"{view.starting_model}, judged by {view.run.recipe.judge}"


def _paired_tests(views: Sequence[View], labels: Mapping[str, str], metric: Metric) -> list[PairedTest]:
    """Every later run against the first, arm by arm, by refusals (or harm) and by benign compliance."""
    guarded: list[Metric] = [metric, "benign_compliance_rate"]
    found = [
        test
        for view in views[1:]
        for name, label in labels.items()
        for each in guarded
        if (test := _paired_test(views[0], view, name, label, each))
    ]
    adjusted = stats.holm_adjust([test.p_value for test in found])
    return [replace(test, p_value=float(p)) for test, p in zip(found, adjusted, strict=True)]


def _paired_test(first: View, later: View, arm: str, label: str, metric: Metric) -> PairedTest | None:
    """The test of one arm and metric; None where the runs share no judged prompt."""
    tables = [_prompt_outcomes(view, arm, metric) for view in (first, later)]
    shared = [
        (was[1], now[1]) for key, was in tables[0].items() if (now := tables[1].get(key)) and was[1][1] and now[1][1]
    ]
    if not shared:
        return None
    before, after = ([good / judged for good, judged in side] for side in zip(*shared, strict=True))
    table = stats.paired_counts(before, after)
    tails = stats.mcnemar_p_value(table.lost, table.gained), stats.mcnemar_p_value(table.gained, table.lost)
    harm = metric == "harmful_completion_rate"
    rates = [1 - fmean(side) if harm else fmean(side) for side in (before, after)]
    gain, p_value = gain_interval(table, len(shared)), min(1.0, 2 * float(min(tails)))
    return PairedTest(later.run.name, label, metric, (rates[0], rates[1]), gain, p_value)


def _arm_rates(view: View, arms: Mapping[str, str], metric: Metric) -> dict[str, SeedEstimate]:
    """Each arm's rate on training prompts, by its label."""
    return {label: view.run.arms[name].metrics[metric].train for name, label in arms.items()}


def _shared_prompts(views: Sequence[View], arm: str, metric: str) -> list[SharedPrompt]:
    """The unsafe prompts that every run answered, the same by id and text, in the order of the first run."""
    tables = [[_prompt_outcomes(view, name, metric) for name in ("baseline", arm)] for view in views]
    first = tables[0][1]
    shared = [key for key in first if all(key in table for pair in tables for table in pair)]
    return [
        SharedPrompt(
            key[0],
            first[key][0],
            [before[key][1] for before, _ in tables],
            [after[key][1] for _, after in tables],
        )
        for key in shared
    ]


def _prompt_outcomes(view: View, arm: str, metric: str) -> dict[tuple[str, str], tuple[str, tuple[int, int]]]:
    """By prompt id and text: category, and good outcomes of judged answers."""
    answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for by_prompt in view.run.answers.get(arm, {}).values():
        for answer in by_prompt.values():
            if metric in answer.outcomes:
                answers[answer.prompt_id, answer.prompt].append(answer)
    return {key: (str(given[0].doc.get("hazard", "")), _count_good(given, metric)) for key, given in answers.items()}


def _count_good(answers: Sequence[Answer], metric: str) -> tuple[int, int]:
    judged = [value for answer in answers if not math.isnan(value := answer.outcomes[metric])]
    wanted = 0.0 if metric == "harmful_completion_rate" else 1.0
    return sum(value == wanted for value in judged), len(judged)


def _recipe_differences(views: Sequence[View]) -> list[tuple[str, list[str]]]:
    """Recipe keys, versions and models that are not the same in all runs, with each run's value."""
    told = [
        flatten_recipe(view.run.recipe.recorded)
        | {f"version of {name}": value for name, value in view.run.manifest["versions"].items()}
        | {"harness commit": str((view.run.manifest.get("source") or {}).get("revision", "null"))[:12]}
        | {"model content": str(view.run.manifest.get("model", {}).get("sha256", ""))[:12]}
        for view in views
    ]
    keys = dict.fromkeys(key for each in told for key in each)
    rows = [(key, [_NONE if (value := each.get(key, "null")) == "null" else value for each in told]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
