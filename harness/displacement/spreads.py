"""How a training moved the next-token distributions along the answers: how far from the start, and how narrow.

KL by position is what Qi et al. 2024 (arXiv 2406.05946) look at; a likeliest token that gains at the places of y-
while the entropy falls is the squeezing effect of Ren and Sutherland 2024 (arXiv 2407.10490).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.scoring.anchoring import Side
from harness.scoring.logprobs import POSITIONS, SIDES, FloatArray, Profile, Spread


@dataclass(frozen=True, slots=True)
class SpreadChange:
    """Means over answers at one place, 0 the first, or over all places (None), before and after.

    Attributes:
        position: the place.
        n: answers that long; of all places, all their tokens.
        entropy: in nats.
        top: probability of the likeliest token.
        kl: KL(after || before) in nats; None where it was not compared.
        compared: how many places `kl` is over.
    """

    position: int | None
    n: int
    entropy: tuple[float, float]
    top: tuple[float, float]
    kl: float | None
    compared: int

    def to_json(self) -> dict[str, Any]:
        """As displacement.json has it."""
        return {
            **({} if self.position is None else {"position": self.position}),
            "n": self.n,
            "entropy": dict(zip(("before", "after"), self.entropy, strict=True)),
            "top": dict(zip(("before", "after"), self.top, strict=True)),
            "kl": self.kl,
            "kl_n": self.compared,
        }


@dataclass(frozen=True, slots=True)
class SideSpread:
    """One side's answers: the first places, and all of them together (of `kl`, the compared ones)."""

    positions: Sequence[SpreadChange]
    overall: SpreadChange

    def to_json(self) -> dict[str, Any]:
        """As displacement.json has it."""
        return {"positions": [each.to_json() for each in self.positions], "overall": self.overall.to_json()}


def compare_spreads(before: Profile, after: Profile) -> dict[Side, SideSpread]:
    """The change of each side's distributions, from profiles of the same tokens; none where one was not measured."""
    if not before.spread or not after.spread:
        return {}
    logprobs: dict[Side, Mapping[str, FloatArray]] = {"chosen": before.chosen, "rejected": before.rejected}
    return {side: _compare_side(before.spread[side], after.spread[side], logprobs[side]) for side in SIDES}


def _compare_side(before: Spread, after: Spread, answers: Mapping[str, FloatArray]) -> SideSpread:
    lengths = [len(answer) for answer in answers.values()]

    def change_at(row: int, n: int) -> SpreadChange:
        compared = 0 if after.compared is None else int(after.compared[row])
        entropy, top = ((float(was[row]), float(now[row])) for was, now in _both(before, after))
        kl = float(after.divergence[row]) if after.divergence is not None and compared else None
        return SpreadChange(row if row < POSITIONS else None, n, entropy, top, kl, compared)

    places = range(min(POSITIONS, max(lengths)))
    positions = [change_at(place, sum(length > place for length in lengths)) for place in places]
    return SideSpread(positions, change_at(POSITIONS, sum(lengths)))


def _both(before: Spread, after: Spread) -> Sequence[tuple[FloatArray, FloatArray]]:
    return (before.entropy, after.entropy), (before.top, after.top)
