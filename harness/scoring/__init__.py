"""What one model makes of a table of preference pairs."""
