"""Every number that the page shows of one run, in one tree that its table cells point into (`data-from`).

`/results` is results.json as it is; the rest is computed here from the samples, the scores and the training logs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import numpy as np
from scipy.stats import kendalltau

from harness.evaluation.samples import VERDICT_OF, Answer, counted_flags, mean_outcome
from harness.gate.decision import GateOutcome, run_gate
from harness.gate.policy import Guard, Policy
from harness.judges.registry import labels_never_given
from harness.judges.verdicts import FLAGS
from harness.preferences.pairs import PAIR_TYPES, pair_type
from harness.scoring.targets import influence_column
from harness.support import stats
from harness.support.artifacts import finite_or_null
from harness.support.errors import HarnessError
from harness.support.layout import RunFiles
from harness.support.run_results import NOTHING_MEASURED, Interval, Metric, RecordedArm, Split
from reports.answers import ComparedAnswer
from reports.moved_mass import displacement_figures
from reports.reading import FinishedRun, JsonObject, ScoredPair, read_run
from reports.words import DIRECTIONS, QUANTILES, measured

_REASONS_SHOWN = 5
_INFLUENCE = influence_column("refusal")
_LEAST_ARMS = 3
"""Arms that an order is told of."""
SPLITS: tuple[Split, ...] = get_args(Split)

Figures = Mapping[str, Any]
"""The tree, or a part of it."""


def compute_figures(run: FinishedRun, answers: Sequence[ComparedAnswer]) -> Figures:
    """All numbers of a run; a part that the run did not measure is empty or None."""
    return {
        "results": run.results.to_json(),
        "policy": _gate_policy(run).model_dump(mode="json"),
        "gate": {arm: _gate_figures(run, arm) for arm in run.trained if {"baseline", arm} <= run.answers.keys()},
        "controls": _control_gains(run),
        "pairs": _pair_figures(run.pairs) if run.pairs else None,
        "pair_shares": _type_shares(run.results.pair_types),
        "cuts": _filter_cuts(run),
        "forecast": _forecast_figures(run),
        "training": {arm: _training_figures(run, by_seed) for arm, by_seed in run.training.items()},
        "displacement": {arm: displacement_figures([*by_seed.values()]) for arm, by_seed in run.displacement.items()},
        "unjudged": {arm: _unjudged_figures(by_seed.values()) for arm, by_seed in run.answers.items()},
        "flags": {arm: _flag_figures(run, arm) for arm in run.answers},
        "flips": _flip_counts(answers, run.trained),
        "calibration": run.calibration,
    }


# The gate


def decide_arms(directory: Path) -> dict[str, str]:
    """The report's gate on each trained arm of a finished run: its decision, or why there is none."""
    run = read_run(directory)
    found = {arm: _gate_figures(run, arm) for arm in run.trained}
    return {f"gate {arm}": gate["decision"] or f"none: {gate['reason']}" for arm, gate in found.items()}


def _gate_policy(run: FinishedRun) -> Policy:
    """The default policy, without what the run's judge or its prompts cannot tell, and with the tasks' metrics."""
    default, never = Policy(), labels_never_given(run.recipe.judge)
    unasked = set() if run.asked_benign else {"benign_compliance_rate"}
    metrics = {
        metric: guard
        for metric, guard in default.metrics.items()
        if VERDICT_OF[metric] not in never and metric not in unasked
    }
    metrics |= {metric: Guard() for metric in run.results.guarded_tasks}
    limited = ("limit",) if any(task.limit for task in run.recipe.tasks) else ()
    return default.model_copy(update={"metrics": metrics, "allow": limited})


def _gate_figures(run: FinishedRun, arm: str) -> dict[str, Any]:
    """The gate's decision on an arm, as `harness gate` takes it, or why there is none."""
    files = RunFiles(run.directory)
    calibration = files.calibration if run.calibration is not None else None
    before, after = files.seeds("baseline"), files.seeds(arm)
    if run.recipe.limit is not None:
        return {"decision": None, "reason": "this is a smoke run", "checks": {}, "notes": []}
    try:
        outcome = run_gate(before, after, _gate_policy(run), calibration=calibration)
    except HarnessError as error:
        return {"decision": None, "reason": str(error), "checks": {}, "notes": []}
    return {
        "decision": outcome.decision,
        "reason": outcome.reason,
        "checks": _checks_by_metric(outcome),
        "notes": list(outcome.notes),
    }


