"""Which scored pairs to keep for training, which to drop, and how the two differ. Pure: a table in, a choice out."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.preferences.pairs import pair_type, refuse_repeated
from harness.scoring.guarding import choose_most
from harness.scoring.targets import TARGETS, Target, error_column, influence_column, is_better_higher
from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from datasets import Dataset


Amount = int | float
"""A whole number of pairs, or a fraction (a float in (0, 1]) of those that have a score, rounded up."""

_LENGTHS = ("prompt_tokens", "chosen_tokens", "rejected_tokens")


@dataclass(frozen=True, slots=True)
class Choice:
    """A table parted in two by a rule; rows without a score are in neither.

    `kept`, `dropped`: in the order of their `pair_id`. `cut`: the score the rule cut at (the outermost kept, or the
    bounds of a window), None for a random choice. `unscored`: how many rows had no score, by reason.
    """

    rule: str
    by: str
    kept: Dataset
    dropped: Dataset
    cut: float | list[float] | None
    unscored: dict[str, int]


def filter_lowest(scored: Dataset, amount: Amount, by: str = "ln_ches") -> Dataset:
    """The pairs with the lowest scores: `filter_lowest(scored, 0.05)` is the paper's filter (section 6).

    Args:
        scored: a table from `harness.scoring.scorer.score`.
        amount: a fraction of the scored pairs (float) or a number of them (int).
        by: the measure; `ln_ches` unless there is a reason.

    Raises HarnessError where the measure is not in the table or the amount does not fit it.
    """
    return keep_lowest(scored, amount, by).kept


def filter_highest(scored: Dataset, amount: Amount, by: str = "refusal_influence") -> Dataset:
    """The pairs with the highest scores: `filter_highest(scored, 0.5)` are those that hold refusals up best.

    Args:
        scored: a table from `harness.scoring.scorer.score`, called with `probes`.
        amount: a fraction of the scored pairs (float) or a number of them (int).
        by: the measure.

    Raises HarnessError where the measure is not in the table or the amount does not fit it.
    """
    return keep_highest(scored, amount, by).kept


def keep_lowest(scored: Dataset, amount: Amount, by: str = "ln_ches") -> Choice:
    """Keeps the pairs with the lowest scores; of equal scores the first `pair_id`."""
    ranks = _ranked_rows(scored, by)
    n = _resolve_amount(amount, len(ranks))
    return _make_choice(scored, f"keep the lowest {amount}", by, ranks, ranks[:n], ranks[n - 1].score)


def keep_highest(scored: Dataset, amount: Amount, by: str = "refusal_influence") -> Choice:
    """Keeps the pairs with the highest scores; of equal scores the first `pair_id`."""
    ranks = _highest_first(_ranked_rows(scored, by))
    n = _resolve_amount(amount, len(ranks))
    return _make_choice(scored, f"keep the highest {amount}", by, ranks, ranks[:n], ranks[n - 1].score)


def drop_highest(scored: Dataset, amount: Amount, by: str = "ln_ches") -> Choice:
    """Drops the pairs with the highest scores; of equal scores the last `pair_id`."""
    ranks = _ranked_rows(scored, by)
    kept = ranks[: len(ranks) - _resolve_amount(amount, len(ranks))]
    if not kept:
        raise HarnessError("nothing would be kept", place="--drop-highest", hint="Drop fewer.")
    return _make_choice(scored, f"drop the highest {amount}", by, ranks, kept, kept[-1].score)


def keep_around_quantile(
    scored: Dataset, quantile: float, n: int, by: str = "ln_ches", *, by_rank: bool = False
) -> Choice:
    """Keeps `n` pairs around a quantile in [0, 1] of the scores, as in section 5 (at either end, the outermost n).

    The window's middle is at `quantile` times the number of scored pairs N. With `by_rank`, as in the authors' code, it
    begins n // 2 before the pair of rank round(quantile (N - 1)), counted from 0; that is a place off at most.
    """
    if not 0 <= quantile <= 1:
        raise HarnessError(f"{quantile} is not between 0 and 1", place="--quantile")
    ranks = _ranked_rows(scored, by)
    n = _resolve_amount(n, len(ranks))
    first = round(quantile * (len(ranks) - 1)) - n // 2 if by_rank else round(quantile * len(ranks) - n / 2)
    start = min(max(first, 0), len(ranks) - n)
    kept = ranks[start : start + n]
    rule = f"{n} around the {quantile} quantile"
    return _make_choice(scored, rule, by, ranks, kept, [kept[0].score, kept[-1].score])


def keep_at_most(scored: Dataset, threshold: float, by: str = "ln_ches") -> Choice:
    """Keeps the pairs with a score of at most `threshold`."""
    ranks = _ranked_rows(scored, by)
    kept = [rank for rank in ranks if rank.score <= threshold]
    if not kept:
        lowest = f"the lowest {by} is {ranks[0].score:g}"
        raise HarnessError(f"no pair is at most {threshold:g}", place="--threshold", hint=f"Raise it: {lowest}.")
    return _make_choice(scored, f"at most {threshold:g}", by, ranks, kept, threshold)


def keep_at_least(scored: Dataset, threshold: float, by: str = "refusal_influence") -> Choice:
    """Keeps the pairs with a score of at least `threshold`."""
    ranks = _ranked_rows(scored, by)
    kept = [rank for rank in ranks if rank.score >= threshold]
    if not kept:
        highest = f"the highest {by} is {ranks[-1].score:g}"
        raise HarnessError(f"no pair is at least {threshold:g}", place="--threshold", hint=f"Lower it: {highest}.")
    return _make_choice(scored, f"at least {threshold:g}", by, ranks, kept, threshold)


def keep_beyond(scored: Dataset, threshold: float, by: str) -> Choice:
    """Keeps the pairs on the good side of `threshold`: at least that of what is better high, else at most."""
    return (keep_at_least if is_better_higher(by) else keep_at_most)(scored, threshold, by)


def filter_guarded(scored: Dataset, targets: Sequence[Target], errors: float = 0.0) -> Dataset:
    """The most pairs whose mean influence on every target is on its good side, as `keep_guarded` chooses them."""
    return keep_guarded(scored, targets, errors).kept


def keep_guarded(scored: Dataset, targets: Sequence[Target], errors: float = 0.0) -> Choice:
    """Keeps as many pairs as possible with the forecast of every target on its good side, or at zero.

    A target's forecast is the mean influence of the kept pairs on it; good is above 0, for `harmful` below.

    Args:
        scored: a table from `harness.scoring.scorer.score`, called with `probes` and these targets.
        targets: at least one; with one, those of the best influence are kept.
        errors: how many standard errors the forecast must be on the good side by; see `forecast_of`.

    Raises HarnessError where a target was not scored, or no pair can be kept.
    """
    gains = [_target_gains(scored, target, errors) for target in targets]
    common = set[int].intersection(*map(set, gains))
    ranks = [rank for rank in _ranked_rows(scored, influence_column(targets[0])) if rank.place in common]
    ranks.sort(key=lambda rank: rank.pair_id)
    taken = choose_most(np.array([[own[rank.place] for rank in ranks] for own in gains]))
    kept = list(compress(ranks, taken))
    names = ", ".join(targets)
    if not kept:
        hint = "Guard fewer targets, or take other pairs in."
        raise HarnessError(f"no pair can be kept with the forecast of {names} good", place="--guard", hint=hint)
    margin = f" by {errors:g} standard errors" if errors else ""
    rule = f"as many as keep the forecast of {names} good{margin}"
    return _make_choice(scored, rule, ", ".join(map(influence_column, targets)), ranks, kept, None)


def forecast_of(influences: Sequence[float | None], errors: Sequence[float | None]) -> dict[str, float]:
    """The mean influence of pairs on a target, and a bound of its standard error; empty where none was scored.

    What is known of each pair does not tell how far the pairs err together, as all are measured along one gradient. The
    bound, the mean of their standard errors, holds however far that is.
    """
    values = [value for value in influences if value is not None]
    spreads = [value for value in errors if value is not None]
    return {"mean": fmean(values), "error_at_most": fmean(spreads)} if values and spreads else {}


def keep_random(scored: Dataset, amount: Amount, seed: int, by: str = "ln_ches") -> Choice:
    """Keeps pairs drawn at random from those with a score: the control arm of a filter of the same size."""
    ranks = sorted(_ranked_rows(scored, by), key=lambda rank: rank.pair_id)
    kept = random.Random(seed).sample(ranks, _resolve_amount(amount, len(ranks)))
    return _make_choice(scored, f"{amount} at random, seed {seed}", by, ranks, kept, None)


def keep_type(scored: Dataset, type_: str, by: str = "ln_ches") -> Choice:
    """Keeps the pairs of one type by their verdicts: `two_refusals`, `two_non_refusals` or `mixed`, as in section 6.

    Raises HarnessError where the table has no verdicts, or no pair of that type has a score.
    """
    ranks = _ranked_rows(scored, by)
    if not {"chosen_verdict", "rejected_verdict"} <= set(scored.column_names):
        raise HarnessError("has no verdicts, so its pairs have no type", place="scores", hint="Leave `only` out.")
    verdicts = list(zip(scored["chosen_verdict"][:], scored["rejected_verdict"][:], strict=True))
    kept = [rank for rank in ranks if pair_type(*verdicts[rank.place]) == type_]
    if not kept:
        raise HarnessError(f"no pair is of the type {type_}", place="scores", hint="Leave the arm out.")
    return _make_choice(scored, f"only {type_}", by, ranks, kept, None)


def describe_choice(choice: Choice) -> dict[str, Any]:
    """The choice as one JSON value: rule, cut, what was kept and dropped, and how the two differ."""
    return {
        "schema_version": 1,
        "rule": choice.rule,
        "by": choice.by,
        "cut": choice.cut,
        "unscored": choice.unscored,
        "kept": _describe_group(choice.kept, choice.by),
        "dropped": _describe_group(choice.dropped, choice.by),
        **_describe_forecasts(choice),
        "kept_pair_ids": choice.kept["pair_id"][:],
        "dropped_pair_ids": choice.dropped["pair_id"][:],
    }


@dataclass(frozen=True, slots=True)
class _Rank:
    score: float
    pair_id: str
    place: int


def _ranked_rows(scored: Dataset, by: str) -> list[_Rank]:
    """The rows with a score, lowest first."""
    for name in ("pair_id", by):
        if name not in scored.column_names:
            known = name in map(influence_column, TARGETS)
            hint = "Score with --probes, and with this target." if known else _name_columns(scored)
            raise HarnessError(f"no column {name!r}", place="scores", hint=hint)
    ids, values = [str(name) for name in scored["pair_id"][:]], scored[by][:]
    refuse_repeated(ids, "scores")
    try:
        ranks = [_Rank(float(v), ids[i], i) for i, v in enumerate(values) if v is not None and not math.isnan(v)]
    except (TypeError, ValueError):
        raise HarnessError(f"column {by!r} does not hold numbers", place="scores") from None
    if not ranks:
        raise HarnessError(f"no pair has a {by}", place="scores", hint="Score the preferences first.")
    return sorted(ranks, key=lambda rank: (rank.score, rank.pair_id))


def _target_gains(scored: Dataset, target: Target, errors: float) -> dict[int, float]:
    """What each row adds to a target's forecast, less its part of so many errors, counted so that more is better."""
    column = influence_column(target)
    sign = 1.0 if is_better_higher(column) else -1.0
    gains = {rank.place: sign * rank.score for rank in _ranked_rows(scored, column)}
    if errors:
        spreads = {rank.place: rank.score for rank in _ranked_rows(scored, error_column(target))}
        gains = {place: gain - errors * spreads[place] for place, gain in gains.items() if place in spreads}
    return {place: gain for place, gain in gains.items() if math.isfinite(gain)}


