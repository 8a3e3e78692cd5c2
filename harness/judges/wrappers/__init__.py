"""What stands around an answer in a model's text, one file for each kind that takes more than a pattern."""
