"""The first question, close weights: what its answer rests on, what it means, what to do. Source: ours."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dami_merge.connectivity.diagnosis import diagnose
from dami_merge.connectivity.limits import matrix_limits

if TYPE_CHECKING:
    from dami_merge.connectivity.diagnosis import Broken, Diagnosis, Stack
    from dami_merge.connectivity.report import WeightsReport

MEANING = {
    "connected": "interpolation should work",
    "doubtful": "interpolation may fail: try a few λ before you build a grid",
    "not connected": "interpolation will most likely give garbage: check that both models have the same base",
    "undecided": "the sample is too small to decide: use a larger --sample",
}
"""What each verdict on the weights means for a merge, if the layers decide it."""

_MEANING_OF_A_MATRIX = {
    "doubtful": "a matrix is much farther apart than its layer: try a few λ before you build a grid",
    "not connected": "a matrix is broken in an otherwise close layer: find out why before you interpolate",
}

_NAMED = 5
"""Maximum number of names in one sentence; the others are counted."""


def meaning(report: "WeightsReport") -> str:
    """Say what the verdict means for a merge."""
    if report.hidden and report.verdict in _MEANING_OF_A_MATRIX:
        return _MEANING_OF_A_MATRIX[report.verdict]
    return MEANING[report.verdict]


def close_fact(report: "WeightsReport") -> str:
    """Say in one sentence what the verdict rests on."""
    fact = f"worst cosine {report.worst_cosine:.6f}"
    sample = report.sample
    if sample is not None:
        bounds = f"{sample.low:.6f} to {sample.high:.6f} at {sample.confidence:.0%} confidence"
        fact = f"{fact} in a sample; {bounds}"
    if report.hidden:
        fact += f"; but {report.worst_matrix} has {report.worst_matrix_cosine:.6f}"
        if sample is not None:
            fact += f" ({sample.matrix_low:.6f} to {sample.matrix_high:.6f})"
    return fact


def same_model(report: "WeightsReport") -> bool:
    """Whether all tensors are identical."""
    return report.identical_tensors == len(report.tensors)


def identical_fact(report: "WeightsReport") -> str:
    """Count the tensors that are identical in both models, in one sentence without a full stop."""
    count, total = report.identical_tensors, len(report.tensors)
    verb = "is" if count == 1 else "are"
    return f"{counted(count, total, 'tensor')} {verb} identical in both models"


def counted(count: int, total: int, noun: str) -> str:
    """Count some of a total, such as `3 of 36 layers`; a total of one is `the only layer`.

    Example:
        >>> counted(3, 36, "layer"), counted(1, 1, "layer")
        ('3 of 36 layers', 'the only layer')
    """
    return (
        f"the only {noun}" if count == total == 1 else f"{count} of {total} {noun}{'' if total == 1 else 's'}"
    )


def weights_steps(report: "WeightsReport") -> list[str]:
    """Say what follows from the weights alone; nothing if they are close and were read in full."""
    sample = report.sample
    if report.verdict == "undecided":
        return ["use a larger --sample, or read all weights: this sample fits more than one verdict"]
    if report.verdict != "connected":
        return _far_steps(report, diagnose(report))
    if sample is not None and sample.read_bytes < sample.total_bytes:
        return ["read all weights before you build a grid: a sample can miss a few broken rows"]
    if same_model(report):
        return ["pass two different models: all tensors are identical, so every λ would give the same model"]
    return []


def _far_steps(report: "WeightsReport", found: "Diagnosis") -> list[str]:
    """Describe weights that are far apart, the widest cause first; other bases explain everything else."""
    if report.verdict == "doubtful":
        return [_doubtful(report, found)]
    if found.everywhere:
        where = _where(found.stacks, among=found.stacks)
        return [
            f"do not interpolate: the weights point in different directions in {where}, as in models with"
            " different bases"
        ]
    steps = [_tower(tower, found) for tower in found.towers]
    if found.retrained:
        steps.append(
            f"do not interpolate: the models are far apart only in {_some(found.retrained)}, so they have the"
            " same base, but these modules were retrained or have their neurons in another order (align them"
            " first)"
        )
    if found.distant:
        steps.append(
            f"inspect {_some(found.distant)}: the other layers are close, so damage or re-initialisation is"
            " likelier than a different base; compare the files with the originals, and run each model alone"
        )
    if found.broken:
        steps.append(_inspect(found.broken))
    return steps


def _doubtful(report: "WeightsReport", found: "Diagnosis") -> str:
    if report.hidden and found.broken:
        worst = found.broken[0]
        return (
            f"try three λ before you build a grid: {_single(worst)}; a single matrix should have"
            f" {matrix_limits(report.threshold)[1]:.10g}"
        )
    if report.hidden and found.retrained:
        return (
            f"try three λ before you build a grid: in most layers, {_some(found.retrained)} is below"
            f" {matrix_limits(report.threshold)[1]:.10g}, while the layers are close"
        )
    far = [stack for stack in found.stacks if stack.far]
    where = f"in {_where(far, among=found.stacks)}, and lowest in" if far else "in"
    return (
        f"try three λ before you build a grid: the cosine is below {report.threshold:.10g} {where}"
        f" {report.worst_layer}"
    )


def _where(stacks: "Sequence[Stack]", *, among: "Sequence[Stack]") -> str:
    """Count the far layers, by stack if the model has several."""
    counts = [counted(len(stack.far), stack.layers, "layer") for stack in stacks]
    if len(among) == 1:
        return counts[0]
    return " and ".join(f"{count} of {stack.name}" for count, stack in zip(counts, stacks, strict=True))


def _tower(tower: "Stack", found: "Diagnosis") -> str:
    close = [stack.name for stack in found.stacks if not stack.widely_far]
    others = (
        f"while {_some(close)} {'is' if len(close) == 1 else 'are'} close" if close else "unlike the others"
    )
    return (
        f"do not interpolate {tower.name}: its weights point in different directions in"
        f" {counted(len(tower.far), tower.layers, 'layer')}, {others}, so only this tower has another base:"
        " take two models that share it"
    )


def _inspect(broken: "Sequence[Broken]") -> str:
    """Name the matrices that are broken, and say how to find out which of the models is damaged."""
    first = _single(broken[0])
    more = f"; so are {_some([each.tensor.name for each in broken[1:]])}" if len(broken) > 1 else ""
    return (
        f"inspect {first}{more}: the layers around are close, so damage or re-initialisation is likelier than"
        " a different base; compare the files with the originals, and run each model alone"
    )


def _single(broken: "Broken") -> str:
    """Describe one matrix and how far it is from others of its kind."""
    similarity = broken.tensor.similarity
    fact = f"cosine {similarity.cosine:.4f}"
    if similarity.norm_ratio == 0:
        fact = "zero in Thinking"
    elif similarity.norm_ratio == float("inf"):
        fact = "zero in Instruct"
    elif not 0.5 < similarity.norm_ratio < 2:
        fact += f", norm ratio {similarity.norm_ratio:.3g}"
    return f"{broken.tensor.name} ({fact}, where others of its kind have {broken.usual:.4f})"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
