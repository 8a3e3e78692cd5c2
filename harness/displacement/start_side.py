"""The starting model's side of what needs more than its profile, as one file beside the profile's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save

from harness.displacement.refusal_features import RefusalFeatures
from harness.scoring.anchoring import Anchor, Side
from harness.scoring.logprobs import SIDES
from harness.support import artifacts

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class StartSide:
    """What a trained model is compared with.

    Attributes:
        anchor: the starting model's distributions along the answers.
        features: its features of refusal.
        benign: the benign prompts of which the features are, besides the unsafe ones.
    """

    anchor: Anchor
    features: RefusalFeatures
    benign: Sequence[str]

    def save(self, path: Path) -> None:
        """Writes it as one .safetensors file, atomically: numbers as they are, the rest as JSON in its header."""
        anchor, features = self.anchor, self.features
        tensors: dict[str, Tensor] = {side: states.contiguous() for side, states in anchor.states.items()}
        tensors |= {"weight": anchor.weight} | ({} if anchor.bias is None else {"bias": anchor.bias})
        tensors |= {"first": torch.tensor(features.first), "direction": torch.tensor(features.direction)}
        lengths = {side: {name: len(rows) for name, rows in begins.items()} for side, begins in anchor.begins.items()}
        told = {"lengths": lengths, "scaling": anchor.scaling, "tokens": features.tokens, "benign": [*self.benign]}
        with artifacts.atomic_file(path) as temporary:
            temporary.write_bytes(save(tensors, {name: json.dumps(value) for name, value in told.items()}))

    @classmethod
    def load(cls, path: Path) -> StartSide:
        """Reads what `save` wrote."""
        with safe_open(path, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (no mapping)
            told = {name: json.loads(value) for name, value in stored.metadata().items()}
        begins: dict[Side, dict[str, range]] = {side: _row_ranges(told["lengths"][side]) for side in SIDES}
        states: dict[Side, Tensor] = {side: tensors[side] for side in SIDES}
        anchor = Anchor(states, begins, tensors["weight"], tensors.get("bias"), tuple(told["scaling"]))
        first, direction = (np.asarray(tensors[name]) for name in ("first", "direction"))
        return cls(anchor, RefusalFeatures(first, tuple(told["tokens"]), direction), told["benign"])


def _row_ranges(lengths: dict[str, int]) -> dict[str, range]:
    ends = accumulate(lengths.values())
    return {name: range(end - length, end) for (name, length), end in zip(lengths.items(), ends, strict=True)}
