"""The result of comparing two models' weights, tensor by tensor and in groups."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dami_merge.checkpoint.differences import PairDifferences
from dami_merge.connectivity.bounds import SampleReport
from dami_merge.connectivity.limits import Verdict, decided_by_matrix
from dami_merge.errors import Problem
from dami_merge.tensors.similarity import Similarity


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
    def worst_in_cells(self) -> dict[tuple[str, str], TensorReport]:
        """The lowest matrix of every kind in every layer, by layer and kind, in natural order."""
        worst: dict[tuple[str, str], TensorReport] = {}
        for each in sorted(self.matrices, key=lambda each: each.similarity.cosine, reverse=True):
            worst[each.layer, each.module] = each
        cells = ((cell.layer, cell.module) for cell in self.cells)
        return {cell: worst[cell] for cell in cells if cell in worst}

    @property
    def hidden(self) -> bool:
        """Whether the worst matrix makes the verdict worse than the worst layer alone."""
        return decided_by_matrix(self.worst_cosine, self.worst_matrix_cosine, self.threshold)


def matrices_of(tensors: Iterable[TensorReport], experts: Sequence[TensorReport]) -> tuple[TensorReport, ...]:
    """Return the matrices that have elements; experts stand in place of the tensors that hold them."""
    held = {expert.name.rpartition("[")[0] for expert in experts}
    single = (tensor for tensor in tensors if tensor.matrix and tensor.name not in held)
    return tuple(each for each in (*single, *experts) if each.similarity.elements)
