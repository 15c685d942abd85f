"""Why weights are far apart: other bases, another tower, retrained modules, a distant layer, a broken tensor.

Decided from cosines alone. Each stack of layers is judged for itself, so that the tower of a model that sees
does not hide behind the one that reads. Source of all rules: ours.
"""

import statistics
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from dami_merge.connectivity.limits import matrix_limits
from dami_merge.connectivity.naming import stack_of

if TYPE_CHECKING:
    from dami_merge.connectivity.report import GroupReport, TensorReport, WeightsReport

_FEW = 4
"""Far layers are exceptions if they are at most one layer, or one in this many, of their stack."""


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers of one stack.

    Attributes:
        name: What the layers' names begin with; empty for a model without numbered layers.
        layers: Number of layers with matrices.
        far: Names of those whose cosine is below the threshold, in natural order.
    """

    name: str
    layers: int
    far: tuple[str, ...]

    @property
    def widely_far(self) -> bool:
        """Whether too many layers are far for them to be exceptions."""
        return len(self.far) > max(1, self.layers // _FEW) or len(self.far) == self.layers


@dataclass(frozen=True, slots=True)
class Broken:
    """A matrix that is far apart where others of its kind are close.

    Attributes:
        tensor: The matrix.
        usual: Median cosine of the others of its kind; of all other matrices if it is the only one.
    """

    tensor: "TensorReport"
    usual: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What is far apart.

    Attributes:
        stacks: All stacks, in natural order.
        towers: Stacks that are far apart in most layers and most kinds of modules.
        retrained: Kinds of modules that are far apart in most layers, while others are close; sorted.
        distant: Layers that are far apart in most of their modules, in a stack whose others are close.
        broken: Single matrices that are far apart, the lowest cosine first.
    """

    stacks: tuple[Stack, ...]
    towers: tuple[Stack, ...]
    retrained: tuple[str, ...]
    distant: tuple[str, ...]
    broken: tuple[Broken, ...]

    @property
    def everywhere(self) -> bool:
        """Whether every stack is far apart, as if the models had different bases."""
        return len(self.towers) == len(self.stacks) > 0


def diagnose(report: "WeightsReport") -> Diagnosis:
    """Find what is far apart in a comparison; nothing if the pair is connected."""
    stacks = _stacks(report)
    members = _members(report, stacks)
    kinds = _far_kinds(report, stacks)
    wide = [stack for stack in stacks if stack.widely_far]
    towers = tuple(stack for stack in wide if stack.name not in {place for place, _ in kinds})
    explained = {layer for stack in towers for layer in members[stack.name]}
    distant = tuple(
        layer
        for stack in stacks
        if not stack.widely_far
        for layer in stack.far
        if layer not in explained and _mostly_far(report, layer)
    )
    broken, common = _broken(report, members, explained | set(distant), kinds)
    retrained = {kind for _, kind in kinds | common}
    return Diagnosis(stacks, towers, tuple(sorted(retrained)), distant, broken)


def _stacks(report: "WeightsReport") -> tuple[Stack, ...]:
    found: dict[str, list[GroupReport]] = {}
    for layer in report.layers:
        stack = stack_of(layer.name)
        if layer.matrices is not None and stack is not None:
            found.setdefault(stack, []).append(layer)
    if not found:  # no numbered layers: all tensors are one stack
        found[""] = [layer for layer in report.layers if layer.matrices is not None]
    return tuple(
        Stack(name, len(layers), tuple(each.name for each in layers if _far(report, each)))
        for name, layers in found.items()
    )


def _far(report: "WeightsReport", layer: "GroupReport") -> bool:
    return layer.matrices is not None and layer.matrices.cosine < report.threshold


def _members(report: "WeightsReport", stacks: Iterable[Stack]) -> dict[str, set[str]]:
    """Return the layers by stack, with tensors outside the layers where their names belong to one stack."""
    members: dict[str, set[str]] = {"": set(), **{stack.name: set() for stack in stacks}}
    for layer in report.layers:
        stack = stack_of(layer.name)
        members[_nearest(layer.name, members) if stack is None else stack].add(layer.name)
    return members


