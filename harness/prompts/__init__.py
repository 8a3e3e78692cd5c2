"""Prompt sets: bundled, published by others, and a user's own."""
