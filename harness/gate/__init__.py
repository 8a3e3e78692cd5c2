"""May it ship? A decision on two evaluations."""
