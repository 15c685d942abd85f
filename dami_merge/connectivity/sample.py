"""A first look at a pair: which contiguous chunks of every tensor to read.

Every tensor is a stratum, and so is every expert of a tensor that holds several. A stratum is cut into chunks
of nearly equal size, of which some are drawn at random, without replacement. What they prove about the whole
is computed in `bounds`.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from dami_merge.checkpoint.header import TensorInfo
from dami_merge.connectivity.naming import experts_within, layer_and_module
from dami_merge.connectivity.stream import pieces_of
from dami_merge.errors import UsageError
from dami_merge.tensors.similarity import Sums
from dami_merge.tensors.sources import Piece

CHUNK_SIZES = tuple(1 << power for power in range(18, 11, -1))
"""Elements, largest first: larger chunks take fewer requests, smaller ones give more independent units."""

_WHOLE_ELEMENTS = 1 << 16
"""A tensor of up to this size takes one request, so it is read in full."""

_LAYER_CHUNKS, _TENSOR_CHUNKS = 64, 8
"""Chunks to read of a layer and of a tensor, which determine the chunk size. If half of a matrix changed,
eight chunks miss it once in 256 times; in a layer of very many tensors, such as experts, two chunks of each
are enough."""

_SHARES = "use 5% or 0.05, up to 100%"


@dataclass(frozen=True, slots=True)
class Sample:
    """How much to read, and which chunks.

    Attributes:
        share: Share of the elements of every tensor, in (0, 1]; small tensors are read in full.
        seed: Seed of the draw; equal seeds read equal chunks.
    """

    share: Fraction
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError if the share is not in (0, 1]."""
        if not 0 < self.share <= 1:
            raise UsageError(f"the share must be above 0 and at most 1, not {self.share}", hint=_SHARES)

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> "Sample":
        """Parse a share as typed: `5%` or `0.05`.

        Raises:
            UsageError: `text` is neither, or the share is not in (0, 1].
        """
        number = text.strip().removesuffix("%")
        try:
            share = Fraction(number)
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(f"{text!r} is not a share", hint=_SHARES) from error
        return cls(share if number == text.strip() else share / 100, seed)


@dataclass(frozen=True, slots=True)
class Stratum:
    """What to read of one tensor, or of one expert of a tensor that holds several.

    Attributes:
        tensor: Description of the tensor.
        chunks: Number of chunks in the stratum.
        pieces: The chunks to read, in order; all chunks if the stratum is read in full.
        expert: Index of the expert along the tensor's first dimension; None for a whole tensor.
    """

    tensor: TensorInfo
    chunks: int
    pieces: tuple[Piece, ...]
    expert: int | None = None

    @property
    def name(self) -> str:
        """The tensor's name; of an expert with its index, such as `mlp.experts.gate_up_proj[17]`."""
        return self.tensor.name if self.expert is None else f"{self.tensor.name}[{self.expert}]"

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.tensor.elements if self.expert is None else math.prod(self.tensor.shape[1:])

    @property
    def first(self) -> int:
        """Index of the first element within the tensor."""
        return 0 if self.expert is None else self.expert * self.elements


Observed = tuple[Stratum, Sequence[Sums]]
"""A stratum, and the sums of the pieces that were read."""


def strata_of(info: TensorInfo) -> tuple[Stratum, ...]:
    """Return a tensor as one stratum, or one for each of its experts; all of it is read."""
    experts: Sequence[int | None] = range(experts_within(info.name, info.shape)) or (None,)
    empty = (Stratum(info, 0, (), expert) for expert in experts)
    whole = ((each, pieces_of(info.name, each.first, each.elements)) for each in empty)
    return tuple(replace(each, chunks=len(pieces), pieces=pieces) for each, pieces in whole)


def draw(
    tensors: Sequence[TensorInfo], sample: Sample, *, chunk_sizes: Sequence[int] = CHUNK_SIZES
) -> list[Stratum]:
    """Choose what to read of float tensors; the choice in one does not depend on the order of the others.

    Args:
        tensors: Float tensors of one side.
        sample: How much to read.
        chunk_sizes: Allowed sizes of a chunk in elements, descending.
    """
    strata = [stratum for info in tensors for stratum in strata_of(info)]
    layers: dict[str, list[int]] = {}
    for each in strata:
        layers.setdefault(layer_and_module(each.tensor.name)[0], []).append(each.elements)
    return [
        _drawn(each, sample, layers[layer_and_module(each.tensor.name)[0]], chunk_sizes) for each in strata
    ]


def _drawn(stratum: Stratum, sample: Sample, layer: Sequence[int], chunk_sizes: Sequence[int]) -> Stratum:
    """Draw chunks of a stratum; `layer` holds the elements of all strata of its layer."""
    elements = stratum.elements
    least = max(2, min(_TENSOR_CHUNKS, 2 * _LAYER_CHUNKS // len(layer)))
    wanted = sample.share * min(Fraction(sum(layer), _LAYER_CHUNKS), Fraction(elements, least))
    size = next((size for size in chunk_sizes if size <= wanted), chunk_sizes[-1])
    chunks = -(-elements // size)
    count = max(least, math.ceil(sample.share * chunks))
    if count >= chunks or elements <= _WHOLE_ELEMENTS:
        return stratum
    chance = random.Random(f"{sample.seed} {stratum.name}")  # noqa: S311 - nothing secret
    edges = [
        (index * elements // chunks, (index + 1) * elements // chunks)
        for index in sorted(chance.sample(range(chunks), count))
    ]
    pieces = (Piece(stratum.tensor.name, stratum.first + first, end - first) for first, end in edges)
    return replace(stratum, chunks=chunks, pieces=tuple(pieces))


def expanded(sums: Sums, elements: int) -> Sums:
    """Scale sums to a total of `elements`; `largest` stays the largest that was seen."""
    if sums.elements == elements:
        return sums
    factor = elements / sums.elements
    return Sums(
        elements,
        sums.dot * factor,
        sums.instruct * factor,
        sums.thinking * factor,
        sums.difference * factor,
        round(sums.equal * factor),
        round(sums.opposed * factor),
        sums.largest,
    )
