"""How few directions span the difference of two models, measured on one matrix of each kind. Source: ours."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import TensorInfo
from dami_merge.connectivity.naming import is_matrix, layer_and_module, natural_key
from dami_merge.connectivity.sides import FloatSide
from dami_merge.dtypes import FLOATS

RANKS = (1, 4, 16)

_SPECTRUM_ELEMENTS = 1 << 22
"""Maximum number of examined elements of a matrix. Of a larger one, a block of rows is read: its rows lie in
the same directions, and reading them takes almost no time."""

_OVERSAMPLED, _ITERATIONS = 8, 2


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
    """Directions of the difference.

    Attributes:
        ranks: Numbers of singular directions for which `spectra` states the energy, ascending.
        spectra: One matrix of each kind of module, from the middle of the model.
    """

    ranks: tuple[int, ...]
    spectra: tuple[Spectrum, ...]


def examine_difference(instruct: Checkpoint, thinking: Checkpoint) -> DifferenceReport:
    """Examine one matrix of each kind, of a pair whose tensors agree in name and shape.

    Args:
        instruct: Model at λ = 0; weights on the Hub that are not in its cache are read from the Hub.
        thinking: Model at λ = 1, read in the same way.

    Raises:
        InputRefused: A source changed since its header was read.
        HubError: The Hub is unreachable or refuses a request.

    Peak memory: four float32 copies of 2^22 elements and one in float64 (0.1 GB).
    """
    sides = FloatSide(instruct), FloatSide(thinking)
    matrices = sorted(
        (
            info
            for info in sides[0].infos.values()
            if info.dtype in FLOATS and is_matrix(info.name, info.shape)
        ),
        key=lambda info: natural_key(info.name),
    )
    with sides[0].source, sides[1].source:
        return DifferenceReport(RANKS, tuple(_spectrum(info, sides) for info in _one_of_each_kind(matrices)))


def _one_of_each_kind(matrices: Sequence[TensorInfo]) -> list[TensorInfo]:
    kinds: dict[str, list[TensorInfo]] = {}
    for info in matrices:
        if len(info.shape) == 2:
            kinds.setdefault(layer_and_module(info.name)[1], []).append(info)
    return [kinds[kind][len(kinds[kind]) // 2] for kind in sorted(kinds)]


def _spectrum(info: TensorInfo, sides: tuple[FloatSide, FloatSide]) -> Spectrum:
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
