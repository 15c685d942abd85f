"""Sums from which cosine, distance and norms of two tensors follow, gathered block by block.

Products and sums are float64: exact products for 16-bit weights, and a 233-million-element tensor does not
drift as it does in float32 (where its cosine comes out above 1).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 14
"""Below the 32,768 elements from which on torch splits a sum among threads (a dot product, which is the
BLAS's, makes no such promise); partial sums are added in their order. So no thread count changes a bit."""

_CHUNKS_AT_ONCE = 8
"""Rows of one operation: fewer calls for the same arithmetic, while the rows stay in the core's cache."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """How alike two tensors, or two groups of tensors, are.

    Attributes:
        elements: Number of elements.
        cosine: Cosine similarity; 1 where both are zero, 0 where only one is.
        relative_distance: ‖thinking - instruct‖ / ‖instruct‖; infinite where only instruct is zero.
        norm_ratio: ‖thinking‖ / ‖instruct‖, likewise.
    """

    elements: int
    cosine: float
    relative_distance: float
    norm_ratio: float


@dataclass(slots=True)
class Sums:
    """Running sums over pairs of elements; two `Sums` add up.

    Attributes:
        elements: Elements seen.
        dot: Σ a·b.
        instruct: Σ a².
        thinking: Σ b².
        difference: Σ (b-a)².
    """

    elements: int = 0
    dot: float = 0.0
    instruct: float = 0.0
    thinking: float = 0.0
    difference: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        """The sums of both sets of elements together."""
        return Sums(
            self.elements + other.elements,
            self.dot + other.dot,
            self.instruct + other.instruct,
            self.thinking + other.thinking,
            self.difference + other.difference,
        )

    def similarity(self) -> Similarity:
        """What the sums say; the cosine is taken from 1 - cos where that is more exact."""
        norm_instruct, norm_thinking = math.sqrt(self.instruct), math.sqrt(self.thinking)
        if norm_instruct == 0:
            both = norm_thinking == 0
            return Similarity(
                self.elements,
                1.0 if both else 0.0,
                0.0 if both else math.inf,
                1.0 if both else math.inf,
            )
        if norm_thinking == 0:
            return Similarity(self.elements, 0.0, 1.0, 0.0)
        gap = self.difference - (norm_instruct - norm_thinking) ** 2
        cosine = 1 - gap / (2 * norm_instruct * norm_thinking)
        return Similarity(
            self.elements,
            max(-1.0, min(1.0, cosine)),
            math.sqrt(self.difference) / norm_instruct,
            norm_thinking / norm_instruct,
        )


def compare(instruct: Tensor, thinking: Tensor) -> Sums:
    """Sums over two 1-D float tensors of shape [n], of any float dtypes, on one device."""
    whole = len(instruct) - len(instruct) % CHUNK_ELEMENTS
    sums = Sums()
    for start in range(0, whole, _CHUNKS_AT_ONCE * CHUNK_ELEMENTS):
        part = slice(start, min(start + _CHUNKS_AT_ONCE * CHUNK_ELEMENTS, whole))
        sums = _add_chunks(sums, instruct[part], thinking[part], CHUNK_ELEMENTS)
    if whole < len(instruct):
        sums = _add_chunks(sums, instruct[whole:], thinking[whole:], len(instruct) - whole)
    return sums


def _add_chunks(sums: Sums, instruct: Tensor, thinking: Tensor, size: int) -> Sums:
    """Add the partial sums of consecutive chunks, in their order."""
    left = instruct.to(torch.float64).view(-1, size)
    right = thinking.to(torch.float64).view(-1, size)
    gap = right - left
    product = torch.empty_like(left)
    partial = [torch.mul(x, y, out=product).sum(dim=1).tolist() for x, y in _pairs(left, right, gap)]
    for dot, norm_left, norm_right, norm_gap in zip(*partial, strict=True):
        sums += Sums(size, dot, norm_left, norm_right, norm_gap)
    return sums


def _pairs(left: Tensor, right: Tensor, gap: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    yield left, right
    yield left, left
    yield right, right
    yield gap, gap
