"""Fit the estimators of `tables`; needs numpy only."""

from typing import Annotated

import msgspec
import numpy as np

from dami_merge.estimators.examples import Examples, Numbers, Places, folds
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.reduction import MOST_COMPONENTS, Reduction, fit_reduction
from dami_merge.estimators.resampling import query_weights
from dami_merge.estimators.tables import (
    Neighbours,
    TableEstimator,
    nearest_centre,
    nearest_directions,
    unit,
)

NEIGHBOURS = (4, 8, 16, 32, 64, 128, 256, 512)
"""Numbers of neighbours that cross-validation chooses from."""

CLUSTERS = (4, 8, 16, 32, 64, 128)
"""Numbers of clusters that cross-validation chooses from."""

_FOLDS = 4
_ROUNDS = 25


class AverageOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `constant`, `category`, `kmeans` and `knn`.

    Attributes:
        shrink: Queries' worth of the mean of all that is added to every row.
        neighbours: k of `knn`; 0 means by cross-validation.
        clusters: Clusters of `kmeans`; 0 means by cross-validation.
        draws: Resamples for standard errors.
        parts: Most principal components of the features.
    """

    shrink: Annotated[float, msgspec.Meta(ge=0)] = 4.0
    neighbours: Annotated[int, msgspec.Meta(ge=0)] = 0
    clusters: Annotated[int, msgspec.Meta(ge=0)] = 0
    draws: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 16
    parts: Annotated[int, msgspec.Meta(ge=1, le=4096)] = MOST_COMPONENTS


def fit_constant(examples: Examples, inputs: Inputs, options: AverageOptions, seed: int) -> TableEstimator:
    """One row for all queries: the best static λ."""
    del inputs
    return _table("constant", examples, np.zeros(len(examples), dtype=np.int64), options, seed)


def fit_category(examples: Examples, inputs: Inputs, options: AverageOptions, seed: int) -> TableEstimator:
    """One row for each category of the questions."""
    del inputs
    names = tuple(sorted({group for group in examples.groups if group}))
    places = {name: place for place, name in enumerate(names, 1)}
    rows = np.array([places.get(group, 0) for group in examples.groups], dtype=np.int64)
    return _table("category", examples, rows, options, seed, names=names)


def fit_kmeans(examples: Examples, inputs: Inputs, options: AverageOptions, seed: int) -> TableEstimator:
    """One row for each cluster of the features (Lloyd's algorithm)."""
    reduction = fit_reduction(inputs, most=options.parts, seed=seed)
    parts = reduction.parts(inputs.vectors)
    clusters = options.clusters or _best_clusters(parts, examples, options, seed)
    chosen = msgspec.structs.replace(options, clusters=clusters)
    centres = _centres(parts, clusters, seed)
    rows = 1 + nearest_centre(parts, centres)
    return _table("kmeans", examples, rows, chosen, seed, clusters=(centres, reduction))


def fit_knn(examples: Examples, inputs: Inputs, options: AverageOptions, seed: int) -> Neighbours:
    """Keep all measured queries."""
    reduction = fit_reduction(inputs, most=options.parts, seed=seed)
    directions = unit(reduction.parts(inputs.vectors))
    count = options.neighbours or _best_neighbours(directions, examples, options, seed)
    weights = query_weights(len(examples), options.draws, seed)
    settings = msgspec.structs.asdict(options) | {"neighbours": count, "seed": seed}
    return Neighbours(
        examples.lambdas, reduction, directions, examples.accuracy, examples.tokens, weights, settings
    )


def _table(
    kind: str,
    examples: Examples,
    rows: Places,
    options: AverageOptions,
    seed: int,
    *,
    names: tuple[str, ...] = (),
    clusters: tuple[Numbers, Reduction] | None = None,
) -> TableEstimator:
    centres, reduction = (np.zeros((0, 0)), None) if clusters is None else clusters
    count = 1 + len(names) + len(centres)
    weights = query_weights(len(examples), options.draws, seed)
    success = np.stack([_shrunken(examples.accuracy, rows, count, own, options.shrink) for own in weights])
    cost = _shrunken(examples.tokens, rows, count, weights[0], options.shrink)
    settings = msgspec.structs.asdict(options) | {"seed": seed}
    return TableEstimator(kind, examples.lambdas, success, cost, names, centres, reduction, settings)


def _shrunken(values: Numbers, rows: Places, count: int, weights: Numbers, shrink: float) -> Numbers:
    """Weighted means by row, shrunk towards that of all; the first row is that of all, shape [count, Λ]."""
    everyone = (weights[:, None] * values).sum(axis=0) / weights.sum()
    totals = np.zeros((count, values.shape[1]))
    np.add.at(totals, rows, weights[:, None] * values)
    sizes = np.bincount(rows, weights=weights, minlength=count)[:, None]
    whole = np.maximum(sizes + shrink, 1e-12)
    means: Numbers = np.where(sizes + shrink > 0, (totals + shrink * everyone) / whole, everyone)
    means[0] = everyone
    return means


def _centres(parts: Numbers, clusters: int, seed: int) -> Numbers:
    """Centres by k-means++ and Lloyd's algorithm."""
    random = np.random.default_rng(seed)
    clusters = min(clusters, len(parts))
    centres = parts[[int(random.integers(len(parts)))]]
    nearest = np.full(len(parts), np.inf)
    for _ in range(clusters - 1):
        nearest = np.minimum(nearest, ((parts - centres[-1]) ** 2).sum(axis=1))
        if not nearest.sum() > 0:
            break
        centres = np.vstack([centres, parts[random.choice(len(parts), p=nearest / nearest.sum())]])
    for _ in range(_ROUNDS):
        own = nearest_centre(parts, centres)
        totals = np.zeros_like(centres)
        np.add.at(totals, own, parts)
        sizes = np.bincount(own, minlength=len(centres))[:, None]
        moved = np.where(sizes > 0, totals / np.maximum(sizes, 1), centres)
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres


def _best_clusters(parts: Numbers, examples: Examples, options: AverageOptions, seed: int) -> int:
    """The number of clusters with the lowest squared error on queries that were left out."""
    usable = [count for count in CLUSTERS if count * 4 <= len(parts)] or [1]
    errors = []
    for count in usable:
        total = 0.0
        for kept, out in folds(len(parts), min(_FOLDS, len(parts)), seed) if len(parts) > 1 else ():
            centres = _centres(parts[kept], count, seed)
            rows = 1 + nearest_centre(parts[kept], centres)
            means = _shrunken(
                examples.accuracy[kept], rows, len(centres) + 1, np.ones(len(kept)), options.shrink
            )
            said = means[1 + nearest_centre(parts[out], centres)]
            total += float(((said - examples.accuracy[out]) ** 2).sum())
        errors.append(total)
    return usable[int(np.argmin(errors))]


def _best_neighbours(directions: Numbers, examples: Examples, options: AverageOptions, seed: int) -> int:
    """The number of neighbours with the lowest squared error on queries that were left out."""
    usable = [count for count in NEIGHBOURS if count * 2 <= len(directions)] or [1]
    errors = dict.fromkeys(usable, 0.0)
    for kept, out in folds(len(directions), _FOLDS, seed) if len(directions) >= _FOLDS else ():
        everyone = examples.accuracy[kept].mean(axis=0)
        for count in usable:
            near = nearest_directions(directions[out], directions[kept], count)
            own = examples.accuracy[kept][near]
            said = (own.sum(axis=1) + options.shrink * everyone) / (near.shape[1] + options.shrink)
            errors[count] += float(((said - examples.accuracy[out]) ** 2).sum())
    return min(usable, key=lambda count: errors[count])
