"""Know before release whether preference training has made a language model less safe.

from harness import filter_highest, score
kept = filter_highest(score(dataset, model, tokenizer, probes="bundled"), 0.5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from harness.support.errors import HarnessError

if TYPE_CHECKING:
    from harness.displacement.callback import DisplacementCallback, StopRule
    from harness.handoff.assertions import assert_no_unalignment
    from harness.scoring.filtering import filter_highest, filter_lowest
    from harness.scoring.scorer import score


__all__ = [
    "DisplacementCallback",
    "HarnessError",
    "StopRule",
    "assert_no_unalignment",
    "filter_highest",
    "filter_lowest",
    "score",
]

_PLACES = {
    "DisplacementCallback": "harness.displacement.callback",
    "StopRule": "harness.displacement.callback",
    "assert_no_unalignment": "harness.handoff.assertions",
    "filter_highest": "harness.scoring.filtering",
    "filter_lowest": "harness.scoring.filtering",
    "score": "harness.scoring.scorer",
}


def __getattr__(name: str) -> object:
    """Imports a part when it is first asked for: torch takes seconds."""
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
