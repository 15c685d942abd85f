"""What rounding to the written dtype leaves of the difference of two models, at every λ. Source: ours.

A short fine-tune may move weights by less than their dtype can tell apart at a small λ: a checkpoint near an
end is then that end plus noise, and the difference comes through at once where λ is large enough to reach the
next representable number. Measured on a sample, so that it costs little beside reading the weights.
"""

import math
import random
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import TensorInfo
from dami_merge.connectivity.naming import is_matrix, natural_key
from dami_merge.connectivity.sides import READS, FloatSide
from dami_merge.dtypes import DTYPES, FLOATS, HEADER_NAMES
from dami_merge.lambdas import DEFAULT_STEPS, even_grid
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.interpolate import interpolate
from dami_merge.tensors.threads import one_torch_thread

NOISY = 0.5
"""Rounding noise, as a share of the difference, above which it drowns the difference. Source: ours."""

_MATRICES, _ELEMENTS = 64, 1 << 12
"""Matrices of the sample, drawn once for all with a fixed seed, and elements from the middle of each."""


@dataclass(frozen=True, slots=True)
class Survival:
    """How much of the difference a checkpoint keeps after its single rounding.

    Attributes:
        lam: λ of the checkpoint.
        kept: Projection of the rounded change onto the exact change; 1 keeps all of it, 0 nothing.
        noise: ‖rounded change - exact change‖ / ‖exact change‖; above 1, rounding is the larger part.
    """

    lam: Fraction
    kept: float
    noise: float

    @property
    def drowned(self) -> bool:
        """Whether rounding noise drowns the difference (`NOISY`)."""
        return self.noise > NOISY


@dataclass(frozen=True, slots=True)
class RoundingReport:
    """What rounding leaves of the difference.

    Attributes:
        dtype: The dtype written, such as `bfloat16`: of the tensors with the most sampled elements.
        sampled_elements: Number of elements that the figures are based on.
        identical: Share of them that are equal in both models.
        survival: What survives at each λ between 0 and 1, ascending. Empty if all sampled elements are equal.
    """

    dtype: str
    sampled_elements: int
    identical: float
    survival: tuple[Survival, ...]

    @property
    def drowned(self) -> tuple[Survival, ...]:
        """The λ at which rounding noise drowns the difference."""
        return tuple(each for each in self.survival if each.drowned)

    @property
    def eaten(self) -> bool:
        """Whether rounding drowns the difference at half of the λ or more, so that λ is no dial."""
        return 2 * len(self.drowned) >= len(self.survival) > 0

    def at(self, lam: Fraction) -> Survival | None:
        """Return what survives at a λ; None if it was not measured, as at the ends."""
        return next((each for each in self.survival if each.lam == lam), None)


def examine_rounding(
    instruct: Checkpoint,
    thinking: Checkpoint,
    *,
    lambdas: Iterable[Fraction] | None = None,
    dtype: str | None = None,
) -> RoundingReport:
    """Measure what rounding leaves, on a sample of a pair whose tensors agree in name and shape.

    Args:
        instruct: Model at λ = 0; weights on the Hub that are not in its cache are read from the Hub.
        thinking: Model at λ = 1, read in the same way.
        lambdas: The λ to measure, by default those of a grid; the ends are exact copies and are left out.
        dtype: Dtype to write, such as `bfloat16`; None writes the dtype of Instruct's tensors, as `grid`.

    Raises:
        InputRefused: A source changed since its header was read.
        HubError: The Hub is unreachable or refuses a request.

    Peak memory: less than 10 MB.
    """
    sides = FloatSide(instruct), FloatSide(thinking)
    between = tuple(sorted({lam for lam in lambdas or even_grid(DEFAULT_STEPS) if 0 < lam < 1}))
    sample = _sample(sides[0].infos.values())
    moved = torch.zeros(len(between), 3, dtype=torch.float64)
    sampled = equal = 0
    dtypes: dict[str, int] = {}
    with one_torch_thread(), sides[0].source, sides[1].source, ThreadPoolExecutor(READS) as pool:
        for info, (left, right) in zip(
            sample, pool.map(lambda info: _middle(sides, info), sample), strict=True
        ):
            written = HEADER_NAMES[dtype] if dtype else info.dtype
            dtypes[written] = dtypes.get(written, 0) + len(left)
            sampled += len(left)
            equal += int((left.double() == right.double()).sum())
            moved += _moved(left, right, between, FLOAT_DTYPES[written])
    survival = [
        Survival(lam, projection / should, math.sqrt(error / should))
        for lam, (projection, should, error) in zip(between, moved.tolist(), strict=True)
        if should > 0 and math.isfinite(error)
    ]
    most = max(dtypes, key=lambda each: dtypes[each], default="F32")
    return RoundingReport(DTYPES[most].torch, sampled, equal / max(sampled, 1), tuple(survival))


def _sample(infos: Iterable[TensorInfo]) -> list[TensorInfo]:
    matrices = sorted(
        (
            info
            for info in infos
            if info.dtype in FLOATS and info.elements and is_matrix(info.name, info.shape)
        ),
        key=lambda info: natural_key(info.name),
    )
    chance = random.Random(0)  # noqa: S311 - nothing secret
    return chance.sample(matrices, min(_MATRICES, len(matrices)))


def _middle(sides: tuple[FloatSide, FloatSide], info: TensorInfo) -> tuple[Tensor, Tensor]:
    count = min(info.elements, _ELEMENTS)
    left, right = (side.read(info.name, (info.elements - count) // 2, count) for side in sides)
    return left, right


def _moved(left: Tensor, right: Tensor, lambdas: Sequence[Fraction], dtype: torch.dtype) -> Tensor:
    """Return `(Σ did·should, Σ should², Σ (did - should)²)` for each λ: the rounded and the exact change."""
    made = torch.empty(len(lambdas), len(left), dtype=dtype)
    interpolate(left, right, lambdas, made)
    weights = torch.tensor([float(lam) for lam in lambdas], dtype=torch.float64)
    should = weights[:, None] * (right.double() - left.double())
    did = made.double() - left.double()
    return torch.stack(
        [(did * should).sum(dim=1), should.square().sum(dim=1), (did - should).square().sum(dim=1)], dim=1
    )
