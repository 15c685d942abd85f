"""The estimator `boosted`: the curves of `curve` by gradient-boosted trees instead of a linear model.

One ensemble of trees reads the features and λ together, so that it may bend and combine them; there is one
for success, one for tokens and one for each resample. LightGBM fits them; what is stored are the trees'
arrays, and predicting needs numpy only. Source: ours; R2-Router (arXiv 2602.02823) also has a LightGBM head.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate, curves_of
from dami_merge.estimators.examples import Numbers, Places
from dami_merge.estimators.fitted import Inputs, Scalar
from dami_merge.estimators.heads import sigmoid
from dami_merge.estimators.reduction import Reduction, restore_reduction

_ROWS = 64
"""Queries that are predicted at once, so that what they need fits into a cache."""

_NAMES = ("feature", "threshold", "left", "right", "leaf", "sizes")


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Several ensembles of binary trees, one after the other.

    A number below 0 in `left` or `right` is a leaf: -1 is the first. A tree of one leaf has only those.

    Attributes:
        feature: Feature that each node compares, shape [T, M]; the number after the last feature is λ.
        threshold: Up to this value a node goes left, shape [T, M].
        left: Next node or leaf, shape [T, M].
        right: The same for larger values, shape [T, M].
        leaf: Values of the leaves, shape [T, M+1].
        sizes: Trees of each ensemble, shape [E]; they add up to T.
    """

    feature: NDArray[np.int32]
    threshold: Numbers
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    leaf: Numbers
    sizes: Places

    def outputs(self, vectors: Numbers, lambdas: Sequence[float]) -> Numbers:
        """Sum of the leaves of each ensemble, shape [E, n, Λ].

        Args:
            vectors: Features, shape [n, D].
            lambdas: λ.
        """
        starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        found = np.zeros((len(self.sizes), len(vectors), len(lambdas)))
        for first in range(0, len(vectors), _ROWS):
            some = vectors[first : first + _ROWS]
            for place, leaves in enumerate(self._leaves(some, lambdas)):
                values = np.take_along_axis(self.leaf, leaves.T, axis=1)
                found[:, first : first + _ROWS, place] = np.add.reduceat(values, starts, axis=0)
        return found

    def _leaves(self, vectors: Numbers, lambdas: Sequence[float]) -> Iterator[Places]:
        """The leaf that each query reaches in each tree, shape [n, T], for one λ after the other."""
        trees, nodes = self.feature.shape
        of_lambda = self.feature == vectors.shape[1]
        columns = np.where(of_lambda, 0, self.feature).ravel()
        smaller = vectors[:, columns] <= self.threshold.ravel()
        roots = np.arange(trees) * nodes
        for lam in lambdas:
            left = np.where(of_lambda.ravel(), lam <= self.threshold.ravel(), smaller)
            after = np.where(left, self.left.ravel(), self.right.ravel())
            node = after[:, roots].astype(np.int64)
            while (node >= 0).any():
                node = np.where(
                    node >= 0, np.take_along_axis(after, roots + np.maximum(node, 0), axis=1), node
                )
            yield -1 - node

    def arrays(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Arrays to store, under a name of the caller's."""
        return {f"{name}.{part}": getattr(self, part) for part in _NAMES}


def restore_forest(arrays: Mapping[str, NDArray[np.generic]], name: str) -> Forest:
    """A forest from its arrays.

    Raises:
        KeyError: An array is missing.
    """
    feature, threshold, left, right, leaf, sizes = (arrays[f"{name}.{part}"] for part in _NAMES)
    return Forest(
        feature.astype(np.int32), threshold.astype(np.float64), left.astype(np.int32), right.astype(np.int32),
        leaf.astype(np.float64), sizes.astype(np.int64),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Boosted:
    """A fitted `boosted`.

    Attributes:
        lambdas: λ, ascending.
        reduction: Says whether a query is new; the trees read the features themselves.
        success: Log odds of success: the fit and S resamples.
        length: Logarithms of mean tokens, one ensemble.
        smearing: Factor from the exponential of `length` to mean tokens, shape [Λ].
        bounds: Fewest and most tokens that are predicted at each λ, shape [2, Λ].
        options: Options of the fit.
    """

    kind = "boosted"

    lambdas: tuple[Fraction, ...]
    reduction: Reduction
    success: Forest
    length: Forest
    smearing: Numbers
    bounds: Numbers
    options: Mapping[str, Scalar]

    def estimate(self, inputs: Inputs) -> Estimate:
        """Predict success and tokens."""
        path = [float(lam) for lam in self.lambdas]
        success = sigmoid(self.success.outputs(inputs.vectors, path))
        cost = np.exp(self.length.outputs(inputs.vectors, path)[0]) * self.smearing
        return curves_of(
            self.lambdas,
            success,
            np.clip(cost, *self.bounds),
            self.reduction.novel(inputs.vectors, self.reduction.parts(inputs.vectors)),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_boosted` reads. Thresholds stay float64: a rounded one sends queries elsewhere."""
        own = {"smearing": self.smearing, "bounds": self.bounds}
        return own | self.reduction.arrays() | self.success.arrays("success") | self.length.arrays("length")

    def settings(self) -> dict[str, Scalar]:
        """Options of the fit."""
        return dict(self.options)


def restore_boosted(
    arrays: Mapping[str, NDArray[np.generic]], lambdas: tuple[Fraction, ...], settings: Mapping[str, Scalar]
) -> Boosted:
    """A fitted `boosted` from an artefact.

    Raises:
        KeyError: An array is missing.
    """
    return Boosted(
        lambdas=lambdas,
        reduction=restore_reduction(arrays),
        success=restore_forest(arrays, "success"),
        length=restore_forest(arrays, "length"),
        smearing=arrays["smearing"].astype(np.float64),
        bounds=arrays["bounds"].astype(np.float64),
        options=dict(settings),
    )
