"""Models that come with the package or are made by it, under a name of their own."""

from __future__ import annotations

from harness.models.paths import ModelPath
from harness.organism.store import DEFAULT_SEED, ensure_miniature
from harness.smollm2.weights import ensure_smollm2


def find_own_model(name: str, organism_seed: int = DEFAULT_SEED) -> ModelPath | None:
    """The model of a name in `OWN_MODELS`, made now where it is not here; None for any other name.

    Raises HarnessError where its weights cannot be had.
    """
    if name == "miniature":
        return ModelPath(str(ensure_miniature(organism_seed)))
    return ensure_smollm2() if name == "smollm2" else None
