"""Answers for people to label: which are worth most, a page to label them in, and what the labels say of the rest."""
