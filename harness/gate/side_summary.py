"""What each side of a comparison was: which model, judged by what, with which seeds, when."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.evaluation.samples import Evaluation
from harness.gate.sides import Sides


@dataclass(frozen=True, slots=True)
class SideSummary:
    """One side, everything once: `weights` are what names each model's, `seeds` lm-eval's own settings.

    The times are ISO 8601 in UTC, the first and the last; `tools` made the evaluations, and `files` are those that were
    read, below `path`, with their SHA-256.
    """

    path: str
    models: tuple[str, ...]
    weights: tuple[dict[str, Any], ...]
    judges: tuple[str, ...]
    seeds: tuple[dict[str, Any], ...]
    evaluated: tuple[str, str]
    tools: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = field(default=(), compare=False)


def summarize_sides(paths: tuple[Path, Path], sides: Sides) -> tuple[SideSummary, SideSummary]:
    """Both sides, before and after."""
    return _summarize_side(paths[0], sides[0]), _summarize_side(paths[1], sides[1])


def _summarize_side(path: Path, side: Sequence[Evaluation]) -> SideSummary:
    judges = {settings.judge for evaluation in side for settings in evaluation.settings.values()} - {""}
    times = [evaluation.date for evaluation in side]
    return SideSummary(
        str(path),
        tuple(dict.fromkeys(evaluation.model for evaluation in side)),
        tuple(json.loads(weights) for weights in dict.fromkeys(evaluation.weights for evaluation in side)),
        tuple(sorted(judges)),
        tuple(json.loads(seeds) for seeds in dict.fromkeys(evaluation.seeds for evaluation in side)),
        (_time_text(min(times)), _time_text(max(times))),
        tuple(dict.fromkeys(filter(None, (evaluation.tool for evaluation in side)))),
        tuple(sorted({(_path_below(path, file), digest) for each in side for file, digest in _files_of(each).items()})),
    )


def _files_of(evaluation: Evaluation) -> Mapping[Path, str]:
    """The files that an evaluation was read from; where it names none, the one whose its digest is."""
    return evaluation.files or {evaluation.path: evaluation.digest[:64]}


def _path_below(path: Path, file: Path) -> str:
    """A file's path from the side's; its name where it lies elsewhere, or is the side itself."""
    inside = file.is_relative_to(path) and file != path
    return file.relative_to(path).as_posix() if inside else file.name


def _time_text(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601; as they are where no calendar has them. 0: nobody recorded it."""
    if not seconds:
        return "at an unknown time"
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
