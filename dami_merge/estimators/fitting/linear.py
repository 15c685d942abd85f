"""Minimise a convex loss of linear heads with a ridge that ties neighbouring λ together.

All resamples are fitted at once, with L-BFGS in float64 from zero, so that a fit has no seed of its own.
"""

from collections.abc import Callable

import numpy as np
import torch

from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.heads import Heads
from dami_merge.tensors.threads import model_threads, torch_threads

Loss = Callable[[torch.Tensor], torch.Tensor]
"""From outputs, shape [1+S, N, O], to the sum of the losses of all fits; convex in the outputs."""

_STEPS = 150
_TOLERANCE = 1e-7


def minimise(loss: Loss, parts: Numbers, fits: int, outputs: int, *, ridge: float, smooth: float) -> Heads:
    """Fit heads.

    Args:
        loss: What is minimised, as a mean over queries of each fit, summed over fits.
        parts: Components of the queries, shape [N, R].
        fits: Number of fits, 1 + S.
        outputs: Number of outputs O; neighbours are neighbouring λ.
        ridge: Penalty of the squared weights. What all λ share is penalised by `ridge` alone, what differs
            between neighbouring λ by up to `ridge · (1 + 4 · smooth)`. Biases are free.
        smooth: How much more a difference between neighbours costs.
    """
    penalties, basis = _path_basis(outputs, smooth)
    z = torch.from_numpy(np.ascontiguousarray(parts))
    back = torch.from_numpy(basis)
    weights = torch.zeros(fits, parts.shape[1], outputs, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(fits, 1, outputs, dtype=torch.float64, requires_grad=True)
    penalty = torch.from_numpy(ridge * penalties)
    search = torch.optim.LBFGS(
        [weights, bias], max_iter=_STEPS, history_size=12, tolerance_grad=_TOLERANCE,
        tolerance_change=1e-10, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> float:
        search.zero_grad()
        total = loss(torch.matmul(z, weights @ back) + bias)
        total = total + 0.5 * (weights.square() * penalty).sum()
        total.backward()  # type: ignore[no-untyped-call]  # untyped in torch
        return float(total.detach())

    with torch_threads(model_threads(parts.size)):
        search.step(closure)  # type: ignore[no-untyped-call]  # untyped in torch
    found = (weights @ back).detach().numpy()
    return Heads(found, bias.detach().numpy()[:, 0])


def _path_basis(outputs: int, smooth: float) -> tuple[Numbers, Numbers]:
    """Eigenvalues and eigenvectors of the penalty of differences along a path, the constant vector first.

    Returns:
        Penalty of each eigenvector, shape [O], and the eigenvectors as rows, shape [O, O].
    """
    path = np.zeros((outputs, outputs))
    for place in range(outputs - 1):
        path[place : place + 2, place : place + 2] += np.array([[1.0, -1.0], [-1.0, 1.0]])
    values, vectors = np.linalg.eigh(path)
    return 1 + smooth * np.maximum(values, 0.0), np.ascontiguousarray(vectors.T)
