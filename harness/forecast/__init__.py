"""What a training would do to rates, before it: a few real steps, read on probe answers and carried on to the end."""
