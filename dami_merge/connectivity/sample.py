"""A first look at a pair: a few contiguous chunks of every tensor, and what they prove of all of it.

Every tensor is a stratum and is cut into chunks of nearly equal size, of which some are drawn at random and
without replacement; a chunk, not an element, is what varies independently. A layer's cosine is a function of
three sums, so its variance follows from that of one linear function of a chunk (the delta method), with the
finite-population correction, so that what was read whole adds none. The interval is Student's, with
Satterthwaite's degrees of freedom rounded down, and is drawn for log(1 - cosine): a few chunks that changed
more than the rest make 1 - cosine skewed upwards. All layers hold together at the confidence that is stated
(Šidák: their chunks are drawn independently). Source: ours, from the textbook's parts.

What no chunk hit is not seen: a change that is confined to a few rows can be missed, whatever the bound says.
Measured with eight chunks a matrix and chunks that differ log-normally: the worst layer's lower bound held in
99% of the looks where σ = 0.6, and in 94.5% where σ = 1.2.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from dami_merge.checkpoint.header import TensorInfo
from dami_merge.connectivity.naming import is_matrix, layer_and_module
from dami_merge.connectivity.stream import pieces_of
from dami_merge.errors import UsageError
from dami_merge.tensors.similarity import Sums
from dami_merge.tensors.sources import Piece

CONFIDENCE = 0.95

CHUNK_SIZES = tuple(1 << power for power in range(18, 11, -1))
"""Elements, the largest first: larger chunks are fewer requests, smaller ones are more chunks to vary."""

_WHOLE_ELEMENTS = 1 << 16
"""A tensor up to this is one request, so it is read whole."""

_LAYER_CHUNKS, _TENSOR_CHUNKS = 64, 8
"""So many of a layer and of a tensor decide on the size. Half of a matrix that changed is missed by eight
chunks once in 256 times; where a layer is very many tensors, such as experts, two of each are enough."""

_SHARES = "5% or 0.05, up to 100%"
_LARGEST_FREEDOM = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """How much to read, and which of it.

    Attributes:
        share: Of the elements of every tensor, above 0 and at most 1; small tensors are read whole.
        seed: Equal seeds read equal chunks.
    """

    share: Fraction
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError for a share that is none."""
        if not 0 < self.share <= 1:
            raise UsageError(f"{str(self.share)!r} is no share", hint=_SHARES)

    @classmethod
    def parse(cls, text: str, seed: int = 0) -> "Sample":
        """Read a share as it is typed: `5%`, or `0.05`.

        Raises:
            UsageError: It is neither, or not above 0 and at most 1.
        """
        number = text.strip().removesuffix("%")
        try:
            share = Fraction(number)
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(f"{text!r} is no share", hint=_SHARES) from error
        return cls(share if number == text.strip() else share / 100, seed)


@dataclass(frozen=True, slots=True)
class Stratum:
    """What is read of one tensor.

    Attributes:
        tensor: Its description.
        chunks: Chunks that it has.
        pieces: Those that are read, in their order; all of them where it is read whole.
    """

    tensor: TensorInfo
    chunks: int
    pieces: tuple[Piece, ...]


Observed = tuple[Stratum, Sequence[Sums]]
"""A tensor, and the sums of the pieces that were read of it."""


@dataclass(frozen=True, slots=True)
class LayerBound:
    """What is known of the cosine of one layer's matrices.

    Attributes:
        layer: Its name.
        cosine: The estimate.
        low: At least this at the report's confidence, together with all other bounds.
        high: At most this, likewise.
        chunks_read: Chunks of its matrices that were read.
        chunks: That there are.
    """

    layer: str
    cosine: float
    low: float
    high: float
    chunks_read: int
    chunks: int


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What a verdict from a sample rests on.

    Attributes:
        share: Asked for.
        seed: Likewise.
        confidence: That all bounds hold together.
        read_bytes: Of both sides.
        total_bytes: Of all their float tensors.
        low: Every layer's cosine is at least this.
        high: The worst layer's cosine is at most this.
        layers: In natural order.
    """

    share: float
    seed: int
    confidence: float
    read_bytes: int
    total_bytes: int
    low: float
    high: float
    layers: tuple[LayerBound, ...]


def draw(
    tensors: Sequence[TensorInfo], sample: Sample, *, chunk_sizes: Sequence[int] = CHUNK_SIZES
) -> list[Stratum]:
    """Choose what is read of float tensors; what is chosen in one does not depend on the others' order.

    Args:
        tensors: Of one side.
        sample: How much.
        chunk_sizes: In elements, descending.
    """
    layers: dict[str, list[TensorInfo]] = {}
    for info in tensors:
        layers.setdefault(layer_and_module(info.name)[0], []).append(info)
    return [_stratum(info, sample, layers[layer_and_module(info.name)[0]], chunk_sizes) for info in tensors]


def _stratum(
    info: TensorInfo, sample: Sample, layer: Sequence[TensorInfo], chunk_sizes: Sequence[int]
) -> Stratum:
    least = max(2, min(_TENSOR_CHUNKS, 2 * _LAYER_CHUNKS // len(layer)))
    layer_elements = sum(each.elements for each in layer)
    wanted = sample.share * min(Fraction(layer_elements, _LAYER_CHUNKS), Fraction(info.elements, least))
    size = next((size for size in chunk_sizes if size <= wanted), chunk_sizes[-1])
    chunks = -(-info.elements // size)
    count = max(least, math.ceil(sample.share * chunks))
    if count >= chunks or info.elements <= _WHOLE_ELEMENTS:
        whole = pieces_of(info)
        return Stratum(info, len(whole), whole)
    chance = random.Random(f"{sample.seed} {info.name}")  # noqa: S311 - nothing secret
    edges = [
        (index * info.elements // chunks, (index + 1) * info.elements // chunks)
        for index in sorted(chance.sample(range(chunks), count))
    ]
    return Stratum(info, chunks, tuple(Piece(info.name, first, end - first) for first, end in edges))


def expanded(sums: Sums, elements: int) -> Sums:
    """The sums that `elements` like these would have; `largest` stays that of those seen."""
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


def report_sample(
    sample: Sample, observed: Iterable[Observed], *, read_bytes: int, total_bytes: int
) -> SampleReport:
    """What a sample shows of a pair's tensors, in natural order, of which one at least is a matrix."""
    matrices: dict[str, list[Observed]] = {}
    for stratum, read in observed:
        if read and is_matrix(stratum.tensor.shape):
            matrices.setdefault(layer_and_module(stratum.tensor.name)[0], []).append((stratum, read))
    bounds = layer_bounds(matrices)
    return SampleReport(
        share=float(sample.share),
        seed=sample.seed,
        confidence=CONFIDENCE,
        read_bytes=read_bytes,
        total_bytes=total_bytes,
        low=min(bound.low for bound in bounds),
        high=min(bound.high for bound in bounds),
        layers=bounds,
    )


