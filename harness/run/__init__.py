"""A regression run from recipe to report."""
