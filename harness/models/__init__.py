"""Checkpoints and their answers."""
