"""Models that are asked over an OpenAI-compatible API."""
