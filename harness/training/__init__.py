"""An arm from its pairs to a checkpoint."""
