"""The parts of `tools/train_tiny_pair.py`, which puts them together; nothing else uses them."""
