"""A rate over prompts, and how it moves when all prompts' logits are shifted alike.

Prompts differ: most are refused nearly always or nearly never, few lie in between, and those move first. So a rate is
carried on not as one logit but over the spread of its prompts' logits, estimated from each prompt's count of verdicts
without assuming a shape: the mixture that makes the counts likeliest (Kiefer and Wolfowitz 1956), by the EM algorithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import binom

FloatArray = NDArray[np.float64]

_GRID: FloatArray = np.linspace(-6, 6, 121)
"""Logits that a prompt's rate may have: from 1 in 400 to all but 1 in 400, beyond what a few answers could tell."""
_ROUNDS = 100
_FARTHEST = 60.0
_EDGE = 1e-4
"""As near as a rate is let come to 0 and 1, of which no shift is finite."""


@dataclass(frozen=True)
class PromptRates:
    """What is known of each prompt's rate: so many of its answers had the verdict (`hits`, [n]) of `answers` ([n])."""

    hits: Sequence[int]
    answers: Sequence[int]

    @property
    def observed(self) -> float:
        """The mean over prompts of the share of answers with the verdict."""
        return float(np.mean(np.asarray(self.hits) / np.asarray(self.answers)))

    def change_at(self, shift: float) -> float:
        """How far the rate lies from where it is once each prompt's logit is shifted."""
        return self._rate_at(shift) - self._rate_at(0.0)

    def shift_to(self, change: float) -> float:
        """The shift of all prompts' logits that changes the rate so far; a change beyond 0 or 1 counts as up to it."""
        target = min(max(self._rate_at(0.0) + change, _EDGE), 1 - _EDGE)
        return float(brentq(lambda shift: self._rate_at(shift) - target, -_FARTHEST, _FARTHEST))

    def _rate_at(self, shift: float) -> float:
        return float(self._spread @ expit(_GRID + shift))

    @cached_property
    def _spread(self) -> FloatArray:
        """The share of prompts at each logit of the grid."""
        hits, answers = np.asarray(self.hits)[:, None], np.asarray(self.answers)[:, None]
        likelihoods = binom.pmf(hits, answers, expit(_GRID)[None])
        shares: FloatArray = np.full(len(_GRID), 1 / len(_GRID))
        for _ in range(_ROUNDS):
            posterior = likelihoods * shares
            shares = (posterior / posterior.sum(1, keepdims=True)).mean(0)
        return shares
