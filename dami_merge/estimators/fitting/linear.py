"""Minimise a convex loss of linear heads with a ridge that ties neighbouring λ together.

With L-BFGS in float64 from zero, so that a fit has no seed of its own. Resamples start at the fit to all
queries and take a limited number of steps, all of them at once.
"""

from collections.abc import Callable

import numpy as np
import torch

from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.heads import Heads
from dami_merge.tensors.threads import model_threads, torch_threads

Loss = Callable[[torch.Tensor], torch.Tensor]
"""From outputs, shape [1+S, N, O], to the losses of the queries, shape [1+S, N, O]; convex in the outputs."""

_STEPS = 150
_STEPS_OF_RESAMPLES = 30
_TOLERANCE = 1e-7


def minimise(
    loss: Loss, parts: Numbers, weights: Numbers, outputs: int, *, ridge: float, smooth: float
) -> Heads:
    """Fit heads.

    Args:
        loss: What is minimised, as a weighted mean over queries.
        parts: Components of the queries, shape [N, R].
        weights: How much each query counts in each fit, shape [1+S, N]; the first row is the fit itself.
        outputs: Number of outputs O; neighbours are neighbouring λ.
        ridge: Penalty of the squared weights. What all λ share is penalised by `ridge` alone, what differs
            between neighbouring λ by up to `ridge · (1 + 4 · smooth)`. Biases are free.
        smooth: How much more a difference between neighbours costs.
    """
    penalties, basis = _path_basis(outputs, smooth)
    z = torch.from_numpy(np.ascontiguousarray(parts))
    back = torch.from_numpy(basis)
    penalty = torch.from_numpy(ridge * penalties)
    per_query = torch.from_numpy(np.ascontiguousarray(weights[:, :, None] / len(parts)))
    inner = torch.zeros(1, parts.shape[1], outputs, dtype=torch.float64)
    bias = torch.zeros(1, 1, outputs, dtype=torch.float64)

    def objective(own: torch.Tensor, level: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        each = loss(torch.matmul(z, own @ back) + level)
        return (each * counted).sum() + 0.5 * (own.square() * penalty).sum()

    with torch_threads(model_threads(parts.size)):
        inner, bias = _searched(objective, inner, bias, per_query[:1], _STEPS)
        if len(weights) > 1:
            start = (inner.repeat(len(weights) - 1, 1, 1), bias.repeat(len(weights) - 1, 1, 1))
            more, levels = _searched(objective, *start, per_query[1:], _STEPS_OF_RESAMPLES)
            inner, bias = torch.cat([inner, more]), torch.cat([bias, levels])
    return Heads((inner @ back).numpy(), bias[:, 0].numpy())


def _searched(
    objective: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
    inner: torch.Tensor,
    bias: torch.Tensor,
    counted: torch.Tensor,
    steps: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    inner, bias = inner.clone().requires_grad_(), bias.clone().requires_grad_()
    search = torch.optim.LBFGS(
        [inner, bias], max_iter=steps, history_size=12, tolerance_grad=_TOLERANCE, tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> float:
        search.zero_grad()
        total = objective(inner, bias, counted)
        torch.autograd.backward(total)
        return float(total.detach())

    search.step(closure)  # type: ignore[no-untyped-call]  # untyped in torch
    return inner.detach(), bias.detach()


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