def _describe_forecasts(choice: Choice) -> dict[str, Any]:
    """What the choice does to the mean influence on each target that the pairs were scored for."""
    said = {}
    for target in TARGETS:
        names = (influence_column(target), error_column(target))
        if {*names} <= {*choice.kept.column_names}:
            kept, dropped = ([rows[name][:] for name in names] for rows in (choice.kept, choice.dropped))
            said[target] = {
                "all": forecast_of(*(own + others for own, others in zip(kept, dropped, strict=True))),
                "kept": forecast_of(*kept),
            }
    return {"forecasts": said} if said else {}


def _name_columns(scored: Dataset) -> str:
    return f"There are: {', '.join(scored.column_names)}."


def _highest_first(ranks: Sequence[_Rank]) -> list[_Rank]:
    """The same rows, highest first; of equal scores the first `pair_id` still comes first."""
    return sorted(ranks, key=lambda rank: (-rank.score, rank.pair_id))


def _resolve_amount(amount: Amount, available: int) -> int:
    if isinstance(amount, float):
        if not 0 < amount <= 1:
            raise HarnessError(f"{amount:g} is no fraction", hint="Give one above 0 and up to 1, or a whole number.")
        return math.ceil(Fraction(repr(amount)) * available)
    if not 1 <= amount <= available:
        raise HarnessError(f"{amount} pairs asked for", hint=f"Between 1 and {available} have a score.")
    return amount


