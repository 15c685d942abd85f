"""Is the pair connected? Layerwise similarity of weights. Knows nothing of λ, grids or click."""
