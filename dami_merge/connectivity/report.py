"""Layerwise cosine similarity, relative distance and norm ratio of a pair, in one streaming pass.

Matrices and vectors are reported apart: norm weights of unrelated models still have a cosine of 0.99, their
matrices about 0. The thresholds are the paper's: above 0.99 in every layer the pair is connected, below 0.95
interpolation may fail. What cosine cannot see, such as an abrupt switch of mode between two λ, it does not
answer.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from dami_merge.checkpoint.differences import PairDifferences, pair_differences
from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.pair import examine
from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity.naming import is_matrix, layer_and_module, natural_key
from dami_merge.connectivity.sample import (
    Sample,
    SampleReport,
    Stratum,
    draw,
    expanded,
    report_sample,
)
from dami_merge.connectivity.stream import piece_bytes, pieces_of, stream
from dami_merge.dtypes import FLOATS
from dami_merge.errors import InputRefused, Problem
from dami_merge.tensors.similarity import Similarity, Sums

CONNECTED = 0.99
DOUBTFUL = 0.95

_STRUCTURAL = frozenset({"key-set", "shape", "dtype", "quantized"})

Verdict = Literal["connected", "doubtful", "not connected", "undecided"]


@dataclass(frozen=True, slots=True)
class TensorReport:
    """One float tensor.

    Attributes:
        name: As in the checkpoint.
        layer: `model.layers.3`, or the tensor's own stem outside the layers.
        module: `self_attn.q_proj`; experts are `*`.
        matrix: Two or more dimensions above 1.
        similarity: Instruct against Thinking.
    """

    name: str
    layer: str
    module: str
    matrix: bool
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class GroupReport:
    """All tensors of one layer, or of one kind of module, as if each kind were one long vector.

    Attributes:
        name: Layer or module kind.
        matrices: None if it has none.
        vectors: Norms and biases; None if it has none.
    """

    name: str
    matrices: Similarity | None
    vectors: Similarity | None


@dataclass(frozen=True, slots=True)
class CellReport:
    """The matrices of one kind of module in one layer: a cell of the heat map.

    Attributes:
        layer: As in `TensorReport`.
        module: Likewise.
        similarity: Of all of them as one long vector.
    """

    layer: str
    module: str
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class LmcReport:
    """What a check of mode connectivity found.

    Attributes:
        instruct: Hub id or folder name.
        thinking: Likewise.
        verdict: By the worst layer's matrices; `undecided` only from a sample.
        worst_layer: Its name.
        worst_cosine: Its cosine.
        threshold: At least this cosine is connected.
        overall: All tensors.
        layers: In natural order.
        modules: By name.
        cells: Layers by kinds of modules, in natural order.
        tensors: In natural order.
        identical_tensors: How many float tensors are equal in both.
        skipped: Integer tensors, which were not compared.
        differences: Of config, sampling defaults, tokenizer and chat template.
        refusals: Why `grid` would refuse this pair as it is.
        notes: Harmless differences.
        instruct_revision: Its commit on the Hub; empty for a local folder.
        thinking_revision: Likewise.
        sample: What the verdict rests on where only a sample was read; then all numbers are estimates, and
            what is said of tensors (identical, finite) is said of what was read.
    """

    instruct: str
    thinking: str
    verdict: Verdict
    worst_layer: str
    worst_cosine: float
    threshold: float
    overall: GroupReport
    layers: tuple[GroupReport, ...]
    modules: tuple[GroupReport, ...]
    cells: tuple[CellReport, ...]
    tensors: tuple[TensorReport, ...]
    identical_tensors: int
    skipped: tuple[str, ...]
    differences: PairDifferences
    refusals: tuple[Problem, ...]
    notes: tuple[str, ...]
    instruct_revision: str = ""
    thinking_revision: str = ""
    sample: SampleReport | None = None

    @property
    def connected(self) -> bool:
        """The verdict is `connected`."""
        return self.verdict == "connected"


def check_lmc(
    instruct: Checkpoint | str,
    thinking: Checkpoint | str,
    *,
    threshold: float = CONNECTED,
    sample: Sample | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> LmcReport:
    """Compare two checkpoints tensor by tensor; reads each once, from the Hub without a file on this disk.

    A difference of config or tokenizer does not stop the comparison; it is reported as what `grid` would
    refuse.

    Args:
        instruct: System 1: folder, Hub id, `bundled:tiny/instruct`, or what `open_source` made of it; what
            is on the Hub and not in its cache is read from there.
        thinking: System 2, likewise.
        threshold: Cosine from which a layer counts as connected.
        sample: Read so much only; None reads all.
        on_bytes: Told the bytes of both sides that each step has compared; 0 while it waits for more.

    Raises:
        InputRefused: Names, shapes or dtypes differ, a side is quantised, holds NaN or Inf, or no matrix.
        HubError: The Hub could not be read to the end.

    Peak memory: that of `stream`.
    """
    instruct, thinking = open_both(instruct, thinking)
    comparable, _ = examine(instruct, thinking, mixed_dtypes=True)
    structural = [problem for problem in comparable if problem.code in _STRUCTURAL]
    if structural:
        raise InputRefused(structural)
    refusals, notes = examine(instruct, thinking)
    strata = _strata(instruct, sample)
    found = _compared(instruct, thinking, strata, on_bytes)
    sums = {
        name: expanded(sum(found[name], Sums()), stratum.tensor.elements) for name, stratum in strata.items()
    }
    _refuse_nonfinite(sums)
    shapes = {name: info.shape for name, (_, info) in instruct.tensors().items()}
    tensors = tuple(
        TensorReport(name, *layer_and_module(name), is_matrix(shapes[name]), total.similarity())
        for name, total in sums.items()
    )
    layers = _groups(tensors, sums, lambda tensor: tensor.layer)
    worst_layer, worst = _worst(layers)
    sampled = None
    if sample is not None:
        observed = [(stratum, found[name]) for name, stratum in strata.items()]
        read, total = weight_bytes(instruct, thinking, sample), weight_bytes(instruct, thinking)
        sampled = report_sample(sample, observed, read_bytes=read, total_bytes=total)
    return LmcReport(
        instruct=instruct.source_id,
        thinking=thinking.source_id,
        verdict=_verdict(*((sampled.low, sampled.high) if sampled else (worst, worst)), threshold),
        worst_layer=worst_layer,
        worst_cosine=worst,
        threshold=threshold,
        overall=_groups(tensors, sums, lambda _: "all")[0],
        layers=layers,
        modules=tuple(sorted(_groups(tensors, sums, lambda t: t.module), key=lambda g: g.name)),
        cells=_cells(tensors, sums),
        tensors=tensors,
        identical_tensors=sum(total.difference == 0 for total in sums.values()),
        skipped=tuple(sorted(shapes.keys() - sums.keys())),
        differences=pair_differences(instruct, thinking),
        refusals=tuple(refusals),
        notes=tuple(notes),
        instruct_revision=instruct.revision,
        thinking_revision=thinking.revision,
        sample=sampled,
    )


def weight_bytes(instruct: Checkpoint, thinking: Checkpoint, sample: Sample | None = None) -> int:
    """Bytes that `check_lmc` will report to its callback when it is done."""
    pieces = (piece for stratum in _strata(instruct, sample).values() for piece in stratum.pieces)
    return piece_bytes(instruct, thinking, pieces)


def _strata(instruct: Checkpoint, sample: Sample | None) -> dict[str, Stratum]:
    """What is read of every float tensor, in natural order of the names."""
    places = instruct.tensors()
    names = sorted((n for n in places if places[n][1].dtype in FLOATS), key=natural_key)
    infos = [places[name][1] for name in names]
    if sample is not None:
        return dict(zip(names, draw(infos, sample), strict=True))
    return {info.name: Stratum(info, len(pieces_of(info)), pieces_of(info)) for info in infos}


def _compared(
    instruct: Checkpoint,
    thinking: Checkpoint,
    strata: Mapping[str, Stratum],
    on_bytes: Callable[[int], None],
) -> dict[str, list[Sums]]:
    """The sums of every piece, by tensor, in the pieces' order."""
    found: dict[str, list[Sums]] = {name: [] for name in strata}
    stream(
        instruct,
        thinking,
        (piece for stratum in strata.values() for piece in stratum.pieces),
        take=lambda piece, sums: found[piece.name].append(sums),
        on_bytes=on_bytes,
    )
    return found


def _refuse_nonfinite(sums: Mapping[str, Sums]) -> None:
    problems = []
    for name, total in sums.items():
        for side, norm in (("instruct", total.instruct), ("thinking", total.thinking)):
            if not math.isfinite(norm):
                problems.append(Problem("nonfinite", f"{name!r} holds NaN or Inf in {side}", "it is damaged"))
    if problems:
        raise InputRefused(problems)


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
        raise InputRefused([Problem("no-matrix", "the checkpoints hold no weight matrix to compare")])
    cosine, name = min(judged)
    return name, cosine


def _verdict(low: float, high: float, threshold: float) -> Verdict:
    """For a worst cosine from `low` to `high`."""
    verdicts = {_class(low, threshold), _class(high, threshold)}
    return verdicts.pop() if len(verdicts) == 1 else "undecided"


def _class(cosine: float, threshold: float) -> Verdict:
    if cosine >= threshold:
        return "connected"
    return "doubtful" if cosine >= min(DOUBTFUL, threshold) else "not connected"
