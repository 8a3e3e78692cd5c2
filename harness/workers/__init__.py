"""How work is spread: processes, `accelerate launch`, Ray."""
