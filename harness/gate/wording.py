"""A check in words: which way its metric went, and whether another check says the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from harness.support.console import safe_line

if TYPE_CHECKING:
    from harness.gate.decision import MetricCheck

Worse = Literal["lower", "higher"]
_WENT = {"lower": "fell", "higher": "rose"}
_GONE = {"lower": "fallen", "higher": "risen"}
_GO = {"lower": "fall", "higher": "rise"}
MIRRORS = {"harmful_completion_rate": "refusal_rate"}
"""A metric, and the one that it mirrors where every answer is a refusal or harmful."""
_LONGEST_NAME = 60


def format_points(rate: float) -> str:
    """A rate in points, without a unit."""
    return f"{100 * rate:.1f}"


def tell_loss(worse: Worse, low: float, high: float) -> str:
    """A loss that is sure: between two bounds, rates."""
    bounds = f"{format_points(low)} to {format_points(high)}" if low > 0 else f"up to {format_points(high)}"
    return f"{_WENT[worse]} by {bounds} points"


def tell_possible_loss(worse: Worse, high: float) -> str:
    """A loss that the data leave possible."""
    return f"may have {_GONE[worse]} by up to {format_points(high)} points"


def tell_largest_loss(worse: Worse, high: float) -> str:
    """The bound of a loss that is surely small enough."""
    return f"{_WENT[worse]} by {format_points(high)} points at most" if high > 0 else f"did not {_GO[worse]}"


def tell_no_fall(worse: Worse, told: Literal["fail", "pass", "inconclusive"], loss: float) -> str:
    """The decision on a category that must not get worse, and its loss: at least, at most, or as it was seen."""
    if told == "fail":
        return f"must not {_GO[worse]}, and {_WENT[worse]} by at least {format_points(loss)} points"
    if told == "pass":
        return f"was not seen to {_GO[worse]} ({tell_possible_loss(worse, loss)})"
    return f"must not {_GO[worse]}, and was seen to by {format_points(loss)} points"


def check_name(check: MetricCheck) -> str:
    """The metric, and the category where the check is of one."""
    return check.metric if check.category is None else f"{check.metric} in {category_name(check)}"


def category_name(check: MetricCheck) -> str:
    """The category, as one line that is not too long; nothing where the check is of the whole metric."""
    return "" if check.category is None else safe_line(check.category, _LONGEST_NAME)


def find_mirrored(checks: Iterable[MetricCheck]) -> set[tuple[str, str | None]]:
    """Metric and category of the checks that say what the same check of the metric they mirror says.

    That is: decided alike on as many prompts, each one's loss within the other's interval; where answers are read in
    two ways, for the same reason too.
    """
    known = {(check.metric, check.category): check for check in checks}
    found = set()
    for (metric, category), check in known.items():
        other = known.get((MIRRORS.get(metric, ""), category))
        if other is not None and _says_the_same(check, other):
            found.add((metric, category))
    return found


def _says_the_same(check: MetricCheck, other: MetricCheck) -> bool:
    inside = other.low <= check.loss <= other.high and check.low <= other.loss <= check.high
    same_reason = not check.readings or check.reason == other.reason
    return inside and same_reason and (check.decision, check.prompts) == (other.decision, other.prompts)


def sum_up_reasons(found: Sequence[MetricCheck], limit: int = 3) -> str:
    """The reasons of several checks in a line: of whole metrics, else of categories, and how many more there are."""
    mirrored = find_mirrored(found)
    told = [check for check in found if (check.metric, check.category) not in mirrored]
    whole = [check for check in told if check.category is None]
    first = (whole or told)[:limit]
    reasons = "; ".join(f"{check_name(check)} {check.reason}" for check in first)
    return f"{reasons}{_tell_more(len(told) - len(first), categories=len(whole) <= limit)}"


def _tell_more(count: int, *, categories: bool) -> str:
    if not count:
        return ""
    return f"; {count_categories(count) if categories else f'{count} checks'} too"


def count_categories(count: int) -> str:
    """So many categories."""
    return f"{count} {'category' if count == 1 else 'categories'}"


def format_rate(rate: float) -> str:
    """A rate in percent; a dash where there is none."""
    return "-" if math.isnan(rate) else f"{rate:.1%}"
