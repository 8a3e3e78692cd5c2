"""The measures that pairs can be selected by, a column each, and which end of it is kept."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor

from harness.displacement.openings import opening_way
from harness.experiments.geometry import predicted_gains
from harness.preferences.tokens import Tokens, common_prefix
from harness.scoring.probes import Probes

KEPT_END: Mapping[str, Literal["lowest", "highest"]] = {
    "refusal_influence": "highest",
    "ln_ches": "lowest",
    "ches": "lowest",
    "theorem_2": "lowest",
    "neg_edit_distance": "lowest",
    "last_hidden_inner_product": "lowest",
    "log_margin": "highest",
    "validation_loss": "lowest",
}
"""CHES and the baselines as in section 6; ComPO (Chen et al. 2025, arXiv 2505.05465) gives DPO the pairs whose answers
the starting model finds unlike in likelihood, Selective DPO those that are learned most easily."""


def badness(measure: str, value: float) -> float:
    """The measure turned so that pairs of low values are kept."""
    return -value if KEPT_END[measure] == "highest" else value


def keep_share(scores: Mapping[str, float], share: float) -> list[str]:
    """The `pair_id`s of the lowest scores, `share` of them, rounded up; of equal scores the first `pair_id`."""
    ranked = sorted(scores, key=lambda name: (scores[name], name))
    return sorted(ranked[: count_share(share, len(ranked))])


def count_share(share: float, available: int) -> int:
    """So many pairs are a share, rounded up."""
    return math.ceil(Fraction(repr(share)) * available)


def opening_contrast(probes: Probes, vocabulary: int) -> Tensor:
    """Where compliances begin rather than refusals [vocabulary]: the share of each first token, one minus the other.

    From the probe answers to unsafe prompts that start as one of the two; zero where all start alike.
    """
    counts = {"compliance": torch.zeros(vocabulary), "refusal": torch.zeros(vocabulary)}
    for each in probes.of_target("refusal"):
        way = opening_way(each.prompt, each.answer, whole=True)
        if way in counts and each.answer_tokens:
            counts[way][each.answer_tokens[0]] += 1
    shares = {way: each / each.sum().clamp(min=1) for way, each in counts.items()}
    return shares["compliance"] - shares["refusal"]


def theorem_2_gain(unembedding: Tensor, pair: Tokens, contrast: Tensor) -> float:
    """How much Theorem 2 says that training on a pair moves to the tokens that open compliances, not refusals.

    The pair counts as its first differing tokens, y+ and y-; the gain of a token z is `<W_z, W_y+ - W_y->`.

    Args:
        unembedding: `W` [vocabulary, d].
        pair: its tokens.
        contrast: of the openings [vocabulary] (`opening_contrast`).
    """
    shared = common_prefix(pair.chosen, pair.rejected)
    if shared == min(len(pair.chosen), len(pair.rejected)):
        return 0.0
    return float(contrast @ predicted_gains(unembedding, pair.chosen[shared], pair.rejected[shared]))


def random_subset(names: Sequence[str], share: float, seed: str) -> list[str]:
    """A share of the pairs at random, rounded up; the control."""
    return sorted(random.Random(seed).sample(sorted(names), count_share(share, len(names))))
