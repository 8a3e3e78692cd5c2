"""A rate over prompts, and how it moves when all prompts' logits are shifted alike.

Prompts differ: most are always refused or never, few are in between, and those move first. So a rate is carried on not
as one logit but over the spread of its prompts' rates: a beta distribution fitted to each prompt's count of verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betaln, expit, logit
from scipy.stats import beta

FloatArray = NDArray[np.float64]

_NODES = 16
"""Quantiles that stand for what one prompt's rate may be."""
_CONCENTRATIONS = np.geomspace(0.05, 50, 60)
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
        return float(expit(self._logits + shift).mean())

    @cached_property
    def _logits(self) -> FloatArray:
        """Quantiles of each prompt's posterior, as logits [n * _NODES]."""
        hits, answers = np.asarray(self.hits, dtype=float), np.asarray(self.answers, dtype=float)
        yes, no = _fit_beta(hits, answers)
        levels = (np.arange(_NODES) + 0.5) / _NODES
        posterior = beta.ppf(levels[:, None], yes + hits, no + answers - hits).ravel()
        found: FloatArray = logit(posterior.clip(1e-12, 1 - 1e-12))
        return found


def _fit_beta(hits: FloatArray, answers: FloatArray) -> tuple[float, float]:
    """The parameters of the beta distribution with the observed mean that makes the counts likeliest."""
    mean = (hits.sum() + 0.5) / (answers.sum() + 1)
    likelihoods = [
        float(
            (betaln(hits + mean * each, answers - hits + (1 - mean) * each)).sum()
            - len(hits) * betaln(mean * each, (1 - mean) * each)
        )
        for each in _CONCENTRATIONS
    ]
    best = float(_CONCENTRATIONS[int(np.argmax(likelihoods))])
    return mean * best, (1 - mean) * best
