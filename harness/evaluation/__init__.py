"""A model through lm-eval, and what comes out as typed rows."""