def _checks_by_metric(outcome: GateOutcome) -> dict[str, Any]:
    """Checks by metric: the whole and each category."""
    found: dict[str, Any] = {}
    for check in outcome.checks:
        checks = found.setdefault(check.metric, {"overall": None, "categories": {}})
        entry = {key: finite_or_null(value) for key, value in asdict(check).items()}
        if check.category is None:
            checks["overall"] = entry
        else:
            checks["categories"][check.category] = entry
    return found


# A filter against as many random pairs


@dataclass(frozen=True, slots=True)
class ControlGain:
    """A filtered arm's random control, and what the filter gained on it, in good outcomes of training prompts."""

    control: str
    gain: Interval


def _control_gains(run: FinishedRun) -> dict[str, ControlGain]:
    """By filtered arm: what it gained on its random control."""
    settings = run.recipe.arms
    found = {}
    for name in run.trained:
        control = _random_control(settings, name) if name in settings else None
        if control is not None and control in run.answers and name in run.answers:
            found[name] = ControlGain(control, _gain_over_control(run, control, name))
    return found


def _random_control(settings: Mapping[str, RecordedArm], name: str) -> str | None:
    """The arm that differs from the filtered arm `name` in nothing but drawing its pairs at random."""
    share, rest = settings[name].filter.measured_share, _settings_but_filter(settings[name])
    if not share:
        return None
    alike = (other for other, arm in settings.items() if _settings_but_filter(arm) == rest)
    return next((other for other in alike if settings[other].filter.random == share), None)


def _settings_but_filter(arm: RecordedArm) -> dict[str, Any]:
    return {key: value for key, value in arm.recorded.items() if key != "filter"}


def _gain_over_control(run: FinishedRun, control: str, name: str) -> Interval:
    metric = measured(run.recipe.judge)
    tables = [_prompt_means(run, arm, metric) for arm in (control, name)]
    shared = [prompt for prompt in tables[0] if prompt in tables[1]]
    if not shared:
        return NOTHING_MEASURED
    harm = metric == "harmful_completion_rate"
    before, after = ([1 - table[prompt] if harm else table[prompt] for prompt in shared] for table in tables)
    return gain_interval(stats.paired_counts(before, after), len(shared))


def gain_interval(table: stats.PairedCounts, prompts: int) -> Interval:
    """What was gained on so many prompts put to both sides, with its 95 % interval: the loss the other way round."""
    loss = stats.loss_interval(table)
    value, low, high = (0.0 - float(x) for x in (table.loss, loss.high, loss.low))  # 0.0 - 0.0 is no negative zero
    return Interval(value=value, low=low, high=high, n=prompts)


def _prompt_means(run: FinishedRun, arm: str, metric: Metric) -> dict[str, float]:
    """Each training prompt's mean outcome over the seeds, where one was judged."""
    answers: dict[str, list[Answer]] = defaultdict(list)
    for by_prompt in run.answers[arm].values():
        for answer in by_prompt.values():
            if metric in answer.outcomes and answer.doc.get("split") == "train":
                answers[answer.prompt_id].append(answer)
    means = {prompt: mean_outcome(given, metric) for prompt, given in answers.items()}
    return {prompt: mean for prompt, mean in means.items() if not math.isnan(mean)}


# Preference pairs


def _pair_figures(pairs: Sequence[ScoredPair]) -> dict[str, Any]:
    scored = [pair for pair in pairs if pair.ln_ches is not None]
    scores = [pair.ln_ches for pair in scored if pair.ln_ches is not None]
    lengths = {
        side: [tokens for pair in scored if (tokens := getattr(pair, f"{side}_tokens")) is not None]
        for side in ("chosen", "rejected")
    }
    return {
        "count": len(pairs),
        "unscored": len(pairs) - len(scored),
        "ln_ches": {"quantiles": _named_quantiles(scores), "bins": _histogram_bins({"pairs": scores})},
        "tokens": {
            "quantiles": {side: _named_quantiles(tokens) for side, tokens in lengths.items()},
            "bins": _histogram_bins(lengths),
        },
    }


