"""What can be won at all: oracles that choose on one half of the samples and are scored on the other.

The maximum of eleven equally good λ at K = 8 samples is biased by +.18 to +.27, so an oracle that chooses
and scores on the same samples is no bound but noise. Source: ours, after arXiv 2607.03436.
"""

from collections.abc import Callable

import numpy as np

from dami_merge.estimators.examples import Examples, Numbers, Places
from dami_merge.estimators.judge.routing import Routing, routed

Choose = Callable[[Numbers], Places]
"""From utilities of measured queries, shape [N, Λ], to a place of λ for each query."""


def by_query(utility: Numbers) -> Places:
    """The best λ of each query; of equally good ones the first."""
    return np.asarray(utility.argmax(axis=1), dtype=np.int64)


def by_group(groups: tuple[str, ...]) -> Choose:
    """The best λ of each group of queries."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    own = np.array([names[group] for group in groups], dtype=np.int64)

    def choose(utility: Numbers) -> Places:
        sums = np.zeros((len(names), utility.shape[1]))
        np.add.at(sums, own, utility)
        return np.asarray(sums.argmax(axis=1)[own], dtype=np.int64)

    return choose


def utilities(examples: Examples, mu: float) -> Numbers:
    """Accuracy minus μ times tokens, in units of the mean tokens at the largest λ, shape [N, Λ]."""
    scale = max(float(examples.tokens[:, -1].mean()), 1e-12)
    values: Numbers = examples.accuracy - mu * examples.tokens / scale
    return values


def cross_fitted(examples: Examples, choose: Choose, mu: float) -> tuple[Numbers, Numbers]:
    """Accuracy and tokens of each query under an oracle: chosen on one half, scored on the other, both ways.

    Args:
        examples: Queries with at least two samples in every cell.
        choose: What the oracle knows.
        mu: Price of tokens, as for `utilities`.

    Returns:
        Accuracy and tokens, both of shape [N].
    """
    first, second = examples.halves()
    accuracy, tokens = np.zeros(len(examples)), np.zeros(len(examples))
    for seen, scored in ((first, second), (second, first)):
        routing: Routing = routed(choose(utilities(seen, mu)), len(examples.lambdas))
        accuracy += routing.accuracy(scored) / 2
        tokens += routing.tokens(scored) / 2
    return accuracy, tokens
