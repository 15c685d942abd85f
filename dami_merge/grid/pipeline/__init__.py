"""Streams one output shard at every λ: read, interpolate, write and digest, over bounded buffers."""
