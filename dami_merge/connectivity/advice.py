"""The five questions of a check, their answers, and what to do next, in plain sentences. Source: ours."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dami_merge.connectivity.dial_advice import dial_fact, dial_holds, dial_steps
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.dial import Dial
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import WeightsReport
    from dami_merge.tensors.similarity import Similarity

MEANING = {
    "connected": "interpolation should work",
    "doubtful": "interpolation may fail: try a few λ before you build a grid",
    "not connected": "interpolation will most likely give garbage: check that both models have the same base",
    "undecided": "the sample is too small to decide: use a larger --sample",
}
"""What each verdict on the weights means for a merge."""

_NOISY = 0.5
"""Rounding noise, as a share of the difference, above which the advice warns about it."""

_NAMED = 5
"""Maximum number of layers or modules named in one sentence; the others are counted."""

Said = Literal["yes", "no", "unclear", "not asked"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One of the five questions.

    Attributes:
        question: `close weights?`, `one basin?`, `smooth path?`, `one way?`, `dial, not a switch?`.
        holds: Whether the answer is yes; None if the question was not asked, or a sample leaves it open.
        said: `yes`, `no`, `unclear` or `not asked`.
        fact: What the answer rests on, or how to ask the question.
        meaning: What the question is about, for readers who have not read the manual.
    """

    question: str
    holds: bool | None
    said: Said
    fact: str
    meaning: str


_CLOSE = (
    "close weights?",
    "Do the two models' matrices point in the same direction in every layer? If not, averaging them makes no"
    " sense.",
)
_BASIN = (
    "one basin?",
    "Does the loss stay close to or below the straight line between the losses of the two models? Even two"
    " equally good models can be separated by a barrier.",
)
_SMOOTH = (
    "smooth path?",
    "Do the hidden states change evenly from λ to λ? If they switch suddenly, nothing lies in between.",
)
_DIAL = (
    "dial, not a switch?",
    "Does the way in which answers begin change gradually with λ? If most answers turn from Instruct's to"
    " Thinking's between two neighbouring λ, there is nothing to choose in between.",
)
_ONE_WAY = ("one way?", "Does the loss only rise, or only fall, from Instruct to Thinking?")


def answers(check: "Check") -> tuple[Answer, ...]:
    """Answer the five questions in order; those that were not asked say how to ask them."""
    report, path = check.weights, check.path
    first = _answer(_CLOSE, _close_fact(report), holds=report.connected)
    if report.verdict == "undecided":
        first = replace(first, holds=None, said="unclear")
    if path is None:
        asked = [
            _answer(each, "add --texts FILE to find out", holds=None)
            for each in (_BASIN, _SMOOTH, _ONE_WAY, _DIAL)
        ]
        return (first, *asked)
    where = f" at λ = {label(path.barrier_lam)}" if path.barrier_above_line > 0 else ""
    above = max(path.barrier_above_line, 0)
    basin = (
        f"the loss rises at most {above:.3f} nats above the line between the ends{where}"
        f" ({path.barrier:.3f} above their mean)"
    )
    smooth = f"the largest step of the hidden states is {path.abruptness:.1f} times the median step"
    one_way = f"the loss is {path.points[0].loss:.3f} at λ = 0 and {path.points[-1].loss:.3f} at λ = 1"
    return (
        first,
        _answer(_BASIN, basin, holds=path.same_basin),
        _answer(_SMOOTH, smooth, holds=path.smooth),
        _answer(_ONE_WAY, one_way, holds=path.monotone),
        _dial_answer(path.dial),
    )


def _dial_answer(dial: "Dial | None") -> Answer:
    answer = _answer(_DIAL, dial_fact(dial), holds=dial_holds(dial))
    return replace(answer, said="unclear") if dial is not None and answer.holds is None else answer


