"""Likelihood displacement as a measurement: how ln p of the answers changed, and where the probability went."""

from __future__ import annotations

from harness.displacement.change import Change, Token, displacement, to_json
from harness.displacement.logprobs import PairLogprobs, Profile, pair_logprobs, profile, tokens_of
from harness.displacement.nearest import Near, nearest_pairs, token_ids
from harness.displacement.openings import Start, starts

__all__ = [
    "Change",
    "Near",
    "PairLogprobs",
    "Profile",
    "Start",
    "Token",
    "displacement",
    "nearest_pairs",
    "pair_logprobs",
    "profile",
    "starts",
    "to_json",
    "token_ids",
    "tokens_of",
]
