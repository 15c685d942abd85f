"""Arithmetic on blocks of tensors, reading and writing their bytes. Knows nothing of pairs, grids or JSON."""
