"""What a sample of a pair proves: bounds on the cosine of every layer and of every matrix.

The independent unit is a chunk, not an element. A layer's cosine is a function of three sums, so its variance
follows from the variance of one linear function of a chunk (the delta method), with the finite-population
correction, so that a stratum read in full adds none. The interval is Student's, with Satterthwaite's degrees
of freedom rounded down, and is computed for log(1 - cosine), because a few chunks that changed more than the
rest skew 1 - cosine upwards. All bounds hold together at the stated confidence: those of the layers miss in
4% of the samples and those of the matrices in 1% (among each other, Šidák: their chunks are drawn
independently). Source: ours, from textbook methods.

Of one matrix, as few as two chunks are read. So its variance, relative to 1 - cosine, is moderated by that of
all matrices of its kind together, which counts as much as five degrees of freedom (Smyth 2004), and is raised
by 1 + itself, because a few large chunks raise the mean with the spread.

A change outside the sampled chunks is not seen: one that is confined to a few rows can be missed, whatever
the bound says; half an expert, of which two chunks are read, is missed in one sample of four. Measured with
chunks that differ log-normally, eight of every matrix: the worst layer's lower bound held in 99% of the
samples with σ = 0.6, and in 94.5% with σ = 1.2; the bounds of 84 matrices held together in 88% and 64%. With
two chunks, or with chunks that drift by a factor of ten, those of the matrices held in at least 96%.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from dami_merge.connectivity.naming import is_matrix, layer_and_module
from dami_merge.connectivity.sample import Observed, Sample, expanded
from dami_merge.tensors.similarity import Sums

CONFIDENCE = 0.95

_OF_LAYERS, _OF_MATRICES = 0.96, 0.99
"""Together, at least `CONFIDENCE` (Bonferroni). The limits of matrices are far away: they can afford more."""

_LARGEST_FREEDOM, _PRIOR_FREEDOM = 200, 5


@dataclass(frozen=True, slots=True)
class LayerBound:
    """The bounds on the cosine of one layer's matrices.

    Attributes:
        layer: Name of the layer.
        cosine: Estimate of the cosine.
        low: Lower bound, which holds together with all other bounds at the report's confidence.
        high: Upper bound, which holds together with all other bounds at the report's confidence.
        chunks_read: Number of chunks read of the layer's matrices.
        chunks: Number of chunks in the layer's matrices.
    """

    layer: str
    cosine: float
    low: float
    high: float
    chunks_read: int
    chunks: int


@dataclass(frozen=True, slots=True)
class MatrixBound:
    """The bounds on the cosine of one matrix, or of one expert of a tensor that holds several.

    Attributes:
        matrix: Name of the matrix.
        cosine: Estimate of the cosine.
        low: Lower bound, as in `LayerBound`.
        high: Upper bound, as in `LayerBound`.
    """

    matrix: str
    cosine: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What a verdict from a sample rests on.

    Attributes:
        share: Requested share of every tensor.
        seed: Seed of the draw.
        confidence: Probability that all bounds hold together.
        read_bytes: Bytes to read of both sides.
        total_bytes: Bytes of all float tensors of both sides.
        low: Lower bound on every layer's cosine.
        high: Upper bound on the worst layer's cosine.
        matrix_low: Lower bound on every matrix's cosine.
        matrix_high: Upper bound on the worst matrix's cosine.
        layers: Bounds of every layer, in natural order.
    """

    share: float
    seed: int
    confidence: float
    read_bytes: int
    total_bytes: int
    low: float
    high: float
    matrix_low: float
    matrix_high: float
    layers: tuple[LayerBound, ...]


def report_sample(
    sample: Sample, observed: Iterable[Observed], *, read_bytes: int, total_bytes: int
) -> SampleReport:
    """Summarise a sample of a pair's tensors, given in natural order; at least one must be a matrix."""
    matrices = [
        (stratum, read)
        for stratum, read in observed
        if read and is_matrix(stratum.tensor.name, stratum.tensor.shape)
    ]
    layers: dict[str, list[Observed]] = {}
    for stratum, read in matrices:
        layers.setdefault(layer_and_module(stratum.tensor.name)[0], []).append((stratum, read))
    bounds = layer_bounds(layers, confidence=_OF_LAYERS)
    single = matrix_bounds(matrices, confidence=_OF_MATRICES)
    return SampleReport(
        share=float(sample.share),
        seed=sample.seed,
        confidence=CONFIDENCE,
        read_bytes=read_bytes,
        total_bytes=total_bytes,
        low=min(bound.low for bound in bounds),
        high=min(bound.high for bound in bounds),
        matrix_low=min(bound.low for bound in single),
        matrix_high=min(bound.high for bound in single),
        layers=bounds,
    )


