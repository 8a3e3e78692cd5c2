"""Pairs of a table, of which others may be trained on from one optimizer step to the next."""

from __future__ import annotations

import random
from collections.abc import Sequence


class ChangingPairs:
    """Draws batches from the places in a table that are kept now; each pass takes each of them once, in its own order.

    Args:
        kept: places kept at first, at least one.
        seed: of the orders.

    Attributes:
        kept: those kept now.
        taken: all that were drawn so far.
    """

    def __init__(self, kept: Sequence[int], seed: int) -> None:
        self.kept, self.taken = tuple(kept), set[int]()
        self._draw, self._waiting = random.Random(seed), list[int]()

    def keep(self, places: Sequence[int]) -> None:
        """Keeps these from the next batch on, and begins a new pass."""
        self.kept, self._waiting = tuple(places), []

    def take(self, count: int) -> list[int]:
        """The next places; where a pass ends in a batch, the next one fills it up."""
        batch: list[int] = []
        while len(batch) < count:
            if not self._waiting:
                self._waiting = self._draw.sample(self.kept, len(self.kept))
            batch.append(self._waiting.pop())
        self.taken.update(batch)
        return batch
