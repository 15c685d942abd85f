"""Arithmetic on tensor blocks; reading and writing their bytes. Knows nothing about pairs, grids or JSON."""