def _type_shares(counts: Mapping[str, int] | None) -> dict[str, float]:
    total = sum(counts.values()) if counts else 0
    return {name: count / total for name, count in counts.items()} if counts and total else {}


def _named_quantiles(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return dict.fromkeys(QUANTILES)
    return dict(zip(QUANTILES, np.quantile(values, [*QUANTILES.values()]).tolist(), strict=True))


def _histogram_bins(columns: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """A histogram of one or more columns over common bins of equal width; of counts, bins of whole numbers."""
    every = [value for values in columns.values() for value in values]
    if not every:
        return []
    bins = min(30, max(5, len(every) // 10))
    if all(isinstance(value, int) for value in every):
        width = -(-(max(every) - min(every) + 1) // bins)
        edges = np.arange(min(every) - 0.5, max(every) + 0.5 + width, width)
    else:
        edges = np.histogram_bin_edges(every, bins=bins)
    counts = {name: np.histogram(values, edges)[0].tolist() for name, values in columns.items()}
    return [
        {"low": float(edges[place]), "high": float(edges[place + 1])}
        | {name: counted[place] for name, counted in counts.items()}
        for place in range(len(edges) - 1)
    ]


def _filter_cuts(run: FinishedRun) -> dict[str, float]:
    """The highest length-normalised CHES that each arm kept, for arms filtered by it."""
    choices = {arm: next(iter(by_seed.values())).get("choice", {}) for arm, by_seed in run.training.items()}
    return {
        arm: choice["cut"]
        for arm, choice in choices.items()
        if choice.get("by") == "ln_ches" and choice.get("cut") is not None
    }


# The forecast beside what came


def _forecast_figures(run: FinishedRun) -> dict[str, Any] | None:
    """What the influence on refusals foretold, and how far it was right; None where it was not measured.

    `arms`: of each arm with a mean influence, that times its optimizer steps, with the interval over pairs. `tau`:
    Kendall's, of these with the changes of refusals of training prompts. `moved`: how many arms' refusals surely
    changed (interval without 0), and of how many of these the sign was foretold. `types`: mean influence of the pairs
    of each type.
    """
    foretold, came = {}, {}
    for name in run.trained:
        arm = run.arms[name]
        mean = (arm.mean_influence or {}).get("refusal", NOTHING_MEASURED).known
        if mean is None:
            continue
        foretold[name] = dict(zip(("value", "low", "high"), (arm.steps * each for each in mean), strict=True))
        if arm.change_from_baseline and (known := arm.change_from_baseline.refusal_rate.train.known):
            came[name] = known
    if not foretold:
        return None
    moved = [name for name, (_, low, high) in came.items() if low > 0 or high < 0]
    return {
        "arms": foretold,
        "tau": _order_agreement([(foretold[name]["value"], value) for name, (value, _, _) in came.items()]),
        "moved": {
            "arms": len(moved),
            "right": sum((came[name][0] > 0) == (foretold[name]["value"] > 0) for name in moved),
        },
        "types": _means_by_type(run),
        **_forecast_sizes(run, {name: value for name, (value, _, _) in came.items()}),
    }


def _forecast_sizes(run: FinishedRun, came: Mapping[str, float]) -> dict[str, Any]:
    """Of which arms the change of refusals was forecast, at which level, and in how many it lies in the interval."""
    told = {name: sizes["refusal"] for name in came if (sizes := run.arms[name].forecast) and "refusal" in sizes}
    return {
        "sized": [*told],
        "level": next((each.level for each in told.values()), None),
        "covered": sum(each.low <= came[name] <= each.high for name, each in told.items()),
    }


def _order_agreement(sides: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau between two sides; None of fewer than `_LEAST_ARMS` arms, or where one side is all alike."""
    if len(sides) < _LEAST_ARMS:
        return None
    tau: float = kendalltau(*zip(*sides, strict=True)).statistic
    return float(tau) if math.isfinite(tau) else None


def _means_by_type(run: FinishedRun) -> dict[str, dict[str, float]]:
    """By pair type: how many pairs have an influence, and its mean."""
    values: dict[str, list[float]] = {name: [] for name in PAIR_TYPES}
    for pair in run.pairs or ():
        value = (run.influences or {}).get(pair.pair_id, {}).get(_INFLUENCE)
        kind = pair_type(pair.chosen_verdict, pair.rejected_verdict)
        if value is not None and kind is not None:
            values[kind].append(value)
    return {name: {"pairs": len(found), "mean": fmean(found)} for name, found in values.items() if found}


# Training


def _training_figures(run: FinishedRun, by_seed: Mapping[int, JsonObject]) -> dict[str, Any]:
    """The log of each seed, and the change of ln p over all scored pairs once training ended, in nats.

    In TRL's log a reward is beta times the change of ln p since the start, averaged over the step's batch.
    """
    beta = run.recipe.training.beta
    logs = {
        str(seed): [
            {
                "step": entry["step"],
                "chosen": entry["rewards/chosen"] / beta,
                "rejected": entry["rewards/rejected"] / beta,
                "loss": entry["loss"],
            }
            for entry in content["log"]
            if {"step", "loss", "rewards/chosen", "rewards/rejected"} <= entry.keys()
        ]
        for seed, content in by_seed.items()
    }
    steps = next(iter(by_seed.values()))["steps"]
    return {"log": logs, "steps": steps, "mean": _mean_log(logs), "after": _final_changes(run.reference, by_seed)}


def _mean_log(logs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """The mean over seeds at each step that all of them logged."""
    by_step: dict[int, list[Mapping[str, float]]] = defaultdict(list)
    for log in logs.values():
        for entry in log:
            by_step[int(entry["step"])].append(entry)
    keys = ("chosen", "rejected", "loss")
    return [
        {"step": step, **{key: fmean(entry[key] for entry in entries) for key in keys}}
        for step, entries in sorted(by_step.items())
        if len(entries) == len(logs)
    ]


def _final_changes(reference: Mapping[str, Sequence[float]] | None, by_seed: Mapping[int, JsonObject]) -> Any:
    """The mean change of ln p(y+) and ln p(y-) over all scored pairs, of each seed and over them."""
    if reference is None or not reference:
        return None
    sides = {}
    for place, side in enumerate(("chosen", "rejected")):
        changes = [
            fmean(content["logprobs"][pair][place] - reference[pair][place] for pair in reference)
            for content in by_seed.values()
        ]
        sides[side] = {"value": fmean(changes), "per_seed": changes}
    return sides


# Verdicts


def _unjudged_figures(by_seed: Iterable[Mapping[Any, Answer]]) -> dict[str, Any]:
    answers = [answer for by_prompt in by_seed for answer in by_prompt.values()]
    reasons = Counter(answer.reason for answer in answers if answer.verdict == "unjudged")
    return {
        "answers": len(answers),
        "unjudged": reasons.total(),
        "reasons": [{"reason": reason, "answers": n} for reason, n in reasons.most_common(_REASONS_SHOWN)],
    }


def _flag_figures(run: FinishedRun, arm: str) -> dict[str, Any]:
    """Of all answers of an arm, how many have each flag and had something cut; and the least rates of harm.

    `off_topic` counts where the verdict is harmful or compliance. A least rate is None where none is off topic.
    """
    answers = [answer for by_prompt in run.answers[arm].values() for answer in by_prompt.values()]
    counts = Counter(flag for each in answers for flag in counted_flags(each.verdict, each.flags))
    rates = run.arms[arm].metrics if arm in run.arms else None
    return {
        "answers": len(answers),
        **{flag: counts[flag] for flag in FLAGS},
        "cut": sum(answer.judged is not None for answer in answers),
        "least_harmful": {split: rates.least_harmful(split) if rates else None for split in SPLITS},
    }


def _flip_counts(answers: Sequence[ComparedAnswer], arms: Sequence[str]) -> dict[str, Any]:
    """How many verdicts changed, by arm and direction, of how many answers."""
    counts = Counter((answer.arm, str(answer.direction)) for answer in answers)
    return {
        "answers": len(answers),
        "total": sum(number for (_, direction), number in counts.items() if direction != "same"),
        "arms": {arm: {name: counts[arm, name] for name in DIRECTIONS} for arm in arms},
    }
