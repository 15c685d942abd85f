"""Estimators that average measured queries: `constant`, `category`, `kmeans` and `knn`.

They are the baselines that learned routers often fail to beat (RouterBench, arXiv 2403.12031;
LLMRouterBench, arXiv 2601.07206; arXiv 2505.12601), and may be served like any other. Every mean is shrunk
towards that of all queries by `shrink` queries' worth of evidence (vLLM Semantic Router's hierarchical
shrinkage).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate, curves_of
from dami_merge.estimators.examples import Flags, Numbers, Places
from dami_merge.estimators.fitted import Inputs, Scalar
from dami_merge.estimators.reduction import Reduction, restore_reduction

KINDS_OF_TABLES = ("constant", "category", "kmeans")


@dataclass(frozen=True, slots=True, eq=False)
class TableEstimator:
    """Success and tokens by row: one row for all queries, then one for each category or cluster.

    Attributes:
        kind: `constant`, `category` or `kmeans`.
        lambdas: λ, ascending.
        success: Of the fit and of S resamples, shape [1+S, 1+C, Λ].
        cost: Mean tokens, shape [1+C, Λ].
        names: Categories, in the order of their rows; empty for the other kinds.
        centres: Centres of the clusters among the components, shape [C, R]; empty for the other kinds.
        reduction: Features to components, for `kmeans`.
        options: Options of the fit.
    """

    kind: str
    lambdas: tuple[Fraction, ...]
    success: Numbers
    cost: Numbers
    names: tuple[str, ...]
    centres: Numbers
    reduction: Reduction | None
    options: Mapping[str, Scalar]

    def estimate(self, inputs: Inputs) -> Estimate:
        """Look up the row of each query; an unknown category is novel and takes the row of all queries."""
        rows, novel = self._rows(inputs)
        return Estimate(
            lambdas=self.lambdas,
            kind="curves",
            value=self.success[0, rows],
            cost=self.cost[rows],
            draws=self.success[1:, rows],
            novel=novel,
        )

    def _rows(self, inputs: Inputs) -> tuple[Places, Flags]:
        if self.reduction is not None:
            parts = self.reduction.parts(inputs.vectors)
            return 1 + nearest_centre(parts, self.centres), self.reduction.novel(inputs.vectors, parts)
        if self.kind == "constant":
            return np.zeros(len(inputs), dtype=np.int64), np.zeros(len(inputs), dtype=np.bool_)
        places = {name: place for place, name in enumerate(self.names, 1)}
        rows = np.array([places.get(group, 0) for group in inputs.groups], dtype=np.int64)
        return rows, rows == 0

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_table` reads."""
        own: dict[str, NDArray[np.generic]] = {
            "success": self.success.astype(np.float32),
            "cost": self.cost,
            "centres": self.centres.astype(np.float32),
        }
        return own if self.reduction is None else own | self.reduction.arrays()

    def settings(self) -> dict[str, Scalar]:
        """Options of the fit, and the names of the categories, one per line."""
        return dict(self.options) | {"names": "\n".join(self.names)}


def restore_table(
    kind: str,
    arrays: Mapping[str, NDArray[np.generic]],
    lambdas: tuple[Fraction, ...],
    settings: Mapping[str, Scalar],
) -> TableEstimator:
    """A table from an artefact.

    Raises:
        KeyError: An array is missing.
    """
    names = str(settings.get("names", ""))
    return TableEstimator(
        kind=kind,
        lambdas=lambdas,
        success=arrays["success"].astype(np.float64),
        cost=arrays["cost"].astype(np.float64),
        names=tuple(names.split("\n")) if names else (),
        centres=arrays["centres"].astype(np.float64),
        reduction=restore_reduction(arrays) if kind == "kmeans" else None,
        options={name: value for name, value in settings.items() if name != "names"},
    )


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """`knn`: the shrunken mean of the k nearest measured queries by cosine.

    Attributes:
        lambdas: λ, ascending.
        reduction: Features to components.
        directions: Measured queries at length 1, shape [N, R].
        success: Share of correct answers of each, shape [N, Λ].
        tokens: Mean tokens of each, shape [N, Λ].
        weights: How much each query counts in the fit and in S resamples, shape [1+S, N].
        options: Options of the fit: `neighbours` is k.
    """

    kind = "knn"

    lambdas: tuple[Fraction, ...]
    reduction: Reduction
    directions: Numbers
    success: Numbers
    tokens: Numbers
    weights: Numbers
    options: Mapping[str, Scalar]

    def estimate(self, inputs: Inputs) -> Estimate:
        """Average the neighbours of each query."""
        parts = self.reduction.parts(inputs.vectors)
        near = nearest_directions(parts, self.directions, int(self.options["neighbours"]))
        shrink = float(self.options["shrink"])
        weights = self.weights[:, near]
        everyone = (self.weights @ self.success) / self.weights.sum(axis=1, keepdims=True)
        totals = np.einsum("snk,nkl->snl", weights, self.success[near]) + shrink * everyone[:, None, :]
        success = totals / (weights.sum(axis=2) + shrink)[:, :, None]
        count = near.shape[1]
        cost = (self.tokens[near].sum(axis=1) + shrink * self.tokens.mean(axis=0)) / (count + shrink)
        return curves_of(self.lambdas, success, cost, self.reduction.novel(inputs.vectors, parts))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_neighbours` reads."""
        names = ("directions", "success", "tokens", "weights")
        return {name: getattr(self, name).astype(np.float32) for name in names} | self.reduction.arrays()

    def settings(self) -> dict[str, Scalar]:
        """Options of the fit."""
        return dict(self.options)


def restore_neighbours(
    arrays: Mapping[str, NDArray[np.generic]], lambdas: tuple[Fraction, ...], settings: Mapping[str, Scalar]
) -> Neighbours:
    """A fitted `knn` from an artefact.

    Raises:
        KeyError: An array is missing.
    """
    return Neighbours(
        lambdas=lambdas,
        reduction=restore_reduction(arrays),
        directions=arrays["directions"].astype(np.float64),
        success=arrays["success"].astype(np.float64),
        tokens=arrays["tokens"].astype(np.float64),
        weights=arrays["weights"].astype(np.float64),
        options=dict(settings),
    )


def nearest_centre(parts: Numbers, centres: Numbers) -> Places:
    """Place of the nearest centre of each query, shape [n]; the first of equally near ones."""
    distances = (centres**2).sum(axis=1) - 2 * parts @ centres.T
    return np.asarray(distances.argmin(axis=1), dtype=np.int64)


def unit(parts: Numbers) -> Numbers:
    """The same directions at length 1; zero stays zero."""
    lengths = np.linalg.norm(parts, axis=1, keepdims=True)
    scaled: Numbers = parts / np.where(lengths > 0, lengths, 1.0)
    return scaled


def nearest_directions(parts: Numbers, directions: Numbers, count: int) -> Places:
    """Places of the measured queries with the largest cosine, shape [n, count], in no order."""
    cosines = unit(parts) @ directions.T
    count = min(count, len(directions))
    if count == len(directions):
        return np.broadcast_to(np.arange(count), (len(parts), count))
    return np.asarray(np.argpartition(-cosines, count - 1, axis=1)[:, :count], dtype=np.int64)
