"""The result of comparing two models' weights, and the verdict that follows from a cosine.

The limits for a layer are the paper's: a pair above 0.99 in every layer is connected; below 0.95,
interpolation may fail. A layer's cosine hides one broken matrix among many, so every matrix has limits too.
They are ours, and lower, because small matrices may move further than their layer, while a matrix that is
random, negated or permuted has a cosine of about 0 or below. Halfway between two matrices of equal norm and
cosine c, the norm is √((1+c)/2) of theirs: 97% at the upper limit and 87% at the lower one, but 71% if they
are unrelated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from dami_merge.checkpoint.differences import PairDifferences
from dami_merge.connectivity.bounds import SampleReport
from dami_merge.errors import Problem
from dami_merge.tensors.similarity import Similarity

CONNECTED = 0.99
DOUBTFUL = 0.95

CONNECTED_MATRIX = 0.9
DOUBTFUL_MATRIX = 0.5
"""Limits for a single matrix. Source: ours; those of the bundled pair are at 0.9986 or above."""

Verdict = Literal["connected", "doubtful", "not connected", "undecided"]


@dataclass(frozen=True, slots=True)
class TensorReport:
    """The comparison of one float tensor, or of one expert of a tensor that holds several.

    Attributes:
        name: Name of the tensor in the checkpoint; of an expert with its index, such as
            `model.layers.3.mlp.experts.gate_up_proj[17]`.
        layer: Layer, such as `model.layers.3`; outside the layers, the tensor's own stem.
        module: Kind of module, such as `self_attn.q_proj`; the number of an expert is replaced by `*`.
        matrix: Whether the tensor is a matrix; norms, biases and depthwise kernels are vectors.
        similarity: Similarity of Instruct and Thinking.
    """

    name: str
    layer: str
    module: str
    matrix: bool
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class GroupReport:
    """All tensors of one layer or one kind of module; matrices and vectors each form one long vector.

    Attributes:
        name: Layer or kind of module.
        matrices: Similarity of the matrices; None if the group has none.
        vectors: Similarity of the norms and biases; None if the group has none.
    """

    name: str
    matrices: Similarity | None
    vectors: Similarity | None


@dataclass(frozen=True, slots=True)
class CellReport:
    """The matrices of one kind of module in one layer: a cell of the heat map.

    Attributes:
        layer: Layer, as in `TensorReport`.
        module: Kind of module, as in `TensorReport`.
        similarity: Similarity of the matrices, as one long vector.
    """

    layer: str
    module: str
    similarity: Similarity


@dataclass(frozen=True, slots=True)
class WeightsReport:
    """The comparison of a pair's weights.

    Attributes:
        instruct: Hub id or folder name of Instruct.
        thinking: Hub id or folder name of Thinking.
        verdict: Verdict on the worst layer and the worst matrix; `undecided` is possible only with a sample.
        worst_layer: Name of the layer whose matrices have the lowest cosine.
        worst_cosine: Cosine of the matrices in that layer.
        worst_matrix: Name of the matrix, or of the expert within a tensor, with the lowest cosine.
        worst_matrix_cosine: Cosine of that matrix.
        threshold: Cosine at or above which a layer counts as connected.
        overall: Similarity of all tensors.
        layers: Similarity of every layer, in natural order.
        modules: Similarity of every kind of module, sorted by name.
        cells: Similarity of every kind of module in every layer, in natural order.
        tensors: Similarity of every float tensor, in natural order.
        experts: Similarity of every expert of the tensors that hold several, in natural order.
        identical_tensors: Number of float tensors that are equal in both models.
        skipped: Names of the integer tensors, which are not compared.
        differences: Differences in config, sampling defaults, tokenizer and chat template.
        refusals: Reasons for which `grid` would refuse the pair as it is.
        notes: Harmless differences.
        instruct_revision: Commit of Instruct on the Hub; empty for a local folder.
        thinking_revision: Commit of Thinking on the Hub; empty for a local folder.
        sample: What the verdict rests on if only a sample was read. All numbers are then estimates, and
            statements about tensors (identical, finite) hold only for the elements that were read.
    """

    instruct: str
    thinking: str
    verdict: Verdict
    worst_layer: str
    worst_cosine: float
    worst_matrix: str
    worst_matrix_cosine: float
    threshold: float
    overall: GroupReport
    layers: tuple[GroupReport, ...]
    modules: tuple[GroupReport, ...]
    cells: tuple[CellReport, ...]
    tensors: tuple[TensorReport, ...]
    experts: tuple[TensorReport, ...]
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
        """Whether the verdict is `connected`."""
        return self.verdict == "connected"

    @property
    def matrices(self) -> tuple[TensorReport, ...]:
        """Every matrix that is judged alone: the experts of a tensor that holds several, not that tensor."""
        return matrices_of(self.tensors, self.experts)

    @property
    def hidden(self) -> bool:
        """Whether the worst matrix makes the verdict worse than the worst layer alone."""
        matrix, layer = self.worst_matrix_cosine, self.worst_cosine
        return _rank(matrix, matrix_limits(self.threshold)) > _rank(layer, layer_limits(self.threshold))


Between = tuple[float, float]
"""The lowest and the highest value that something may have."""


def matrices_of(tensors: Iterable[TensorReport], experts: Sequence[TensorReport]) -> tuple[TensorReport, ...]:
    """Return the matrices that have elements; experts stand in place of the tensors that hold them."""
    held = {expert.name.rpartition("[")[0] for expert in experts}
    single = (tensor for tensor in tensors if tensor.matrix and tensor.name not in held)
    return tuple(each for each in (*single, *experts) if each.similarity.elements)


def verdict_of(layer: Between, matrix: Between, threshold: float) -> Verdict:
    """Return the verdict on the cosine of the worst layer and on that of the worst matrix."""
    ranks = {
        max(_rank(layer[end], layer_limits(threshold)), _rank(matrix[end], matrix_limits(threshold)))
        for end in (0, 1)
    }
    return _VERDICTS[ranks.pop()] if len(ranks) == 1 else "undecided"


_VERDICTS: tuple[Verdict, ...] = ("connected", "doubtful", "not connected")


def layer_limits(threshold: float) -> Between:
    """Return the cosines from which a layer is doubtful and connected; source: paper."""
    return min(DOUBTFUL, threshold), threshold


def matrix_limits(threshold: float) -> Between:
    """Return the cosines from which a matrix is doubtful and connected; source: ours."""
    return min(DOUBTFUL_MATRIX, threshold), min(CONNECTED_MATRIX, threshold)


def _rank(cosine: float, limits: Between) -> int:
    """Return the place of a cosine in `_VERDICTS`."""
    doubtful, connected = limits
    return 0 if cosine >= connected else 1 if cosine >= doubtful else 2
