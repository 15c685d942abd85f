"""What the difference of two models is like: does it survive rounding, and of how few directions is it made.

Both are looked at on a sample, and both answers are ours. A short fine-tune may move weights by less than
their dtype can hold at a small λ; then checkpoints near an end are that end with noise.
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
"""Of a larger matrix a block of rows: they lie in the same directions, and it is read in no time."""

_READS = 16
"""At once: what is on the Hub is mostly waited for."""

_OVERSAMPLED, _ITERATIONS = 8, 2


@dataclass(frozen=True, slots=True)
class Survival:
    """How much of the difference a checkpoint holds after its one rounding.

    Attributes:
        lam: λ of the checkpoint.
        kept: Projection of what it moved by on what it should have moved by; 1 is all of it, 0 nothing.
        noise: ‖moved - should have‖ / ‖should have‖; above 1 rounding is the larger part.
    """

    lam: Fraction
    kept: float
    noise: float


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Energy of one matrix's difference in its largest singular values.

    Attributes:
        tensor: Name.
        module: Kind, such as `self_attn.q_proj`.
        shape: Of the matrix.
        rows: That were looked at, from its middle: all of a matrix up to 2^22 elements.
        energy: For each of the report's ranks, the share of their ‖difference‖² in so many directions; what
            chance gives for a difference without structure is about rank · (√rows + √columns)² / (rows ·
            columns).
    """

    tensor: str
    module: str
    shape: tuple[int, ...]
    rows: int
    energy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DifferenceReport:
    """What the sample showed.

    Attributes:
        sampled_elements: Elements that `survival` is about: from the middle of every float matrix, 2^22 in
            all or 4,096 of each.
        survival: For each of `LAMBDAS`; empty where no sampled element differs.
        ranks: Numbers of singular directions that `spectra` tells the energy of, ascending.
        spectra: One matrix of each kind, from the middle of the model.
    """

    sampled_elements: int
    survival: tuple[Survival, ...]
    ranks: tuple[int, ...]
    spectra: tuple[Spectrum, ...]


def examine_difference(instruct: Checkpoint, thinking: Checkpoint) -> DifferenceReport:
    """Look at a sample of a pair whose tensors agree in name, shape and dtype.

    Args:
        instruct: As `check_lmc` took it; what is on the Hub is read from there.
        thinking: Likewise.

    Raises:
        InputRefused: A source changed since its header was read.
        HubError: The Hub could not be read to the end.

    Peak memory: four float32 copies of 2^22 elements and one in float64 (0.1 GB).
    """
    sides = _Side(instruct), _Side(thinking)
    matrices = sorted(
        (info for info in sides[0].infos.values() if info.dtype in FLOATS and is_matrix(info.shape)),
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
    """Elements of the tensors of one checkpoint."""

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
    """`(Σ moved·should, Σ should², Σ (moved - should)²)` in float64."""
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
    """By a randomised range with power iterations (Halko et al., arXiv 0909.4061), seeded.

    Args:
        matrix: float32 or float64, shape [m, n].
        count: How many; fewer if the matrix has fewer.

    Returns:
        Descending, shape [min(count, m, n)].
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
