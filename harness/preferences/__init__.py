"""Preference tables: read, checked, cut into tokens, or built."""
