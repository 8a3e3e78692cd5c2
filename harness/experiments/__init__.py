"""The paper's other experiments, each a recipe of its own kind: section 3's and section 5's."""
