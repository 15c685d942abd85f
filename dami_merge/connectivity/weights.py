"""Layerwise cosine similarity, relative distance and norm ratio of a pair, in one streaming pass.

Matrices and vectors are reported separately: the norm weights of unrelated models still have a cosine of
0.99, while their matrices have about 0. Cosine does not show everything: it misses an abrupt switch of mode
between two λ, for example.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from dami_merge.checkpoint.differences import pair_differences
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.pair import examine
from dami_merge.connectivity.bounds import SampleReport, report_sample
from dami_merge.connectivity.limits import CONNECTED, Verdict, verdict_of
from dami_merge.connectivity.naming import is_matrix, layer_and_module, natural_key
from dami_merge.connectivity.report import (
    CellReport,
    GroupReport,
    TensorReport,
    WeightsReport,
    matrices_of,
)
from dami_merge.connectivity.sample import Sample, Stratum, draw, expanded, strata_of
from dami_merge.connectivity.stream import piece_bytes, stream
from dami_merge.dtypes import FLOATS
from dami_merge.errors import InputRefused, Problem
from dami_merge.tensors.similarity import Sums

_STRUCTURAL = frozenset({"key-set", "shape", "dtype", "quantized"})


def compare_weights(
    instruct: Checkpoint,
    thinking: Checkpoint,
    *,
    threshold: float = CONNECTED,
    sample: Sample | None = None,
    on_bytes: Callable[[int, int], None] = lambda _, __: None,
) -> WeightsReport:
    """Compare two checkpoints tensor by tensor; each is read once, from the Hub without storing a file.

    Differences in config or tokenizer do not stop the comparison; they are reported as reasons for which
    `grid` would refuse the pair.

    Args:
        instruct: Model at λ = 0; weights on the Hub that are not in its cache are read from the Hub.
        thinking: Model at λ = 1, read in the same way.
        threshold: Cosine at or above which a layer counts as connected.
        sample: Read only this sample; None reads all.
        on_bytes: Called with the bytes of both sides compared so far and their total; also while waiting.

    Raises:
        InputRefused: Names, shapes or dtypes differ, or a side is quantised, not finite, or has no matrix.
        HubError: The Hub is unreachable or refuses a request.

    Peak memory: that of `stream`.
    """
    refusals, notes = _comparable(instruct, thinking)
    strata = _strata(instruct, sample)
    found = _compared(instruct, thinking, strata, on_bytes)
    parts = _finite_sums(strata, found)
    sums = _by_tensor(strata, parts)
    tensors, experts = _tensors(sums, instruct), _experts(strata, parts)
    layers = _groups(tensors, sums, lambda tensor: tensor.layer)
    worst_layer, worst = _worst(layers)
    matrix = min(matrices_of(tensors, experts), key=lambda each: each.similarity.cosine)
    sampled = None if sample is None else _sampled(instruct, thinking, sample, strata, found)
    return WeightsReport(
        instruct=instruct.source_id,
        thinking=thinking.source_id,
        instruct_revision=instruct.revision,
        thinking_revision=thinking.revision,
        verdict=_verdict(worst, matrix.similarity.cosine, sampled, threshold),
        worst_layer=worst_layer,
        worst_cosine=worst,
        worst_matrix=matrix.name,
        worst_matrix_cosine=matrix.similarity.cosine,
        threshold=threshold,
        overall=_groups(tensors, sums, lambda _: "all")[0],
        layers=layers,
        modules=tuple(sorted(_groups(tensors, sums, lambda t: t.module), key=lambda g: g.name)),
        cells=_cells(tensors, sums),
        tensors=tensors,
        experts=experts,
        identical_tensors=sum(total.difference == 0 for total in sums.values()),
        skipped=tuple(sorted(instruct.tensors().keys() - sums.keys())),
        differences=pair_differences(instruct, thinking),
        refusals=refusals,
        notes=notes,
        sample=sampled,
    )


def _verdict(layer: float, matrix: float, sampled: SampleReport | None, threshold: float) -> Verdict:
    if sampled is None:
        return verdict_of((layer, layer), (matrix, matrix), threshold)
    of_layer, of_matrix = (sampled.low, sampled.high), (sampled.matrix_low, sampled.matrix_high)
    return verdict_of(of_layer, of_matrix, threshold)


def _comparable(instruct: Checkpoint, thinking: Checkpoint) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """Return what `grid` would refuse, and notes; raise if the tensors cannot be compared at all."""
    comparable, _ = examine(instruct, thinking, mixed_dtypes=True)
    structural = [problem for problem in comparable if problem.code in _STRUCTURAL]
    if structural:
        raise InputRefused(structural)
    refusals, notes = examine(instruct, thinking)
    return tuple(refusals), tuple(notes)


def _sampled(
    instruct: Checkpoint,
    thinking: Checkpoint,
    sample: Sample,
    strata: Sequence[Stratum],
    found: Sequence[Sequence[Sums]],
) -> SampleReport:
    observed = zip(strata, found, strict=True)
    read, total = (_weight_bytes(instruct, thinking, each) for each in (sample, None))
    return report_sample(sample, observed, read_bytes=read, total_bytes=total)


def _weight_bytes(instruct: Checkpoint, thinking: Checkpoint, sample: Sample | None) -> int:
    pieces = (piece for stratum in _strata(instruct, sample) for piece in stratum.pieces)
    return piece_bytes(instruct, thinking, pieces)


def _strata(instruct: Checkpoint, sample: Sample | None) -> list[Stratum]:
    """Return what to read of every float tensor and of every expert, in natural order of the names."""
    places = instruct.tensors()
    names = sorted((n for n in places if places[n][1].dtype in FLOATS), key=natural_key)
    infos = [places[name][1] for name in names]
    if sample is not None:
        return draw(infos, sample)
    return [stratum for info in infos for stratum in strata_of(info)]


def _compared(
    instruct: Checkpoint,
    thinking: Checkpoint,
    strata: Sequence[Stratum],
    on_bytes: Callable[[int, int], None],
) -> list[list[Sums]]:
    """Return the sums of every piece, by stratum, in the order of the pieces."""
    found: list[list[Sums]] = [[] for _ in strata]
    owners = {piece: sums for stratum, sums in zip(strata, found, strict=True) for piece in stratum.pieces}
    total = piece_bytes(instruct, thinking, owners)
    done = 0

    def count(size_bytes: int) -> None:
        nonlocal done
        done += size_bytes
        on_bytes(done, total)

    stream(instruct, thinking, owners, take=lambda piece, sums: owners[piece].append(sums), on_bytes=count)
    return found


def _finite_sums(strata: Sequence[Stratum], found: Sequence[Sequence[Sums]]) -> list[Sums]:
    """Return the sums of every stratum, extrapolated from a sample to all of it; refuse NaN and Inf."""
    parts = [
        expanded(sum(read, Sums()), stratum.elements) for stratum, read in zip(strata, found, strict=True)
    ]
    problems = []
    for stratum, total in zip(strata, parts, strict=True):
        for side, norm in (("instruct", total.instruct), ("thinking", total.thinking)):
            if not math.isfinite(norm):
                fact = f"{stratum.name!r} holds NaN or Inf in {side}"
                problems.append(Problem("nonfinite", fact, "the checkpoint is damaged"))
    if problems:
        raise InputRefused(problems)
    return parts


def _by_tensor(strata: Iterable[Stratum], parts: Iterable[Sums]) -> dict[str, Sums]:
    """Add up the sums of the experts of every tensor."""
    sums: dict[str, Sums] = {}
    for stratum, part in zip(strata, parts, strict=True):
        sums[stratum.tensor.name] = sums.get(stratum.tensor.name, Sums()) + part
    return sums


def _tensors(sums: Mapping[str, Sums], instruct: Checkpoint) -> tuple[TensorReport, ...]:
    shapes = {name: info.shape for name, (_, info) in instruct.tensors().items()}
    return tuple(
        TensorReport(name, *layer_and_module(name), is_matrix(name, shapes[name]), total.similarity())
        for name, total in sums.items()
    )


def _experts(strata: Iterable[Stratum], parts: Iterable[Sums]) -> tuple[TensorReport, ...]:
    return tuple(
        TensorReport(
            stratum.name, *layer_and_module(stratum.tensor.name), matrix=True, similarity=part.similarity()
        )
        for stratum, part in zip(strata, parts, strict=True)
        if stratum.expert is not None
    )


def _groups(
    tensors: Iterable[TensorReport],
    sums: Mapping[str, Sums],
    key: Callable[[TensorReport], str],
) -> tuple[GroupReport, ...]:
    matrices: dict[str, Sums] = {}
    vectors: dict[str, Sums] = {}
    order: dict[str, None] = {}
    for tensor in tensors:
        if not sums[tensor.name].elements:
            continue
        group = key(tensor)
        order[group] = None
        into = matrices if tensor.matrix else vectors
        into[group] = into.get(group, Sums()) + sums[tensor.name]
    return tuple(
        GroupReport(
            name,
            matrices[name].similarity() if name in matrices else None,
            vectors[name].similarity() if name in vectors else None,
        )
        for name in order
    )


def _cells(tensors: Iterable[TensorReport], sums: Mapping[str, Sums]) -> tuple[CellReport, ...]:
    total: dict[tuple[str, str], Sums] = {}
    for tensor in tensors:
        if tensor.matrix:
            place = tensor.layer, tensor.module
            total[place] = total.get(place, Sums()) + sums[tensor.name]
    return tuple(CellReport(*place, each.similarity()) for place, each in total.items())


def _worst(layers: Iterable[GroupReport]) -> tuple[str, float]:
    judged = [(layer.matrices.cosine, layer.name) for layer in layers if layer.matrices]
    if not judged:
        raise InputRefused([Problem("no-matrix", "the checkpoints have no weight matrix to compare")])
    cosine, name = min(judged)
    return name, cosine
