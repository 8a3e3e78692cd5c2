"""Verdicts on answers, and the judges that give them."""
