"""Accuracy against tokens at every λ. Never imports torch: the caller passes a `Backend` to run models."""
