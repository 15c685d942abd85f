"""Weights of queries for the resamples from which standard errors follow."""

import numpy as np

from dami_merge.estimators.examples import Numbers


def query_weights(count: int, draws: int, seed: int) -> Numbers:
    """How much each query counts in each fit: 1 in the first, drawn for the others, shape [1+S, N].

    The draws are a Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981): exponential weights with a mean
    of 1. Unlike a plain bootstrap, it leaves no query out, so that no category disappears from a resample.

    Args:
        count: Number of queries N.
        draws: Number of resamples S.
        seed: Seed of the draws.
    """
    drawn = np.random.default_rng(seed).exponential(size=(draws, count))
    drawn /= np.maximum(drawn.mean(axis=1, keepdims=True), 1e-12)
    return np.concatenate([np.ones((1, count)), drawn])
