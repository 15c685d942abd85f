"""Tries to refute estimators: what a routing is worth against what needs no estimator. Imports no torch."""
