"""Checkpoints as names, headers and facts; no tensor is read here and torch is never imported."""
