"""Checkpoints as names, headers and small files; reads no tensor and never imports torch."""
