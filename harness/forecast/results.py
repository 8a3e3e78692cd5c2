"""What a forecast says: of one training, and of a table of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.scoring.targets import Target

ChangeDirection = Literal["rises", "falls", "hardly moves", "either way"]

_HARDLY = 0.03
"""Changes up to here, in shares, are called none."""


@dataclass(frozen=True, slots=True)
class LookAhead:
    """How a forecast looks ahead: optimizer steps taken for real, and how often, each time with other batches."""

    steps: int = 4
    draws: int = 2


@dataclass(frozen=True, slots=True)
class ExpectedChange:
    """The change of a rate, in shares, with an interval; `before` is the rate among the probe answers."""

    before: float
    change: float
    low: float
    high: float

    @property
    def direction(self) -> ChangeDirection:
        """Which way the rate goes, as far as the interval tells."""
        if self.low > 0 or self.high < 0:
            return "rises" if self.change > 0 else "falls"
        return "hardly moves" if max(-self.low, self.high) <= _HARDLY else "either way"

    def to_json(self) -> dict[str, Any]:
        """As JSON: the figures and the direction."""
        return {**asdict(self), "direction": self.direction}


@dataclass(frozen=True, slots=True)
class Forecast:
    """What one training would do.

    Attributes:
        pairs: that it trains on.
        steps: of the whole training.
        look_ahead: what was done to tell.
        changes: by target.
    """

    pairs: int
    steps: int
    look_ahead: LookAhead
    changes: Mapping[Target, ExpectedChange]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        changes = {target: each.to_json() for target, each in self.changes.items()}
        return {"pairs": self.pairs, "steps": self.steps, "look_ahead": asdict(self.look_ahead), "changes": changes}


@dataclass(frozen=True, slots=True)
class KeptForecast:
    """What a training on the share of the pairs with the highest influence on refusals would do.

    `cut`: the lowest influence kept. `looked`: whether real steps were taken on these pairs; otherwise the forecast
    lies between those that were, by mean influence.
    """

    share: float
    cut: float
    looked: bool
    forecast: Forecast

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"share": self.share, "cut": self.cut, "looked": self.looked, **self.forecast.to_json()}


@dataclass(frozen=True, slots=True)
class GroupPush:
    """Which way a group of pairs pushes: its mean influence by target, and a standard error that it does not exceed."""

    name: str
    pairs: int
    influence: Mapping[Target, tuple[float, float]]

    def direction(self, target: Target) -> ChangeDirection:
        """Which way the target goes by these pairs, where their influence is beyond its error."""
        mean, error = self.influence[target]
        if abs(mean) <= error:
            return "either way"
        return "rises" if mean > 0 else "falls"

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        influence = {
            target: {"mean": mean, "error": error, "direction": self.direction(target)}
            for target, (mean, error) in self.influence.items()
        }
        return {"name": self.name, "pairs": self.pairs, "influence": influence}


@dataclass(frozen=True, slots=True)
class PairPush:
    """One pair's influence by target, with its standard error, and its row's place in the table."""

    pair_id: str
    place: int
    influence: Mapping[Target, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        influence = {target: {"mean": mean, "error": error} for target, (mean, error) in self.influence.items()}
        return {"pair_id": self.pair_id, "influence": influence}


@dataclass(frozen=True, slots=True)
class TableForecast:
    """What training on a table would do, which of its pairs do it, and what keeping some of them would do.

    `lowest` and `highest`: the pairs that lower and that raise refusals most. `unscored`: rows without an influence, by
    reason; they are in nothing else here.
    """

    whole: Forecast
    kept: Sequence[KeptForecast]
    types: Sequence[GroupPush]
    hazards: Sequence[GroupPush]
    lowest: Sequence[PairPush]
    highest: Sequence[PairPush]
    unscored: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        lists = {
            name: [each.to_json() for each in getattr(self, name)]
            for name in ("kept", "types", "hazards", "lowest", "highest")
        }
        return {"whole": self.whole.to_json(), **lists, "unscored": dict(self.unscored)}
