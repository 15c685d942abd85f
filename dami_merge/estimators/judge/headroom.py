"""What can be won at all: oracles that choose on some answers and are scored on others.

The maximum of eleven equally good λ at K = 8 samples is biased by +.18 to +.27, so an oracle that chooses
and scores on the same samples is no bound but noise (after arXiv 2607.03436). And the best of eleven λ by two
samples each is mostly luck, so that an oracle that trusts them loses to a static λ. So these oracles predict
from what they know, by a regression over other queries, and choose by the prediction: any such choice, scored
on other answers, is a lower bound of what can be won. Source: ours.
"""

from collections.abc import Sequence

import numpy as np

from dami_merge.estimators.examples import Examples, Numbers, folds
from dami_merge.estimators.judge.routing import routed

_FOLDS = 5
_SEED = 0


def utilities(examples: Examples, mu: float) -> Numbers:
    """Accuracy minus μ times tokens, in units of the mean tokens at the largest λ, shape [N, Λ]."""
    values: Numbers = examples.accuracy - mu * examples.tokens / _unit(examples)
    return values


def oracle_points(examples: Examples, prices: Sequence[float]) -> tuple[Numbers, Numbers]:
    """An oracle that knows the group of each query and half of its answers at every λ.

    Args:
        examples: N queries with at least two samples in every cell.
        prices: P prices μ of tokens, as for `utilities`.

    Returns:
        Accuracy and tokens of each query on the other half, over both ways, both of shape [N, P].
    """
    first, second = examples.halves()
    ways = [
        _scored(_profiles(seen), other, other, prices) for seen, other in ((first, second), (second, first))
    ]
    accuracy, tokens = (sum(values) / len(ways) for values in zip(*ways, strict=True))
    return np.asarray(accuracy), np.asarray(tokens)


def table_points(examples: Examples, prices: Sequence[float]) -> tuple[Numbers, Numbers]:
    """A table that knows only the group of each query: filled from some queries, scored on others.

    Args:
        examples: N queries.
        prices: P prices μ of tokens, as for `utilities`.

    Returns:
        Accuracy and tokens of each query, both of shape [N, P].
    """
    return _scored(_members(examples.groups), examples, examples, prices)


def _scored(
    known: Numbers, aims: Examples, scored: Examples, prices: Sequence[float]
) -> tuple[Numbers, Numbers]:
    """Predict from what is known, choose, score; what is predicted was fitted on other queries."""
    unit = _unit(aims)
    both = np.hstack([aims.accuracy, aims.tokens / unit])
    said = np.zeros_like(both)
    for kept, out in folds(len(aims), min(_FOLDS, len(aims)), _SEED):
        said[out] = known[out] @ _ridge(known[kept], both[kept])
    width = len(aims.lambdas)
    pairs = []
    for mu in prices:
        choice = routed((said[:, :width] - mu * said[:, width:]).argmax(axis=1), width)
        pairs.append((choice.accuracy(scored), choice.tokens(scored)))
    accuracy, tokens = (np.stack(values, axis=1) for values in zip(*pairs, strict=True))
    return accuracy, tokens


def _ridge(known: Numbers, aims: Numbers) -> Numbers:
    """Coefficients by least squares with one query's worth of shrinkage, which keeps empty columns at 0."""
    return np.asarray(np.linalg.solve(known.T @ known + np.eye(known.shape[1]), known.T @ aims))


def _profiles(seen: Examples) -> Numbers:
    """Groups, and the answers to each query at every λ, shape [N, G + 2Λ]."""
    return np.hstack([_members(seen.groups), seen.accuracy, seen.tokens / _unit(seen)])


def _members(groups: tuple[str, ...]) -> Numbers:
    """Which group each query is in, after a column of ones, shape [N, 1 + G]."""
    names = {name: place for place, name in enumerate(dict.fromkeys(groups), 1)}
    found = np.zeros((len(groups), 1 + len(names)))
    found[:, 0] = 1.0
    found[np.arange(len(groups)), [names[group] for group in groups]] = 1.0
    return found


def _unit(examples: Examples) -> float:
    return max(float(examples.tokens[:, -1].mean()), 1e-12)
