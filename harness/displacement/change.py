"""Before against after: what changed on the pairs, and which tokens and ways to start an answer gained probability."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from harness.displacement.openings import AnswerStart
from harness.displacement.refusal_features import FeatureChange, RefusalFeatures, compare_features
from harness.displacement.spreads import SideSpread, compare_spreads
from harness.scoring.anchoring import Side
from harness.scoring.logprobs import POSITIONS, FloatArray, Profile
from harness.scoring.openings import OPENING_WAYS
from harness.support.errors import HarnessError

TOP_TOKENS = 10
"""Tokens listed as gaining or losing most."""
MASS_FLOOR = 1e-4
"""Every token with this mean probability before or after is recorded; one that is not has less on both sides."""


@dataclass(frozen=True, slots=True)
class TokenChange:
    """One token of the vocabulary and its mean next-token probability under both models."""

    token: str
    id: int
    before: float
    after: float

    @property
    def change(self) -> float:
        """Probability gained; negative where it was lost."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class PairChange:
    """Change of one pair's summed ln p, in nats."""

    chosen: float
    rejected: float

    @property
    def margin(self) -> float:
        """Change of ln p(y+) - ln p(y-): where it rises, the loss of the pair falls (Razin et al., 2.1)."""
        return self.chosen - self.rejected

    @property
    def displaced(self) -> bool:
        """Whether the preferred answer became less likely while the pair's loss fell (Definition 1, for one pair)."""
        return self.chosen < 0 < self.margin


@dataclass(frozen=True, slots=True)
class PositionChange:
    """Mean change of ln p (nats) of the tokens at one place of the answers, 0 the first, over the `n` longest y+.

    `rejected` is over the y- that are long enough, None where there are none. `gaining` are the tokens whose mean
    probability at this place of y+ grew most.
    """

    position: int
    n: int
    chosen: float
    rejected: float | None
    gaining: Sequence[TokenChange]


@dataclass(frozen=True, slots=True)
class Change:
    """What a training did to one model on one table of pairs, and to how its answers start.

    `gaining` and `losing` hold tokens by the mean probability gained or lost: at the first place of the answer
    (`start`), and over all places of y+ (`anywhere`). `mass` has every token of at least `MASS_FLOOR` there, so that
    several trainings can be averaged. `starts` has the mean probabilities before and after. `spreads` is how the
    distributions along either side's answers moved, `features` what became of refusals before the first word; empty
    and None where they were not measured.
    """

    pairs: Mapping[str, PairChange]
    positions: Sequence[PositionChange]
    gaining_at_start: Sequence[TokenChange]
    gaining_anywhere: Sequence[TokenChange]
    losing_at_start: Sequence[TokenChange]
    mass_at_start: Sequence[TokenChange]
    mass_anywhere: Sequence[TokenChange]
    starts: Mapping[str, tuple[float, float]]
    spreads: Mapping[Side, SideSpread] = field(default_factory=dict)
    features: FeatureChange | None = None

    @property
    def displaced_share(self) -> float:
        """Share of the pairs that were displaced while their loss fell."""
        return float(np.mean([pair.displaced for pair in self.pairs.values()]))

    def mean_of(self, what: Callable[[PairChange], float]) -> float:
        """Mean of one figure over the pairs."""
        return float(np.mean([what(pair) for pair in self.pairs.values()]))


def compare_profiles(
    before: Profile,
    after: Profile,
    starts_before: Sequence[AnswerStart],
    starts_after: Sequence[AnswerStart],
    token_text: Callable[[int], str],
    features: tuple[RefusalFeatures, RefusalFeatures] | None = None,
) -> Change:
    """Compares two models' profiles of the same pairs, and their starts on the same prompts.

    Args:
        before: of the model before training.
        after: of the model after it.
        starts_before: how its answers start; may be empty.
        starts_after: the same prompts' afterwards.
        token_text: what a token stands for (`harness.models.token_text`).
        features: of refusals on the same prompts, before and after.

    Raises HarnessError where the two do not hold the same pairs with as many tokens.
    """
    _refuse_different_tokens(before, after)
    width = min(before.mass.shape[1], after.mass.shape[1])  # a padded vocabulary has the same tokens at its beginning

    def moved_at(row: int, sign: int, top: int = TOP_TOKENS) -> list[TokenChange]:
        return _moved_tokens(before.mass[row, :width], after.mass[row, :width], sign, top, token_text)

    def mass_at(row: int) -> list[TokenChange]:
        return _likely_tokens(before.mass[row, :width], after.mass[row, :width], token_text)

    sums = before.pair_sums(), after.pair_sums()
    pairs = {
        name: PairChange(sums[1][name].chosen - was.chosen, sums[1][name].rejected - was.rejected)
        for name, was in sums[0].items()
    }
    return Change(
        pairs,
        [
            PositionChange(
                position,
                len(chosen),
                float(chosen.mean()),
                float(rejected.mean()) if len(rejected) else None,
                moved_at(position, 1, 3),
            )
            for position, (chosen, rejected) in enumerate(_changes_by_position(before, after))
        ],
        moved_at(0, 1),
        moved_at(POSITIONS, 1),
        moved_at(0, -1),
        mass_at(0),
        mass_at(POSITIONS),
        {way: (_mean_start(starts_before, way), _mean_start(starts_after, way)) for way in OPENING_WAYS}
        if starts_before
        else {},
        compare_spreads(before, after),
        compare_features(*features, token_text) if features else None,
    )


