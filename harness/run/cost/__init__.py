"""What a run will cost, before it: tokens, memory and time of its stages."""
