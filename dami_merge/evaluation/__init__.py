"""Accuracy against tokens at every λ. Never imports torch: what runs a model is injected as a `Backend`."""
