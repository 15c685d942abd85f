"""The five questions of a check, their answers, and what to do next, in plain sentences. Source: ours."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from dami_merge.connectivity.dial_advice import dial_fact, dial_holds, dial_steps
from dami_merge.connectivity.rounding_advice import (
    barrier_by_rounding,
    rounding_steps,
    step_by_rounding,
    switch_by_rounding,
)
from dami_merge.connectivity.weights_advice import close_fact, same_model, weights_steps
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.dial import Dial
    from dami_merge.connectivity.path import PathReport

_SLIGHT = 0.01
"""Nats by which a loss may leave the range of both ends before the advice names the place. Source: ours."""

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
    first = _answer(_CLOSE, close_fact(report), holds=report.connected)
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


def next_steps(check: "Check") -> tuple[str, ...]:
    """Say what to do next, the most important first, in at least one sentence."""
    report, path = check.weights, check.path
    steps = [*weights_steps(report), *rounding_steps(check.rounding), *_path(check, path)]
    if report.refusals:
        steps.append("resolve what `grid` would refuse, or vouch for it, before you build a grid")
    if path is None and check.passes and not same_model(report):
        steps.append(
            "test the path before you trust it: run `check-lmc … --texts FILE` with your own questions"
        )
    return tuple(steps)


def _path(check: "Check", path: "PathReport | None") -> list[str]:
    if path is None:
        return []
    rounding = check.rounding
    steps = []
    if not path.same_basin:
        steps.append(
            barrier_by_rounding(path, rounding)
            or f"do not serve λ around {label(path.barrier_lam)}: the skills of both models are lost there"
        )
    if not path.smooth:
        sizes = [1 - min(step.cosine) for step in path.steps]
        jump = path.steps[sizes.index(max(sizes))]
        steps.append(
            step_by_rounding(jump.start, jump.stop, rounding)
            or f"expect a sudden switch between λ = {label(jump.start)} and λ = {label(jump.stop)}: sweep"
            " more λ there, or serve only λ on either side"
        )
    if not same_model(check.weights):
        cause = switch_by_rounding(path.dial, rounding)
        steps += [step for step in ([cause] if cause else dial_steps(path)) if step not in steps]
    if path.same_basin and not path.monotone and not _switches(path):
        steps.append(_turn(path))
    if check.passes and not same_model(check.weights):
        steps.append(
            "build a grid and `sweep` it: the loss does not show what accuracy each λ buys, and for how many"
            " tokens"
        )
    return steps


def _switches(path: "PathReport") -> bool:
    """Whether λ is a switch: a low loss between two models that take turns is no reason to choose a λ."""
    return path.dial is not None and path.dial.kind == "switch"


def _turn(path: "PathReport") -> str:
    """Say where a loss that is low on the whole path turns back, and what that means for choosing λ."""
    ends = [path.points[0].loss, path.points[-1].loss]
    lowest = min(path.points, key=lambda point: point.loss)
    highest = max(path.points, key=lambda point: point.loss)
    below, above = min(ends) - lowest.loss, highest.loss - max(ends)
    if max(below, above) < _SLIGHT:
        return (
            "do not choose λ by this loss: it turns back, but leaves the range of both models by at most"
            f" {max(below, above, 0):.3f} nats; let a `sweep` decide"
        )
    if below >= above:
        return (
            f"sweep λ around {label(lowest.lam)} first: there, these texts have the lowest loss,"
            f" {below:.3f} nats below both models"
        )
    return (
        f"sweep λ around {label(highest.lam)} before you serve it: there, these texts have the highest loss,"
        f" {above:.3f} nats above both models"
    )