def _answer(question: tuple[str, str], fact: str, *, holds: bool | None) -> Answer:
    said: dict[bool | None, Said] = {True: "yes", False: "no", None: "not asked"}
    return Answer(question[0], holds, said[holds], fact, question[1])


def _close_fact(report: "WeightsReport") -> str:
    fact = f"worst cosine {report.worst_cosine:.6f}"
    if report.sample is None:
        return fact
    return f"{fact} in a sample; {report.sample.low:.6f} to {report.sample.high:.6f} at 95% confidence"


def next_steps(check: "Check") -> tuple[str, ...]:
    """Say what to do next, the most important first, in at least one sentence."""
    report, path = check.weights, check.path
    steps = [*_weights(report), *_path(report, path), *_rounding(check.difference)]
    if report.refusals:
        steps.append("resolve what `grid` would refuse, or vouch for it, before you build a grid")
    if path is None and report.connected and not _same(report):
        steps.append(
            "test the path before you trust it: run `check-lmc … --texts FILE` with your own questions"
        )
    return tuple(steps)


def _same(report: "WeightsReport") -> bool:
    return report.identical_tensors == len(report.tensors)


def _weights(report: "WeightsReport") -> list[str]:
    sample = report.sample
    if report.verdict == "undecided":
        return ["use a larger --sample, or read all weights: this sample fits more than one verdict"]
    if report.verdict != "connected":
        return [_far(report)]
    if sample is not None and sample.read_bytes < sample.total_bytes:
        return ["read all weights before you build a grid: a sample can miss a few broken rows"]
    if _same(report):
        return ["pass two different models: all tensors are identical, so every λ would give the same model"]
    return []


def _far(report: "WeightsReport") -> str:
    """Describe weights that are far apart: nearly close, a broken layer, changed modules, another base."""
    low = [layer.name for layer in report.layers if layer.matrices and _below(report, layer.matrices)]
    judged = sum(layer.matrices is not None for layer in report.layers)
    kinds = {cell.module for cell in report.cells}
    far = sorted({cell.module for cell in report.cells if _below(report, cell.similarity)})
    if report.verdict == "doubtful":
        return (
            f"try three λ before you build a grid: the cosine is below {report.threshold:.10g} in"
            f" {len(low)} of {judged} layers, and lowest in {report.worst_layer}"
        )
    if len(low) <= max(1, judged // 4) and len(low) < judged:
        return (
            f"inspect {_some(low)}: the other layers are close, so damage or re-initialisation is likelier"
            " than a different base"
        )
    if len(far) <= len(kinds) // 2:
        return (
            f"do not interpolate: the models are far apart only in {_some(far)}, so they have the same base,"
            " but these modules were retrained or have their neurons in another order (align them first)"
        )
    return (
        f"do not interpolate: the weights point in different directions in {len(low)} of {judged} layers, as"
        " in models with different bases"
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
            f"do not serve λ around {label(path.barrier_lam)}: the skills of both models are lost there"
        )
    if not path.smooth:
        sizes = [1 - min(step.cosine) for step in path.steps]
        jump = path.steps[sizes.index(max(sizes))]
        steps.append(
            f"expect a sudden switch between λ = {label(jump.start)} and λ = {label(jump.stop)}: sweep more λ"
            " there, or serve only λ on either side"
        )
    if not _same(report):
        steps += dial_steps(path)
    if path.passes and report.connected and not _same(report):
        steps.append(
            "build a grid and `sweep` it: the loss does not show what accuracy each λ buys, and for how many"
            " tokens"
        )
    return steps


def _rounding(difference: "DifferenceReport | None") -> list[str]:
    if difference is None:
        return []
    noisy = [each for each in difference.survival if each.noise > _NOISY]
    if not noisy:
        return []
    return [
        f"use larger λ, or float32 sources with `--dtype float32`: at λ = {label(noisy[0].lam)}, rounding"
        f" adds noise worth {noisy[0].noise:.0%} of the difference"
    ]
