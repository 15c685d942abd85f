"""What the difference of two models is like: does it survive rounding, and of how few directions is it made.

Both are looked at on a sample, and both answers are ours. A short fine-tune may move weights by less than
their dtype can hold at a small λ; then checkpoints near an end are that end with noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import FLOATS, TensorInfo
from dami_merge.checkpoint.source import fetched
from dami_merge.connectivity.naming import is_matrix, layer_and_module, natural_key
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.interpolate import interpolate
from dami_merge.tensors.stream import Read, Reader

LAMBDAS = (Fraction(1, 10), Fraction(1, 2))
RANKS = (1, 4, 16)

_SAMPLE_ELEMENTS = 1 << 16
_LARGEST_MATRIX = 1 << 26
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
        energy: For each of the report's ranks, the share of ‖difference‖² in so many directions; what chance
            gives for a difference without structure is about rank · (√rows + √columns)² / (rows · columns).
    """

    tensor: str
    module: str
    shape: tuple[int, ...]
    energy: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DifferenceReport:
    """What the sample showed.

    Attributes:
        sampled_elements: Elements that `survival` is about, up to 65,536 of every float matrix.
        survival: For each of `LAMBDAS`; empty where no sampled element differs.
        ranks: Numbers of singular directions that `spectra` tells the energy of, ascending.
        spectra: One matrix of each kind, from the middle of the model; none above 2^26 elements.
    """

    sampled_elements: int
    survival: tuple[Survival, ...]
    ranks: tuple[int, ...]
    spectra: tuple[Spectrum, ...]


def examine_difference(instruct: Checkpoint, thinking: Checkpoint) -> DifferenceReport:
    """Look at a sample of a pair whose tensors agree in name, shape and dtype.

    Args:
        instruct: As `check_lmc` took it.
        thinking: Likewise.

    Raises:
        InputRefused: A source changed since its header was read.
        HubError: A download failed.

    Peak memory: four float32 copies of the largest matrix that is looked at (1 GiB at most).
    """
    sides = _Side(fetched(instruct)), _Side(fetched(thinking))
    matrices = sorted(
        (info for _, info in sides[0].places.values() if info.dtype in FLOATS and is_matrix(info.shape)),
        key=lambda info: natural_key(info.name),
    )
    moved = {lam: torch.zeros(3, dtype=torch.float64) for lam in LAMBDAS}
    sampled = 0
    with sides[0].reader, sides[1].reader:
        for info in matrices:
            count = min(info.elements, _SAMPLE_ELEMENTS)
            left, right = (side.read(info.name, (info.elements - count) // 2, count) for side in sides)
            sampled += count
            moved = {lam: total + _moved(left, right, lam) for lam, total in moved.items()}
        spectra = tuple(_spectrum(info, sides) for info in _one_of_each_kind(matrices))
    survival = [
        Survival(lam, float(projection / should), float((error / should).sqrt()))
        for lam, (projection, should, error) in moved.items()
        if should > 0
    ]
    return DifferenceReport(sampled, tuple(survival), RANKS, spectra)


class _Side:
    """Elements of one checkpoint's tensors."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.places = checkpoint.tensors()
        sizes = {name: header.size_bytes for name, header in checkpoint.files.items()}
        self.reader = Reader(Path(checkpoint.root), sizes)

    def read(self, name: str, first: int, count: int) -> Tensor:
        file, info = self.places[name]
        item = info.size_bytes // max(info.elements, 1)
        buffer = memoryview(bytearray(count * item))
        self.reader.read(Read(file, info.start + first * item, 0, count * item), buffer)
        return torch.frombuffer(buffer, dtype=FLOAT_DTYPES[info.dtype], count=count)


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
        if len(info.shape) == 2 and info.elements <= _LARGEST_MATRIX:
            kinds.setdefault(layer_and_module(info.name)[1], []).append(info)
    return [kinds[kind][len(kinds[kind]) // 2] for kind in sorted(kinds)]


def _spectrum(info: TensorInfo, sides: "tuple[_Side, _Side]") -> Spectrum:
    left, right = (side.read(info.name, 0, info.elements).float() for side in sides)
    values = largest_singular_values((right - left).reshape(info.shape), max(RANKS))
    energy = float((right - left).double().square().sum())
    shares = tuple(
        min(float(values[:rank].double().square().sum()) / energy, 1.0) if energy else 0.0 for rank in RANKS
    )
    return Spectrum(info.name, layer_and_module(info.name)[1], info.shape, shares)


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
