"""The page that compares two evaluations, of whatever tools."""
