"""What a comparison of two models' weights found, and the verdict that follows from a cosine.

The thresholds are the paper's: above 0.99 in every layer the pair is connected, below 0.95 interpolation may
fail.
"""

from dataclasses import dataclass
from typing import Literal

from dami_merge.checkpoint.differences import PairDifferences
from dami_merge.connectivity.sample import SampleReport
from dami_merge.errors import Problem
from dami_merge.tensors.similarity import Similarity

CONNECTED = 0.99
DOUBTFUL = 0.95

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
class WeightsReport:
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


def verdict_of(low: float, high: float, threshold: float) -> Verdict:
    """For a worst cosine from `low` to `high`."""
    verdicts = {_class(low, threshold), _class(high, threshold)}
    return verdicts.pop() if len(verdicts) == 1 else "undecided"


def _class(cosine: float, threshold: float) -> Verdict:
    if cosine >= threshold:
        return "connected"
    return "doubtful" if cosine >= min(DOUBTFUL, threshold) else "not connected"
