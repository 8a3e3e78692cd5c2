"""What `benchmarks/gpu.py` writes, `benchmarks/results/gpu_CARD.json`: which card, which versions, each part's figures.

{"schema_version": 1, "tiny": false, "card": "NVIDIA H100 80GB HBM3", "memory_gib": 79.2, "driver": "...",
 "cuda": "12.8", "versions": {"torch": "...", ...}, "date": "2026-01-31T12:00:00+00:00",
 "parts": {"scoring_1b": {"status": "measured", "seconds": 41.0, "why": null, "figures": {...},
                          "goals": [{"figure": "...", "relation": ">=", "bound": 10.0, "value": 12.3, "met": true}]},
           "real_model": {"status": "not measured", "why": "weights not at hand: ...", ...}}}
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.support import artifacts

SCHEMA_VERSION = 1
RESULTS = Path(__file__).parent / "results"

Status = Literal["measured", "failed", "skipped", "not measured"]
"""`failed`: it ended with an error; `skipped`: too little time was left; `not measured`: what it needs is not there."""
Relation = Literal[">=", "<=", "<", "=="]
_RELATIONS: dict[Relation, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure of a part should be, what it was, and whether that is met."""

    figure: str
    relation: Relation
    bound: float
    value: float
    met: bool


def set_goal(figure: str, value: float, relation: Relation, bound: float) -> Goal:
    """A goal for a measured value."""
    return Goal(figure, relation, bound, value, _RELATIONS[relation](value, bound))


@dataclass(frozen=True, slots=True)
class PartResult:
    """What came of a part.

    Attributes:
        status: whether it was measured.
        seconds: it took, imports included; 0 where it was not begun.
        why: the error's last lines, or why it was not begun; None where it was measured.
        figures: by name, numbers, texts, or figures of one case each.
        goals: of its figures.
    """

    status: Status
    seconds: float = 0.0
    why: str | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)
    goals: tuple[Goal, ...] = ()


@dataclass(frozen=True, slots=True)
class GpuResults:
    """One run of the script.

    Attributes:
        tiny: whether the shapes were those for tests, whose figures say nothing.
        card: the GPU's name, or `CPU`.
        memory_gib: of the card, or of the machine.
        driver: the GPU driver's version; None on a CPU.
        cuda: the version that torch was built for; None where it was built for CPUs.
        versions: of Python and the libraries.
        date: when it began, ISO 8601, UTC.
        parts: by name, in the order in which they were done.
        schema_version: of this file's format.
    """

    tiny: bool
    card: str
    memory_gib: float
    driver: str | None
    cuda: str | None
    versions: Mapping[str, str]
    date: str
    parts: dict[str, PartResult] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path) -> None:
        """Writes it as JSON, whole or not at all."""
        artifacts.write_json(path, asdict(self))


def read_gpu_results(path: Path) -> GpuResults:
    """What `GpuResults.write` wrote. Raises TypeError where it is of another format."""
    content = artifacts.read_json(path)
    parts = {
        name: PartResult(**part | {"goals": tuple(Goal(**goal) for goal in part["goals"])})
        for name, part in content["parts"].items()
    }
    return GpuResults(**content | {"parts": parts})
