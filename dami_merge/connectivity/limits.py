"""The limits on a cosine, from which a verdict follows. Knows no weights.

The limits for a layer are the paper's: a pair above 0.99 in every layer is connected; below 0.95,
interpolation may fail. A layer's cosine hides one broken matrix among many, so every matrix has limits too.
They are ours, and lower, because small matrices may move further than their layer, while a matrix that is
random, negated or permuted has a cosine of about 0 or below. Halfway between two matrices of equal norm and
cosine c, the norm is √((1+c)/2) of theirs: 97% at the upper limit and 87% at the lower one, but 71% if they
are unrelated.
"""

from typing import Literal

CONNECTED = 0.99
DOUBTFUL = 0.95

CONNECTED_MATRIX = 0.9
DOUBTFUL_MATRIX = 0.5
"""Limits for a single matrix. Source: ours; those of the bundled pair are at 0.9986 or above."""

Verdict = Literal["connected", "doubtful", "not connected", "undecided"]

Between = tuple[float, float]
"""The lowest and the highest value that something may have."""

_VERDICTS: tuple[Verdict, ...] = ("connected", "doubtful", "not connected")


def layer_limits(threshold: float) -> Between:
    """Return the cosines from which a layer is doubtful and connected; source: paper."""
    return min(DOUBTFUL, threshold), threshold


def matrix_limits(threshold: float) -> Between:
    """Return the cosines from which a matrix is doubtful and connected; source: ours."""
    return min(DOUBTFUL_MATRIX, threshold), min(CONNECTED_MATRIX, threshold)


def verdict_of(layer: Between, matrix: Between, threshold: float) -> Verdict:
    """Return the verdict on the cosine of the worst layer and on that of the worst matrix.

    Example:
        >>> verdict_of((0.995, 0.995), (0.1, 0.1), 0.99), verdict_of((0.98, 0.995), (0.98, 0.995), 0.99)
        ('not connected', 'undecided')
    """
    ranks = {
        max(_rank(layer[end], layer_limits(threshold)), _rank(matrix[end], matrix_limits(threshold)))
        for end in (0, 1)
    }
    return _VERDICTS[ranks.pop()] if len(ranks) == 1 else "undecided"


def decided_by_matrix(layer: float, matrix: float, threshold: float) -> bool:
    """Whether the worst matrix makes the verdict worse than the worst layer alone."""
    return _rank(matrix, matrix_limits(threshold)) > _rank(layer, layer_limits(threshold))


def _rank(cosine: float, limits: Between) -> int:
    """Return the place of a cosine in `_VERDICTS`."""
    doubtful, connected = limits
    return 0 if cosine >= connected else 1 if cosine >= doubtful else 2
