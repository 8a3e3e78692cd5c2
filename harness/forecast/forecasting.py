"""Forecasts: of one training, and of training on a table of scored pairs and on parts of it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from datasets import Dataset

from harness.forecast.extrapolation import Shift, expected_change, load_calibration, path_length, shift_of
from harness.forecast.look_ahead import LOOKED_SHARE, AnswerLogprobs, ProbedTarget, look_ahead, probe_targets
from harness.forecast.results import Forecast, GroupPush, KeptForecast, LookAhead, PairPush, TableForecast
from harness.preferences.pairs import PAIR_TYPES, pair_type
from harness.scoring.filtering import keep_highest
from harness.scoring.probes import Probes
from harness.scoring.targets import Target, error_column, influence_column
from harness.support.errors import HarnessError
from harness.training.jobs import TrainingJob

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


KEPT_SHARES = (0.85, 0.65, 0.5, 0.3)
_PUSHES = 10


def forecast_training(
    job: TrainingJob,
    probes: Probes,
    tokenizer: PreTrainedTokenizerBase,
    look: LookAhead | None = None,
    before: AnswerLogprobs | None = None,
) -> Forecast:
    """What a training would do to the rates that the probes measure.

    Args:
        job: the training, of which only the first steps are taken (`look`), in this process; nothing is kept.
        probes: answers of the model that it starts from. At temperature 1, several to a prompt: at a lower one most
            prompts have one answer only, from which nothing can be read.
        tokenizer: the model's.
        look: how far to look ahead; four steps, twice, without it.
        before: what the probe answers have under the starting model, for several forecasts of one; as `look_ahead`.

    Raises HarnessError where what the training needs is not installed.
    """
    look = _possible_look(look or LookAhead(), job.steps)
    probed = probe_targets(probes, tokenizer)
    shifts = _look_for_shifts(job, probed, probes, look, {} if before is None else before)
    return _forecast_of(len(job.pairs), job.steps, look, probed, shifts)


def forecast_table(
    job: TrainingJob,
    probes: Probes,
    tokenizer: PreTrainedTokenizerBase,
    look: LookAhead | None = None,
    shares: Sequence[float] = KEPT_SHARES,
) -> TableForecast:
    """What training on a table would do, which pairs do it, and what keeping the best ones would do.

    Args:
        job: training on all of a table that `harness.scoring.scorer.score` gave influence columns, `refusal` at least;
            pairs without one are left out. `reference` has the pairs that `draw_pairs_ahead` names, of all of them and
            of the best half.
        probes: as for `forecast_training`.
        tokenizer: the model's.
        look: likewise.
        shares: of the pairs to keep, by their influence on refusals; as many steps as on all of them.

    Raises HarnessError where the table has no influence column, or what the training needs is not installed.
    """
    look = _possible_look(look or LookAhead(), job.steps)
    table, unscored = usable_pairs(job.pairs)
    probed = probe_targets(probes, tokenizer)
    before: AnswerLogprobs = {}
    anchors = [
        Anchor(
            len(kept), _mean_influence(kept), _look_for_shifts(replace(job, pairs=kept), probed, probes, look, before)
        )
        for kept in (table, keep_best(table, LOOKED_SHARE))
    ]
    kept = [_forecast_kept(job, table, share, anchors, look, probed) for share in shares]
    pushes = _pair_pushes(table)
    return TableForecast(
        _forecast_of(len(table), job.steps, look, probed, anchors[0].shifts),
        kept,
        _push_by_type(table),
        _push_by_column(table, "hazard"),
        pushes[:_PUSHES],
        pushes[::-1][:_PUSHES],
        unscored,
    )


def usable_pairs(scored: Dataset) -> tuple[Dataset, dict[str, int]]:
    """The pairs that have finite influences, and the reasons of the others, counted.

    Raises HarnessError where a column is missing, or no pair has them.
    """
    column = influence_column("refusal")
    for name in ("pair_id", column, error_column("refusal")):
        if name not in scored.column_names:
            raise HarnessError(f"no column {name!r}", place="scores", hint="Score the pairs with --probes bundled.")
    targets = _scored_targets(scored)
    names = [name for target in targets for name in (influence_column(target), error_column(target))]
    known = [all(map(_is_finite, row)) for row in zip(*(scored[name][:] for name in names), strict=True)]
    if not any(known):
        raise HarnessError(f"no pair has a {column}", place="scores", hint="Score the pairs anew.")
    reasons = scored["reason"][:] if "reason" in scored.column_names else [None] * len(scored)
    unscored = Counter(str(reason or "no score") for reason, usable in zip(reasons, known, strict=True) if not usable)
    return scored.select([place for place, usable in enumerate(known) if usable]), dict(unscored)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def keep_best(table: Dataset, share: float) -> Dataset:
    """The share of the pairs (rounded up) with the highest influence on refusals."""
    return keep_highest(table, share, influence_column("refusal")).kept


# Sizes


@dataclass(frozen=True, slots=True)
class Anchor:
    """Pairs on which real steps were taken: how many, their mean influence on refusals, and the targets' shifts."""

    pairs: int
    influence: float
    shifts: Mapping[Target, Shift]


