"""Likelihood displacement as a measurement: how ln p of the answers changed, and where the probability went."""