def layer_bounds(
    layers: Mapping[str, Sequence[Observed]], *, confidence: float = CONFIDENCE
) -> tuple[LayerBound, ...]:
    """Compute two-sided bounds on the cosines of layers, which hold together at one confidence.

    Args:
        layers: The matrices of each layer, none of them empty, with the sums of the pieces that were read.
        confidence: Probability that all bounds hold together, between 0 and 1.
    """
    tail = _tail(confidence, sum(any(_partly(each) for each in observed) for observed in layers.values()))
    bounds = []
    for layer, observed in layers.items():
        total, cosine = _estimated(observed)
        low, high = _interval(cosine, tail, *_standard_error(observed, total, cosine))
        chunks_read, chunks = sum(len(read) for _, read in observed), sum(s.chunks for s, _ in observed)
        bounds.append(LayerBound(layer, cosine, low, high, chunks_read, chunks))
    return tuple(bounds)


def matrix_bounds(matrices: Sequence[Observed], *, confidence: float = CONFIDENCE) -> tuple[MatrixBound, ...]:
    """Compute two-sided bounds on the cosines of matrices, which hold together at one confidence.

    Args:
        matrices: Matrices and experts, none of them empty, with the sums of the pieces that were read.
        confidence: Probability that all bounds hold together, between 0 and 1.
    """
    tail = _tail(confidence, sum(map(_partly, matrices)))
    measured = [(each, *_estimated([each])) for each in matrices]
    errors = [_standard_error([each], total, cosine)[0] for each, total, cosine in measured]
    kinds: dict[str, list[tuple[float, int]]] = {}
    for (each, _, cosine), error in zip(measured, errors, strict=True):
        if _partly(each) and cosine < 1 and math.isfinite(error):
            freedom = len(each[1]) - 1
            kinds.setdefault(_kind(each), []).append((freedom * _for_a_chunk(error, each, cosine), freedom))
    bounds = []
    for (each, _, cosine), error in zip(measured, errors, strict=True):
        usual = kinds.get(_kind(each), [(0.0, 0)])
        low, high = _interval(cosine, tail, *_moderated(each, cosine, error, usual))
        bounds.append(MatrixBound(each[0].name, cosine, low, high))
    return tuple(bounds)


def _moderated(
    observed: Observed, cosine: float, error: float, kind: Sequence[tuple[float, int]]
) -> tuple[float, int]:
    """Return a standard error and its degrees of freedom, from a matrix and from all matrices of its kind.

    Args:
        observed: The matrix.
        cosine: Estimate of its cosine.
        error: Standard error from its own chunks.
        kind: Σ (relative deviation of a chunk)², and degrees of freedom, of every matrix of its kind.
    """
    if not _partly(observed):
        return 0.0, 1
    freedom, own = sum(each for _, each in kind), len(observed[1]) - 1
    spread = math.fsum(squares for squares, _ in kind) / max(freedom, 1)
    prior = max(min(_PRIOR_FREEDOM, freedom - own), 0)
    usual = spread * (1 + spread) / _for_a_chunk(1.0, observed, cosine)
    return math.sqrt((prior * usual + own * error**2) / (prior + own)), prior + own


def _kind(observed: Observed) -> str:
    return layer_and_module(observed[0].tensor.name)[1]


def _for_a_chunk(error: float, observed: Observed, cosine: float) -> float:
    """Return the variance of one chunk, relative to 1 - cosine, that gives a matrix its standard error."""
    stratum, read = observed
    count = len(read)
    left_out = 1 - count / stratum.chunks
    gap = max(1 - cosine, math.ulp(1.0))
    return (error / gap) ** 2 * count / left_out


def _tail(confidence: float, uncertain: int) -> float:
    """Return the probability that one of two bounds may miss, of this many pairs of bounds (Šidák)."""
    return 1 - math.pow(1 - (1 - confidence) / 2, 1 / max(uncertain, 1))


def _partly(observed: Observed) -> bool:
    return observed[0].chunks > len(observed[1])


def _estimated(observed: Sequence[Observed]) -> tuple[Sums, float]:
    """Return the sums over whole strata, extrapolated from what was read, and their cosine."""
    total = Sums()
    for stratum, read in observed:
        total += expanded(sum(read, Sums()), stratum.elements)
    return total, total.similarity().cosine


def _interval(cosine: float, tail: float, error: float, freedom: int) -> tuple[float, float]:
    """Return Student's interval for log(1 - cosine), as bounds on the cosine."""
    gap = 1 - cosine
    if math.isinf(error):
        return -1.0, 1.0
    if not error or gap <= 0:
        return cosine, cosine
    reach = math.exp(min(student(tail, freedom) * error / gap, 700.0))
    return max(-1.0, 1 - gap * reach), 1 - gap / reach


def _standard_error(observed: Sequence[Observed], total: Sums, cosine: float) -> tuple[float, int]:
    """Return a cosine's standard error, infinite if a side is zero wherever read, and degrees of freedom."""
    observed = [each for each in observed if _partly(each)]
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


@cache
def student(tail: float, freedom: int) -> float:
    """Return what Student's t exceeds with probability `tail` < 1/2 (Abramowitz & Stegun, 26.7.3-4)."""
    low, high = 0.0, math.pi / 2
    for _ in range(200):
        angle = (low + high) / 2
        if _above(angle, freedom) > tail:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan(high)


def _above(angle: float, freedom: int) -> float:
    """Return P(t > √freedom · tan(angle))."""
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
