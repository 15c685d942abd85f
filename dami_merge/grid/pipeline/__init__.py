"""Stream one output shard at every λ: read, interpolate, write and digest, with bounded buffers."""
