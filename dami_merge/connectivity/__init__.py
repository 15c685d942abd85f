"""Check whether a pair is connected: weights, path and difference. Knows nothing about grids or click."""
