"""A few of many items, spread over all of them."""

from __future__ import annotations

from collections.abc import Sequence


def evenly_spaced(items: Sequence[str], most: int) -> list[str]:
    """At most `most` distinct items, evenly spaced over all of them."""
    distinct = list(dict.fromkeys(items))
    return [distinct[place * len(distinct) // most] for place in range(most)] if len(distinct) > most else distinct
