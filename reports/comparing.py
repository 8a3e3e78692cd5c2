"""Several runs on one page: rates by date, the same prompts across runs, and what differs in their recipes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.samples import Answer
from reports import words

if TYPE_CHECKING:
    from reports.page import View

PROMPTS_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """One prompt put to all runs: by run, the good outcomes before and after, out of how many judged answers."""

    prompt_id: str
    category: str
    before: Sequence[tuple[int, int]]
    after: Sequence[tuple[int, int]]

    @property
    def range(self) -> float:
        """How far apart the runs are after training, in shares of good outcomes."""
        shares = [good / judged for good, judged in self.after if judged]
        return max(shares, default=0.0) - min(shares, default=0.0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a page says of several runs together.

    `names` and `arms` are the shared arms and what the page calls them, `label` the one that prompts are followed
    through; `metric` is None where some judges tell refusals and others harm only.
    """

    judges: Sequence[str]
    metric: str | None
    trend: Sequence[Mapping[str, Any]]
    names: Sequence[str]
    arms: Sequence[str]
    label: str
    prompts: Sequence[Asked]
    shared_prompts: int
    recipes: Sequence[tuple[str, Sequence[str]]]


def compare(views: Sequence[View]) -> Comparison:
    """Compares runs, in the order given; rates only where their judges tell the same outcome."""
    metrics = {words.measured(view.run.recipe["judge"]) for view in views}
    metric = metrics.pop() if len(metrics) == 1 else None
    common = [name for name in views[0].run.arms if all(name in view.run.arms for view in views)]
    labels = {name: _label(views, name) for name in common}
    arm = next((name for name in common if name != "baseline"), None)
    asked = _prompts(views, arm, metric) if arm and metric else []
    return Comparison(
        [*dict.fromkeys(view.run.recipe["judge"] for view in views)],
        metric,
        [_rates(view, labels, metric) for view in views] if metric else [],
        common,
        [*labels.values()],
        labels[arm] if arm else "",
        sorted(asked, key=lambda prompt: -prompt.range)[:PROMPTS_SHOWN],
        len(asked),
        _recipes(views),
    )


def _label(views: Sequence[View], arm: str) -> str:
    """An arm's label where all runs agree on it, else its name."""
    labels = {view.labels[arm] for view in views}
    return labels.pop() if len(labels) == 1 else arm.replace("_", " ")


def _rates(view: View, arms: Mapping[str, str], metric: str) -> dict[str, Any]:
    rates = {label: view.run.arms[name]["metrics"][metric]["train"] for name, label in arms.items()}
    return {"name": view.run.name, "rates": rates}


def _prompts(views: Sequence[View], arm: str, metric: str) -> list[Asked]:
    """The unsafe prompts that every run answered, the same by id and text, in the order of the first run."""
    tables = [[_outcomes(view, name, metric) for name in ("baseline", arm)] for view in views]
    first = tables[0][1]
    shared = [key for key in first if all(key in table for pair in tables for table in pair)]
    return [
        Asked(
            key[0],
            first[key][0],
            [before[key][1] for before, _ in tables],
            [after[key][1] for _, after in tables],
        )
        for key in shared
    ]


def _outcomes(view: View, arm: str, metric: str) -> dict[tuple[str, str], tuple[str, tuple[int, int]]]:
    """By prompt id and text: category, and good outcomes of judged answers."""
    answers: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for by_prompt in view.run.answers.get(arm, {}).values():
        for answer in by_prompt.values():
            if metric in answer.outcomes:
                answers[answer.prompt_id, answer.prompt].append(answer)
    return {key: (str(given[0].doc.get("hazard", "")), _good(given, metric)) for key, given in answers.items()}


def _good(answers: Sequence[Answer], metric: str) -> tuple[int, int]:
    judged = [value for answer in answers if not math.isnan(value := answer.outcomes[metric])]
    wanted = 0.0 if metric == "harmful_completion_rate" else 1.0
    return sum(value == wanted for value in judged), len(judged)


def _recipes(views: Sequence[View]) -> list[tuple[str, list[str]]]:
    """Recipe keys, versions and models that are not the same in all runs, with each run's value."""
    flat = [
        words.flat(view.run.recipe)
        | {f"version of {name}": value for name, value in view.run.manifest["versions"].items()}
        | {"model content": str(view.run.manifest.get("model", {}).get("sha256", ""))[:12]}
        for view in views
    ]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows = [(key, [each.get(key, "not there") for each in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]
