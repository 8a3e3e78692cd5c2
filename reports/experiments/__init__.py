"""The pages of experiments that are no regression run."""