def _nearest(name: str, stacks: Iterable[str]) -> str:
    """Return the only stack that shares most of a name's beginning; empty if there is none or a tie."""
    shared = {stack: _shared(name.split("."), stack.split(".")) for stack in stacks if stack}
    most = max(shared.values(), default=0)
    nearest = [stack for stack, count in shared.items() if count == most > 0]
    return nearest[0] if len(nearest) == 1 else ""


def _shared(left: list[str], right: list[str]) -> int:
    return sum(1 for _ in takewhile(lambda parts: parts[0] == parts[1], zip(left, right, strict=False)))


def _far_kinds(report: "WeightsReport", stacks: Iterable[Stack]) -> set[tuple[str, str]]:
    """Return the stacks and kinds of modules that explain far layers, if at most half of the kinds do."""
    kinds = set()
    for stack in stacks:
        if not stack.widely_far:
            continue
        inside = [cell for cell in report.cells if (stack_of(cell.layer) or "") == stack.name]
        low = [cell for cell in inside if cell.similarity.cosine < report.threshold]
        far = {cell.module for cell in low if cell.layer in stack.far}
        usual = {
            kind
            for kind in far
            if 2 * sum(cell.module == kind for cell in low) > sum(cell.module == kind for cell in inside)
        }
        if usual and len(far) <= len({cell.module for cell in inside}) // 2:
            kinds |= {(stack.name, kind) for kind in far}
    return kinds


def _mostly_far(report: "WeightsReport", layer: str) -> bool:
    """Return whether more than half of a layer's modules are far apart."""
    cosines = [cell.similarity.cosine for cell in report.cells if cell.layer == layer]
    return 2 * sum(cosine < report.threshold for cosine in cosines) > len(cosines)


def _broken(
    report: "WeightsReport",
    members: dict[str, set[str]],
    explained: Collection[str],
    kinds: Collection[tuple[str, str]],
) -> tuple[tuple[Broken, ...], set[tuple[str, str]]]:
    """Return single matrices that are far apart, and the kinds of which most are."""
    every = [each.similarity.cosine for each in report.matrices]
    stack_by_layer = {layer: stack for stack, layers in members.items() for layer in layers}
    families: dict[tuple[str, str], list[TensorReport]] = {}
    for each in report.matrices:
        families.setdefault((stack_by_layer[each.layer], each.module), []).append(each)
    suspects = _suspects(report, explained)
    broken, common = [], set()
    for place, family in families.items():
        far = [each for each in family if each.name in suspects and place not in kinds]
        if 2 * len(far) > len(family) > 1:
            common.add(place)
            continue
        others = [each.similarity.cosine for each in family if each.name not in suspects]
        usual = statistics.median(others or every)
        broken += [Broken(each, usual) for each in far]
    return tuple(sorted(broken, key=lambda each: each.tensor.similarity.cosine)), common


def _suspects(report: "WeightsReport", explained: Collection[str]) -> set[str]:
    """Return the names of the matrices that are below their own limit, or pull a layer below its limit."""
    _, limit = matrix_limits(report.threshold)
    far = {layer.name for layer in report.layers if _far(report, layer)} - set(explained)
    by_layer: dict[str, list[TensorReport]] = {}
    for each in report.matrices:
        if each.layer not in explained:
            by_layer.setdefault(each.layer, []).append(each)
    found = set()
    for layer, matrices in by_layer.items():
        low = [
            each
            for each in matrices
            if each.similarity.cosine < (report.threshold if layer in far else limit)
        ]
        if layer in far and not low:  # directions agree, so that lengths do not
            low = [max(matrices, key=lambda each: each.similarity.relative_distance)]
        found |= {each.name for each in low}
    return found