def layer_bounds(
    layers: Mapping[str, Sequence[Observed]], *, confidence: float = CONFIDENCE
) -> tuple[LayerBound, ...]:
    """Two-sided bounds on the cosines of layers, which hold together at one confidence.

    Args:
        layers: The matrices of each, none of them empty, with the sums of the pieces that were read.
        confidence: Between 0 and 1.
    """
    uncertain = sum(any(_partly(each) for each in observed) for observed in layers.values())
    tail = 1 - (1 - (1 - confidence) / 2) ** (1 / max(uncertain, 1))
    return tuple(_bound(layer, observed, tail) for layer, observed in layers.items())


def _partly(observed: Observed) -> bool:
    return observed[0].chunks > len(observed[1])


def _bound(layer: str, observed: Sequence[Observed], tail: float) -> LayerBound:
    total = Sums()
    for stratum, read in observed:
        total += expanded(sum(read, Sums()), stratum.tensor.elements)
    cosine = total.similarity().cosine
    error, freedom = _standard_error([each for each in observed if _partly(each)], total, cosine)
    low, high, gap = cosine, cosine, 1 - cosine
    if math.isinf(error):
        low, high = -1.0, 1.0
    elif error and gap > 0:
        reach = math.exp(min(student(tail, freedom) * error / gap, 700.0))
        low, high = max(-1.0, 1 - gap * reach), 1 - gap / reach
    chunks_read, chunks = sum(len(read) for _, read in observed), sum(s.chunks for s, _ in observed)
    return LayerBound(layer, cosine, low, high, chunks_read, chunks)


def _standard_error(observed: Sequence[Observed], total: Sums, cosine: float) -> tuple[float, int]:
    """That of a layer's cosine, infinite where a side was zero in all that was read; degrees of freedom."""
    if not observed:
        return 0.0, 1
    if not (total.instruct and total.thinking):
        return math.inf, 1
    norms = math.sqrt(total.instruct) * math.sqrt(total.thinking)
    variance = weight = 0.0
    for stratum, read in observed:
        count = len(read)
        linear = [
            each.dot / norms - cosine / 2 * (each.instruct / total.instruct + each.thinking / total.thinking)
            for each in read
        ]
        mean = math.fsum(linear) / count
        spread = math.fsum((value - mean) ** 2 for value in linear) / (count - 1)
        part = stratum.chunks * (stratum.chunks - count) * spread / count
        variance += part
        weight += part * part / (count - 1)
    freedom = int(variance * variance / weight) if weight else 1
    return math.sqrt(variance), max(1, min(freedom, _LARGEST_FREEDOM))


def student(tail: float, freedom: int) -> float:
    """What Student's t exceeds with probability `tail`, below 1/2 (Abramowitz & Stegun, 26.7.3-4)."""
    low, high = 0.0, math.pi / 2
    for _ in range(200):
        angle = (low + high) / 2
        if _above(angle, freedom) > tail:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(high)


def _above(angle: float, freedom: int) -> float:
    """P(t > √freedom · tan(angle))."""
    cosine = math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    series = term if freedom > 1 else 0.0
    for power in range(2 + odd, freedom - 1, 2):
        term *= (power - 1) / power * cosine * cosine
        series += term
    inside = math.sin(angle) * series
    if odd:
        inside = (angle + inside) * 2 / math.pi
    return (1 - inside) / 2