def _look_for_shifts(
    job: TrainingJob,
    probed: Mapping[Target, ProbedTarget],
    probes: Probes,
    look: LookAhead,
    before: AnswerLogprobs,
) -> dict[Target, Shift]:
    readings = look_ahead(job, probed, probes.temperature, look, before)
    return {target: shift_of(each.rates, readings[target]) for target, each in probed.items()}


def _possible_look(look: LookAhead, steps: int) -> LookAhead:
    return replace(look, steps=min(look.steps, steps))


def _forecast_of(
    pairs: int, steps: int, look: LookAhead, probed: Mapping[Target, ProbedTarget], shifts: Mapping[Target, Shift]
) -> Forecast:
    stretch, calibration = path_length(steps) / path_length(look.steps), load_calibration()
    changes = {
        target: expected_change(each.rates, shifts[target].scaled(stretch), calibration)
        for target, each in probed.items()
    }
    return Forecast(pairs, steps, look, changes)


def _forecast_kept(
    job: TrainingJob,
    table: Dataset,
    share: float,
    anchors: Sequence[Anchor],
    look: LookAhead,
    probed: Mapping[Target, ProbedTarget],
) -> KeptForecast:
    kept = keep_best(table, share)
    looked = next((anchor for anchor in anchors if anchor.pairs == len(kept)), None)
    shifts = looked.shifts if looked else shifts_between(_mean_influence(kept), anchors)
    cut = min(kept[influence_column("refusal")][:])
    return KeptForecast(share, cut, looked is not None, _forecast_of(len(kept), job.steps, look, probed, shifts))


def shifts_between(influence: float, anchors: Sequence[Anchor]) -> dict[Target, Shift]:
    """The shifts at this mean influence, on the line through two anchors; of the anchors' errors the larger."""
    one, other = anchors
    way = (influence - one.influence) / (other.influence - one.influence) if other.influence != one.influence else 0.0
    return {
        target: Shift(
            shift.mean + way * (other.shifts[target].mean - shift.mean), max(shift.error, other.shifts[target].error)
        )
        for target, shift in one.shifts.items()
    }


def _mean_influence(table: Dataset) -> float:
    return math.fsum(table[influence_column("refusal")][:]) / len(table)


# Which pairs


def _scored_targets(table: Dataset) -> list[Target]:
    known: tuple[Target, ...] = ("refusal", "harmful", "benign")
    columns = {*table.column_names}
    return [target for target in known if {influence_column(target), error_column(target)} <= columns]


def _pair_pushes(table: Dataset) -> list[PairPush]:
    """All pairs, the one that lowers refusals most first."""
    columns = {
        target: list(zip(table[influence_column(target)][:], table[error_column(target)][:], strict=True))
        for target in _scored_targets(table)
    }
    pushes = [
        PairPush(name, place, {target: figures[place] for target, figures in columns.items()})
        for place, name in enumerate(table["pair_id"][:])
    ]
    return sorted(pushes, key=lambda push: (push.influence["refusal"][0], push.pair_id))


def _push_by_type(table: Dataset) -> list[GroupPush]:
    if not {"chosen_verdict", "rejected_verdict"} <= set(table.column_names):
        return []
    verdicts = zip(table["chosen_verdict"][:], table["rejected_verdict"][:], strict=True)
    names = [pair_type(*pair) for pair in verdicts]
    groups = _push_by_group(table, names)
    return [groups[name] for name in PAIR_TYPES if name in groups]


def _push_by_column(table: Dataset, column: str) -> list[GroupPush]:
    """Groups by a column's texts, the one that lowers refusals most first; none where the table lacks it."""
    if column not in table.column_names:
        return []
    names = [value if isinstance(value, str) and value else None for value in table[column][:]]
    groups = _push_by_group(table, names)
    return sorted(groups.values(), key=lambda group: (group.influence["refusal"][0], group.name))


def _push_by_group(table: Dataset, names: Sequence[str | None]) -> dict[str, GroupPush]:
    members: dict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        if name is not None:
            members[name].append(place)
    columns = {
        target: (table[influence_column(target)][:], table[error_column(target)][:])
        for target in _scored_targets(table)
    }
    return {
        name: GroupPush(
            name,
            len(places),
            {
                target: (_mean_at(values, places), _mean_at(errors, places))
                for target, (values, errors) in columns.items()
            },
        )
        for name, places in members.items()
    }


def _mean_at(values: Sequence[float], places: Sequence[int]) -> float:
    return math.fsum(values[place] for place in places) / len(places)
