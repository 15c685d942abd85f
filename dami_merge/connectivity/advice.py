"""The four questions of a check and their answers, and what to do next, in plain sentences. Source: ours."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dami_merge.lambdas import label

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import WeightsReport
    from dami_merge.tensors.similarity import Similarity

MEANING = {
    "connected": "interpolation should work",
    "doubtful": "interpolation may fail: try a few λ before you build a grid",
    "not connected": "interpolation will most likely give garbage: is it one base?",
    "undecided": "the sample is too small to tell: take a larger --sample",
}
"""What each verdict over the weights says of the merge."""

_NOISY = 0.5
"""Noise of rounding, in differences, from which a checkpoint near an end is said to be mostly rounding."""

_NAMED = 5
"""Layers or modules in one sentence at most; the others are counted."""

Said = Literal["yes", "no", "unclear", "not asked"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the four questions.

    Attributes:
        question: `close weights?`, `one basin?`, `smooth path?`, `one way?`.
        holds: None where it was not asked, or a sample leaves it open.
        said: `yes`, `no`, `unclear` or `not asked`.
        fact: What the answer rests on, or how to ask.
        meaning: What the question is about, for somebody who has not read the manual.
    """

    question: str
    holds: bool | None
    said: Said
    fact: str
    meaning: str


_CLOSE = (
    "close weights?",
    "Do the matrices of every layer point the same way? Weights that do not cannot be averaged.",
)
_BASIN = (
    "one basin?",
    "Is every model between the two as good as the straight line between their losses? Two models can be"
    " equally good and still have a wall between them.",
)
_SMOOTH = (
    "smooth path?",
    "Do the hidden states change evenly from λ to λ? A sudden switch leaves λ nothing to choose in between.",
)
_ONE_WAY = ("one way?", "Does the loss only rise, or only fall, on the way from Instruct to Thinking?")


def answers(check: "Check") -> tuple[Answer, ...]:
    """The four questions in their order, each answered or said not to be."""
    report, path = check.weights, check.path
    first = _answer(_CLOSE, _close_fact(report), holds=report.connected)
    if report.verdict == "undecided":
        first = replace(first, holds=None, said="unclear")
    if path is None:
        asked = [_answer(each, "--texts FILE asks it", holds=None) for each in (_BASIN, _SMOOTH, _ONE_WAY)]
        return (first, *asked)
    where = f" at λ = {label(path.barrier_lam)}" if path.barrier_above_line > 0 else ""
    above = max(path.barrier_above_line, 0)
    basin = (
        f"the loss rises {above:.3f} nats above the line between the ends{where}"
        f" ({path.barrier:.3f} above their mean)"
    )
    smooth = f"the largest step of the hidden states is {path.abruptness:.1f} times the usual one"
    one_way = f"loss {path.points[0].loss:.3f} at λ = 0, {path.points[-1].loss:.3f} at λ = 1"
    return (
        first,
        _answer(_BASIN, basin, holds=path.same_basin),
        _answer(_SMOOTH, smooth, holds=path.smooth),
        _answer(_ONE_WAY, one_way, holds=path.monotone),
    )


def _answer(question: tuple[str, str], fact: str, *, holds: bool | None) -> Answer:
    said: dict[bool | None, Said] = {True: "yes", False: "no", None: "not asked"}
    return Answer(question[0], holds, said[holds], fact, question[1])


def _close_fact(report: "WeightsReport") -> str:
    fact = f"worst cosine {report.worst_cosine:.6f}"
    if report.sample is None:
        return fact
    return f"{fact} by a sample; {report.sample.low:.6f} to {report.sample.high:.6f} at 95%"


def next_steps(check: "Check") -> tuple[str, ...]:
    """At least one sentence; the most important first."""
    report, path = check.weights, check.path
    steps = [*_weights(report), *_path(report, path), *_rounding(check.difference)]
    if report.refusals:
        steps.append("read what `grid` would refuse: those differences must be settled or vouched for first")
    if path is None and report.connected and not _same(report):
        steps.append("walk the path before you trust it: `check-lmc … --texts FILE` with questions of yours")
    return tuple(steps)


def _same(report: "WeightsReport") -> bool:
    return report.identical_tensors == len(report.tensors)


def _weights(report: "WeightsReport") -> list[str]:
    sample = report.sample
    if report.verdict == "undecided":
        return ["take a larger sample, or read all of it: what was read fits more than one verdict"]
    if report.verdict != "connected":
        return [_far(report)]
    if sample is not None and sample.read_bytes < sample.total_bytes:
        return ["read all of it before you build: a sample can miss a few broken rows"]
    if _same(report):
        return ["every tensor is equal: these are one model, and every λ would be it; name two models"]
    return []


def _far(report: "WeightsReport") -> str:
    """What far weights look like: nearly close, a broken layer, another order, another base."""
    low = [layer.name for layer in report.layers if layer.matrices and _below(report, layer.matrices)]
    judged = sum(layer.matrices is not None for layer in report.layers)
    kinds = {cell.module for cell in report.cells}
    far = sorted({cell.module for cell in report.cells if _below(report, cell.similarity)})
    if report.verdict == "doubtful":
        return (
            f"try three λ before you build a grid: {len(low)} of {judged} layers are below"
            f" {report.threshold:.10g}, the lowest is {report.worst_layer}"
        )
    if len(low) <= max(1, judged // 4) and len(low) < judged:
        return (
            f"look at {_some(low)}: the other layers are close, so that a damaged or re-initialised"
            " layer is likelier than another base"
        )
    if len(far) <= len(kinds) // 2:
        return (
            f"do not interpolate: {_some(far)} differ, and nothing else; so it is one base, and those"
            " were trained anew, or hold their neurons in another order (align them first)"
        )
    return (
        f"do not interpolate: {len(low)} of {judged} layers point elsewhere, as in models of different bases"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _below(report: "WeightsReport", similarity: "Similarity") -> bool:
    return similarity.cosine < report.threshold


def _path(report: "WeightsReport", path: "PathReport | None") -> list[str]:
    if path is None:
        return []
    steps = []
    if not path.same_basin:
        steps.append(
            f"do not serve the middle: around λ = {label(path.barrier_lam)} both models' skills are lost"
        )
    if not path.smooth:
        sizes = [1 - min(step.cosine) for step in path.steps]
        jump = path.steps[sizes.index(max(sizes))]
        steps.append(
            f"expect a switch between λ = {label(jump.start)} and {label(jump.stop)}: sweep finer there, or"
            " serve the two sides of it only"
        )
    if path.same_basin and path.smooth and report.connected and not _same(report):
        steps.append(
            "build the grid and `sweep` it: what accuracy λ buys, and for how many tokens, a loss cannot tell"
        )
    return steps


def _rounding(difference: "DifferenceReport | None") -> list[str]:
    if difference is None:
        return []
    noisy = [each for each in difference.survival if each.noise > _NOISY]
    if not noisy:
        return []
    return [
        f"at λ = {label(noisy[0].lam)} rounding adds {noisy[0].noise:.0%} of the difference as noise: use"
        " larger λ, or take float32 sources and `--dtype float32`"
    ]