def _make_choice(
    scored: Dataset, rule: str, by: str, ranks: Sequence[_Rank], kept: Sequence[_Rank], cut: float | list[float] | None
) -> Choice:
    chosen, known = {rank.place for rank in kept}, {rank.place for rank in ranks}
    in_order = sorted(ranks, key=lambda rank: rank.pair_id)
    parts = [[rank.place for rank in in_order if (rank.place in chosen) == wanted] for wanted in (True, False)]
    reasons = scored["reason"][:] if "reason" in scored.column_names else [None] * len(scored)
    unscored = Counter(reason or "no score" for place, reason in enumerate(reasons) if place not in known)
    return Choice(rule, by, scored.select(parts[0]), scored.select(parts[1]), cut, dict(unscored.most_common()))


def _describe_group(rows: Dataset, by: str) -> dict[str, Any]:
    names = [name for name in (by, *_LENGTHS) if name in rows.column_names]
    figures = {name: _mean_and_median([value for value in rows[name][:] if value is not None]) for name in names}
    return {"pairs": len(rows), **figures, **_verdict_shares(rows)}


def _mean_and_median(values: Sequence[float]) -> dict[str, float | None]:
    if not values:
        return {"mean": None, "median": None}
    return {"mean": fmean(values), "median": median(values)}


def _verdict_shares(rows: Dataset) -> dict[str, float | int | None]:
    """Shares of pairs of two refusals, two non-refusals and one of each, among those with both verdicts."""
    if not {"chosen_verdict", "rejected_verdict"} <= set(rows.column_names):
        return {}
    verdicts = zip(rows["chosen_verdict"][:], rows["rejected_verdict"][:], strict=True)
    known = [pair for pair in verdicts if None not in pair and "unjudged" not in pair]
    types = Counter(pair_type(*pair) for pair in known)
    names = {"two_refusals": "two_refusals", "one_of_each": "mixed", "two_non_refusals": "two_non_refusals"}
    shares = {name: types[kind] / len(known) if known else None for name, kind in names.items()}
    return {"judged_pairs": len(known), **shares}
