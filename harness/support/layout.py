"""Where each file of a run directory lies."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

REFERENCE_FILES = ("reference.json", "reference.npz", "reference_starts.json", "nearest_pairs.json")
"""What a run directory keeps of the starting model: ln p of the pairs, tokens, how answers start, nearest pairs."""


def arm_of_path(path: Path) -> str | None:
    """The arm of a run that a directory belongs to."""
    parts = path.resolve().parts
    return next((name for folder, name in pairwise(parts) if folder == "arms"), None)


def arm_directory(root: Path, arm: str, seed: int) -> Path:
    """Where one arm trained with one seed lies in a run directory."""
    return root / "arms" / arm / f"seed-{seed}"


ON_POLICY = "on_policy"
"""The source of pairs that every run has; `preferences` in a recipe takes its place."""
OTHER_SOURCES: Mapping[str, tuple[str, ...]] = {
    ON_POLICY: (),
    "gold": ("gold",),
    "off_policy": ("off_policy",),
    "mixed": ("off_policy",),
}
"""The tables beside the on-policy pairs that an arm's `pairs` need."""
QUANTIZED = "quantized_logprobs.json"
"""What QLoRA's objective refers to: the pairs' log-probabilities under the quantized weights that it starts from."""


def source_files(out: Path, source: str) -> tuple[Path, Path, Path]:
    """A source's pairs, scores and reference log-probabilities."""
    if source == ON_POLICY:
        return out / "preferences.jsonl", out / "scores.parquet", out / "reference.json"
    return out / f"{source}.jsonl", out / f"{source}_scores.parquet", out / f"{source}_reference.json"
