"""What a training moves: the targets whose influence a pair is scored by, and what their columns are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from harness.judges.verdicts import Label
from harness.support.errors import HarnessError

Target = Literal["refusal", "harmful", "benign", "preferred"]
"""`refusal`: the refusal rate on unsafe probes. `harmful`: harmful completions there. `benign`: compliance with benign
probes, of which over-refusal takes. `preferred`: mean ln p(y+|x) over the table's own pairs, displacement itself."""
TARGETS: tuple[Target, ...] = get_args(Target)

TARGET_NAMES: dict[Target, str] = {
    "refusal": "refusal rate",
    "harmful": "rate of harmful completions",
    "benign": "rate of benign compliance",
    "preferred": "mean ln p of the preferred answers",
}

COUNTED_LABEL: dict[Target, Label] = {"refusal": "refusal", "harmful": "harmful", "benign": "compliance"}
"""The verdict whose rate a target is."""


def influence_column(target: Target) -> str:
    """What the column of a target's influence is called."""
    return f"{target}_influence"


def error_column(target: Target) -> str:
    """What the column of its standard error is called."""
    return f"{influence_column(target)}_se"


def is_better_higher(measure: str) -> bool:
    """Whether more of a measure (a column of scores) is better for a pair to be trained on.

    So it is with the influence on what should rise; all other measures say how much harm is to be expected.
    """
    return measure in {influence_column(target) for target in TARGETS if target != "harmful"}


def asks_unsafe(target: Target) -> bool:
    """Whether the target is measured on unsafe prompts; otherwise on benign ones."""
    return target != "benign"


def parse_targets(text: str, place: str = "--targets") -> tuple[Target, ...]:
    """Targets from their names with commas between. Raises HarnessError at `place` where one is unknown."""
    names = [name.strip() for name in text.split(",")]
    found = tuple(target for target in TARGETS if target in names)
    if unknown := sorted({*names} - {*TARGETS}):
        hint = f"Give some of {', '.join(TARGETS)}, with commas between."
        raise HarnessError(f"{unknown[0]!r} is no target", place=place, hint=hint)
    return found


@dataclass(frozen=True, slots=True)
class InfluenceSettings:
    """What influence is measured on, and with which answers.

    Attributes:
        probes: `bundled`, a file of prompts or a published set; or a run's directory, whose probe answers are taken.
        samples: answers to draw for each prompt.
        targets: at least one.
        judge: of the answers that are drawn.
        subspace: `lora:RANK` or `last:LAYERS`, where the gradient of all weights is too much.
    """

    probes: str
    samples: int
    targets: Sequence[Target]
    judge: str = "lexical"
    subspace: str | None = None


def check_subspace(text: str) -> tuple[str, int]:
    """The kind and the size of a subspace: `lora:RANK` or `last:LAYERS`. Raises HarnessError where it is neither."""
    found = re.fullmatch(r"(lora|last):([1-9]\d{0,3})", text)
    if found is None:
        raise HarnessError(f"{text!r} is no subspace", place="--subspace", hint="Give lora:RANK or last:LAYERS.")
    return found[1], int(found[2])
