"""Sums from which cosine, distance and norms of two tensors follow, accumulated block by block.

Products and sums are float64: products of 16-bit weights are exact, and a 233-million-element tensor does not
drift as in float32 (where its cosine comes out above 1).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 14
"""Below the 32,768 elements at which torch starts to split a sum among threads (dot products go to the BLAS,
which gives no such guarantee). Partial sums are added in order, so no thread count changes a bit."""

_CHUNKS_AT_ONCE = 8
"""Chunks per operation: fewer calls for the same arithmetic, while the chunks fit in the core's cache."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """Similarity of two tensors or two groups of tensors.

    Attributes:
        elements: Number of elements.
        cosine: Cosine similarity; 1 if both are zero, 0 if only one is.
        relative_distance: ‖thinking - instruct‖ / ‖instruct‖; 0 if both are zero, infinite if only instruct
            is.
        norm_ratio: ‖thinking‖ / ‖instruct‖; 1 if both are zero, infinite if only instruct is.
        identical: Share of equal elements; 1 if there are no elements.
        sign_agreement: Share of elements without opposite signs; zero agrees with either sign.
        largest_change: Largest |thinking - instruct| of an element, in units of instruct's root mean square;
            0 if both are zero, infinite if only instruct is.
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
    """Running sums over pairs of elements; two `Sums` can be added.

    Attributes:
        elements: Number of elements.
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
        """Return the sums over both sets of elements."""
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
        """Compute the similarity; the cosine comes from 1 - cos, which is more exact for close tensors."""
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
    """Compute the sums over two 1-D float tensors of shape [n], of any float dtypes, on one device."""
    whole = len(instruct) - len(instruct) % CHUNK_ELEMENTS
    sums = Sums()
    for start in range(0, whole, _CHUNKS_AT_ONCE * CHUNK_ELEMENTS):
        part = slice(start, min(start + _CHUNKS_AT_ONCE * CHUNK_ELEMENTS, whole))
        sums = _add_chunks(sums, instruct[part], thinking[part], CHUNK_ELEMENTS)
    if whole < len(instruct):
        sums = _add_chunks(sums, instruct[whole:], thinking[whole:], len(instruct) - whole)
    return sums


def _add_chunks(sums: Sums, instruct: Tensor, thinking: Tensor, size: int) -> Sums:
    """Add the partial sums of consecutive chunks, in order."""
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
