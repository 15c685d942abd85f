"""Sums from which cosine, distance and norms of two tensors follow, gathered block by block.

Products and sums are float64: exact products for 16-bit weights, and a 233-million-element tensor does not
drift as it does in float32 (where its cosine comes out above 1).
"""

import math
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
        identical: Share of elements that are equal; 1 where there are none.
        sign_agreement: Share of elements whose signs are not opposite; zero opposes nothing.
        largest_change: Largest |thinking - instruct| of an element, in root mean squares of instruct;
            infinite where only instruct is zero.
    """

    elements: int
    cosine: float
    relative_distance: float
    norm_ratio: float
    identical: float
    sign_agreement: float
    largest_change: float


@dataclass(slots=True)
class Sums:
    """Running sums over pairs of elements; two `Sums` add up.

    Attributes:
        elements: Elements seen.
        dot: Σ a·b.
        instruct: Σ a².
        thinking: Σ b².
        difference: Σ (b-a)².
        equal: Number of elements with a = b.
        opposed: Number of elements with a·b < 0.
        largest: max |b-a|.
    """

    elements: int = 0
    dot: float = 0.0
    instruct: float = 0.0
    thinking: float = 0.0
    difference: float = 0.0
    equal: int = 0
    opposed: int = 0
    largest: float = 0.0

    def __add__(self, other: "Sums") -> "Sums":
        """The sums of both sets of elements together."""
        return Sums(
            self.elements + other.elements,
            self.dot + other.dot,
            self.instruct + other.instruct,
            self.thinking + other.thinking,
            self.difference + other.difference,
            self.equal + other.equal,
            self.opposed + other.opposed,
            max(self.largest, other.largest),
        )

    def similarity(self) -> Similarity:
        """What the sums say; the cosine is taken from 1 - cos where that is more exact."""
        norm_instruct, norm_thinking = math.sqrt(self.instruct), math.sqrt(self.thinking)
        if norm_instruct == 0 and norm_thinking == 0:
            cosine, distance, ratio, largest = 1.0, 0.0, 1.0, 0.0
        elif norm_instruct == 0:
            cosine, distance, ratio, largest = 0.0, math.inf, math.inf, math.inf
        else:
            cosine = 0.0
            if norm_thinking > 0:
                gap = self.difference - (norm_instruct - norm_thinking) ** 2
                cosine = max(-1.0, min(1.0, 1 - gap / (2 * norm_instruct * norm_thinking)))
            distance = math.sqrt(self.difference) / norm_instruct
            ratio = norm_thinking / norm_instruct
            largest = self.largest * math.sqrt(self.elements) / norm_instruct
        count = max(self.elements, 1)
        return Similarity(
            self.elements,
            cosine,
            distance,
            ratio,
            identical=self.equal / count if self.elements else 1.0,
            sign_agreement=1 - self.opposed / count,
            largest_change=largest,
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
    product = left * right
    dots, opposed = product.sum(dim=1), product.lt(0).sum(dim=1)
    squares = [torch.mul(side, side, out=product).sum(dim=1) for side in (left, right, gap)]
    columns = [dots, *squares, gap.eq(0).sum(dim=1), opposed, gap.abs_().amax(dim=1)]
    for each in zip(*(column.tolist() for column in columns), strict=True):
        sums += Sums(size, *each)
    return sums
