"""SmolLM2-135M-Instruct, safety-tuned by an adapter that lies here: a real language model for a laptop."""