def gaining_tokens(
    before: Profile, after: Profile, token_text: Callable[[int], str], top: int = TOP_TOKENS
) -> list[TokenChange]:
    """The tokens that gained most at the first place of the answer, from profiles of the same pairs."""
    return _moved_tokens(before.mass[0], after.mass[0], 1, top, token_text)


def change_json(change: Change) -> dict[str, Any]:
    """The content of a run's displacement.json."""
    return {
        "schema_version": 1,
        "pairs": {
            "n": len(change.pairs),
            "chosen_change": change.mean_of(lambda pair: pair.chosen),
            "rejected_change": change.mean_of(lambda pair: pair.rejected),
            "margin_change": change.mean_of(lambda pair: pair.margin),
            "displaced_share": change.displaced_share,
        },
        "positions": [
            {"position": each.position, "n": each.n, "chosen_change": each.chosen, "rejected_change": each.rejected}
            for each in change.positions
        ],
        "gaining_tokens": {
            "start": [*map(token_json, change.gaining_at_start)],
            "anywhere": [*map(token_json, change.gaining_anywhere)],
        },
        "losing_tokens": {"start": [*map(token_json, change.losing_at_start)]},
        "mass_floor": MASS_FLOOR,
        "mass": {
            "start": [*map(asdict, change.mass_at_start)],
            "anywhere": [*map(asdict, change.mass_anywhere)],
        },
        "starts": {way: {"before": was, "after": now} for way, (was, now) in change.starts.items()},
        **({"spread": {side: each.to_json() for side, each in change.spreads.items()}} if change.spreads else {}),
        **({"refusal": change.features.to_json()} if change.features else {}),
    }


def token_json(token: TokenChange) -> dict[str, Any]:
    """A token with its change."""
    return {**asdict(token), "change": token.change}


def _refuse_different_tokens(before: Profile, after: Profile) -> None:
    for side in ("chosen", "rejected"):
        was, now = getattr(before, side), getattr(after, side)
        if {name: len(values) for name, values in was.items()} != {name: len(values) for name, values in now.items()}:
            raise HarnessError(
                "the two models were not measured on the same tokens",
                hint="Use one preference table, and models with the same tokenizer and chat template.",
            )


def _changes_by_position(before: Profile, after: Profile) -> list[tuple[FloatArray, FloatArray]]:
    """Changes of ln p of the tokens at each place that an answer y+ has, of y+ and of y-."""
    changes = [
        [now[name] - was[name] for name in was]
        for was, now in ((before.chosen, after.chosen), (before.rejected, after.rejected))
    ]
    places = min(POSITIONS, max(map(len, changes[0])))
    return [
        tuple(np.array([change[place] for change in side if len(change) > place]) for side in changes)  # type: ignore[misc]
        for place in range(places)
    ]


def _moved_tokens(
    before: FloatArray, after: FloatArray, sign: int, top: int, token_text: Callable[[int], str]
) -> list[TokenChange]:
    """The tokens that gained (sign 1) or lost (-1) most, most first; fewer where fewer did."""
    moved = sign * (after - before)
    order = np.argsort(-moved, kind="stable")[:top]
    return [_token_change(int(place), before, after, token_text) for place in order if moved[place] > 0]


def _likely_tokens(before: FloatArray, after: FloatArray, token_text: Callable[[int], str]) -> list[TokenChange]:
    """The tokens that have at least `MASS_FLOOR` before or after, by their ids."""
    places = np.flatnonzero(np.maximum(before, after) >= MASS_FLOOR)
    return [_token_change(int(place), before, after, token_text) for place in places]


def _token_change(place: int, before: FloatArray, after: FloatArray, token_text: Callable[[int], str]) -> TokenChange:
    return TokenChange(token_text(place), place, float(before[place]), float(after[place]))


def _mean_start(starts: Sequence[AnswerStart], way: str) -> float:
    return float(np.mean([getattr(start, way) for start in starts]))
