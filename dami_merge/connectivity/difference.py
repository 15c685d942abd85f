"""The difference of two models: whether it survives rounding, and how few directions span it.

Both are measured on a sample. Source of both measures: ours. A short fine-tune may move weights by less than
their dtype can represent at a small λ; a checkpoint near an end is then that end plus noise.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import TensorInfo
from dami_merge.connectivity.naming import is_matrix, layer_and_module, natural_key
from dami_merge.dtypes import FLOATS
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.interpolate import interpolate
from dami_merge.tensors.sources import Piece, source_of

LAMBDAS = (Fraction(1, 10), Fraction(1, 2))
RANKS = (1, 4, 16)

_SAMPLED_ELEMENTS, _LEAST_OF_A_MATRIX = 1 << 22, 1 << 12

_SPECTRUM_ELEMENTS = 1 << 22
"""Maximum number of examined elements of a matrix. Of a larger one, a block of rows is read: its rows lie in
the same directions, and reading them takes almost no time."""

_READS = 16
"""Reads in flight: a read from the Hub is mostly waiting."""

_OVERSAMPLED, _ITERATIONS = 8, 2


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


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Energy of one matrix's difference in its largest singular values.

    Attributes:
        tensor: Name of the tensor.
        module: Kind of module, such as `self_attn.q_proj`.
        shape: Shape of the matrix.
        rows: Number of examined rows, from the middle of the matrix; all rows up to 2^22 elements.
        energy: For each of the report's ranks, the share of the examined rows' ‖difference‖² in that many
            directions. For a difference without structure, the expected share is about
            rank · (√rows + √columns)² / (rows · columns).
    """

    tensor: str
    module: str
    shape: tuple[int, ...]
    rows: int
    energy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DifferenceReport:
    """Result of examining a sample of the difference.

    Attributes:
        sampled_elements: Number of elements that `survival` is based on: from the middle of every float
            matrix, 2^22 in total or 4,096 of each, whichever is more.
        survival: One entry for each of `LAMBDAS`; empty if no sampled element differs.
        ranks: Numbers of singular directions for which `spectra` states the energy, ascending.
        spectra: One matrix of each kind of module, from the middle of the model.
    """

    sampled_elements: int
    survival: tuple[Survival, ...]
    ranks: tuple[int, ...]
    spectra: tuple[Spectrum, ...]


def examine_difference(instruct: Checkpoint, thinking: Checkpoint) -> DifferenceReport:
    """Examine a sample of a pair whose tensors agree in name, shape and dtype.

    Args:
        instruct: Model at λ = 0; weights on the Hub that are not in its cache are read from the Hub.
        thinking: Model at λ = 1, read in the same way.

    Raises:
        InputRefused: A source changed since its header was read.
        HubError: The Hub is unreachable or refuses a request.

    Peak memory: four float32 copies of 2^22 elements and one in float64 (0.1 GB).
    """
    sides = _Side(instruct), _Side(thinking)
    matrices = sorted(
        (
            info
            for info in sides[0].infos.values()
            if info.dtype in FLOATS and is_matrix(info.name, info.shape)
        ),
        key=lambda info: natural_key(info.name),
    )
    moved = {lam: torch.zeros(3, dtype=torch.float64) for lam in LAMBDAS}
    most = max(_LEAST_OF_A_MATRIX, _SAMPLED_ELEMENTS // max(len(matrices), 1))
    sampled = 0
    with sides[0].source, sides[1].source, ThreadPoolExecutor(_READS) as pool:
        for start in range(0, len(matrices), _READS):
            some = matrices[start : start + _READS]
            for left, right in pool.map(lambda info: _middle(sides, info, most), some):
                sampled += len(left)
                moved = {lam: total + _moved(left, right, lam) for lam, total in moved.items()}
        spectra = tuple(_spectrum(info, sides) for info in _one_of_each_kind(matrices))
    survival = [
        Survival(lam, float(projection / should), float((error / should).sqrt()))
        for lam, (projection, should, error) in moved.items()
        if should > 0
    ]
    return DifferenceReport(sampled, tuple(survival), RANKS, spectra)


class _Side:
    """Reads elements of one checkpoint's tensors."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.infos = {name: info for name, (_, info) in checkpoint.tensors().items()}
        self.source = source_of(checkpoint)

    def read(self, name: str, first: int, count: int) -> Tensor:
        dtype = FLOAT_DTYPES[self.infos[name].dtype]
        buffer = memoryview(bytearray(count * dtype.itemsize))
        for _ in self.source.fill([(Piece(name, first, count), 0)], buffer):
            pass
        return torch.frombuffer(buffer, dtype=dtype, count=count)


def _middle(sides: tuple[_Side, _Side], info: TensorInfo, most: int) -> tuple[Tensor, Tensor]:
    count = min(info.elements, most)
    left, right = (side.read(info.name, (info.elements - count) // 2, count) for side in sides)
    return left, right


def _moved(left: Tensor, right: Tensor, lam: Fraction) -> Tensor:
    """Return `(Σ did·should, Σ should², Σ (did - should)²)` in float64: the rounded and the exact change."""
    made = torch.empty_like(left)
    interpolate(left, right, (lam,), made[None])
    should = (right.double() - left.double()) * float(lam)
    did = made.double() - left.double()
    return torch.stack([(did * should).sum(), should.square().sum(), (did - should).square().sum()])


def _one_of_each_kind(matrices: Sequence[TensorInfo]) -> list[TensorInfo]:
    kinds: dict[str, list[TensorInfo]] = {}
    for info in matrices:
        if len(info.shape) == 2:
            kinds.setdefault(layer_and_module(info.name)[1], []).append(info)
    return [kinds[kind][len(kinds[kind]) // 2] for kind in sorted(kinds)]


def _spectrum(info: TensorInfo, sides: "tuple[_Side, _Side]") -> Spectrum:
    height, width = info.shape
    rows = min(height, max(1, _SPECTRUM_ELEMENTS // width))
    first = (height - rows) // 2
    left, right = (side.read(info.name, first * width, rows * width).float() for side in sides)
    moved = (right - left).reshape(rows, width)
    values = largest_singular_values(moved, max(RANKS))
    energy = float(moved.double().square().sum())
    shares = tuple(
        min(float(values[:rank].double().square().sum()) / energy, 1.0) if energy else 0.0 for rank in RANKS
    )
    return Spectrum(info.name, layer_and_module(info.name)[1], info.shape, rows, shares)


def largest_singular_values(matrix: Tensor, count: int) -> Tensor:
    """Estimate the largest singular values, with a fixed seed.

    The method is a randomised range finder with power iterations (Halko et al., arXiv 0909.4061).

    Args:
        matrix: float32 or float64, shape [m, n].
        count: Number of values; fewer if the matrix has fewer.

    Returns:
        The singular values, descending, shape [min(count, m, n)].
    """
    generator = torch.Generator().manual_seed(0)
    width = min(count + _OVERSAMPLED, *matrix.shape)
    basis = matrix @ torch.randn(matrix.shape[1], width, generator=generator, dtype=matrix.dtype)
    for _ in range(_ITERATIONS):
        basis, _ = torch.linalg.qr(basis)
        basis = matrix @ torch.linalg.qr(matrix.T @ basis)[0]
    basis, _ = torch.linalg.qr(basis)
    values: Tensor = torch.linalg.svdvals(basis.T @ matrix)
    return values[:count]
