"""Features to a few uncorrelated numbers, and whether a query is unlike those that were fitted on.

Each block of features is centred and scaled to a total variance of 1, so that a thousand n-grams weigh as
much as ten counts. The principal components of the blocks together are what linear heads see; a ridge on
them is a ridge on the features. Source: ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.examples import Flags, Numbers
from dami_merge.estimators.fitted import Inputs

MOST_COMPONENTS = 128
"""Principal components that are kept."""

_FAMILIAR = 0.995
"""Share of the fitted queries, each seen from a fit to the others, that count as familiar."""

_SLACK = 1.1
_NAMES = ("mean", "basis", "spread", "scale", "limits")
_FOLDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Reduction:
    """A linear map from features to components.

    Attributes:
        mean: Mean of each feature, shape [D].
        basis: Maps centred features to components, shape [D, R]; the blocks' scales are in it.
        spread: Standard deviation of each component, shape [R].
        scale: Scale of each feature, shape [D].
        limits: Largest distance from the components, and within them, of a familiar query, shape [2].
    """

    mean: Numbers
    basis: Numbers
    spread: Numbers
    scale: Numbers
    limits: Numbers

    def parts(self, vectors: Numbers) -> Numbers:
        """Components of some queries, shape [n, R]."""
        parts: Numbers = (vectors - self.mean) @ self.basis
        return parts

    def novel(self, vectors: Numbers, parts: Numbers) -> Flags:
        """Whether queries lie farther away than those that were fitted on, shape [n]."""
        beyond: Flags = self.distances(vectors, parts) > self.limits
        return beyond[:, 0] | beyond[:, 1]

    def distances(self, vectors: Numbers, parts: Numbers) -> Numbers:
        """Squared length outside of the components, and scaled squared length inside, shape [n, 2]."""
        whole = (((vectors - self.mean) * self.scale) ** 2).sum(axis=1)
        outside = np.maximum(whole - (parts**2).sum(axis=1), 0.0)
        inside = ((parts / self.spread) ** 2).mean(axis=1) if parts.shape[1] else np.zeros(len(parts))
        return np.stack([outside, inside], axis=1)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_reduction` reads; half precision of the basis is enough for a prediction."""
        arrays = {f"reduction.{name}": getattr(self, name).astype(np.float32) for name in _NAMES}
        return arrays | {"reduction.basis": self.basis.astype(np.float16)}


def restore_reduction(arrays: Mapping[str, NDArray[np.generic]]) -> Reduction:
    """A reduction from its arrays.

    Raises:
        KeyError: An array is missing.
    """
    return Reduction(*(arrays[f"reduction.{name}"].astype(np.float64) for name in _NAMES))


def fit_reduction(inputs: Inputs, *, most: int = MOST_COMPONENTS, seed: int = 0) -> Reduction:
    """Find the principal components of some queries, and how far from them a familiar query may lie.

    Args:
        inputs: Features of at least one query.
        most: Components to keep.
        seed: Seed of the folds by which the limits are set.
    """
    whole = _components(inputs.vectors, inputs.blocks, most)
    count = len(inputs)
    if count < 2 * _FOLDS:
        return whole
    order = np.random.default_rng(seed).permutation(count)
    distances = []
    for fold in range(_FOLDS):
        out = order[fold::_FOLDS]
        own = _components(np.delete(inputs.vectors, out, axis=0), inputs.blocks, most)
        distances.append(own.distances(inputs.vectors[out], own.parts(inputs.vectors[out])))
    limits = np.quantile(np.concatenate(distances), _FAMILIAR, axis=0) * _SLACK + 1e-9
    return Reduction(whole.mean, whole.basis, whole.spread, whole.scale, limits)


def _components(vectors: Numbers, blocks: tuple[int, ...], most: int) -> Reduction:
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    scale = _scales(centred, blocks or (vectors.shape[1],))
    scaled = centred * scale
    if len(scaled) < scaled.shape[1]:
        values, left = np.linalg.eigh(scaled @ scaled.T)
    else:
        values, left = np.linalg.eigh(scaled.T @ scaled)
    kept = np.flatnonzero(values > max(values.max(initial=0.0), 0.0) * 1e-9)[::-1][:most]
    roots = np.sqrt(values[kept])
    directions = left[:, kept]
    if len(scaled) < scaled.shape[1]:
        directions = scaled.T @ directions / roots
    spread = np.maximum(roots / np.sqrt(max(len(vectors), 1)), 1e-9)
    basis = directions * scale[:, None]
    return Reduction(mean, basis, spread, scale, np.full(2, np.inf))


def _scales(centred: Numbers, blocks: tuple[int, ...]) -> Numbers:
    scales, first = [], 0
    for width in blocks:
        total = centred[:, first : first + width].var(axis=0).sum() if len(centred) else 0.0
        scales.append(np.full(width, 1 / np.sqrt(total) if total > 0 else 1.0))
        first += width
    return np.concatenate(scales) if scales else np.zeros(0)
