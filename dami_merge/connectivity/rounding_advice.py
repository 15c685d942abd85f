"""What rounding does to a pair, as a cause and as a reason to act, in plain sentences. Source: ours."""

from fractions import Fraction
from typing import TYPE_CHECKING

from dami_merge.connectivity.weights_advice import meaning
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check
    from dami_merge.connectivity.dial import Dial
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.rounding import RoundingReport


def meaning_of(check: "Check") -> str:
    """Say what the verdict on the weights means for a merge, also if rounding or the path takes it back."""
    rounding = check.rounding
    if check.weights.connected and rounding is not None and rounding.eaten:
        return f"the weights are close, but rounding to {rounding.dtype} leaves little between them"
    if check.weights.connected and check.path is not None and not check.path.passes:
        return "the weights are close, but the models between them fail the questions answered with no"
    return meaning(check.weights)


def rounding_fact(rounding: "RoundingReport") -> str:
    """Say in one sentence at which λ rounding drowns the difference; empty if it does so at none."""
    drowned = rounding.drowned
    if not drowned:
        return ""
    worst = max(drowned, key=lambda each: each.noise)
    return (
        f"rounding to {rounding.dtype} drowns the difference at {_which(rounding)}: at λ ="
        f" {label(worst.lam)} it keeps {worst.kept:.0%} of it and adds noise worth {worst.noise:.0%};"
        f" {rounding.identical:.0%} of the elements are equal in both models"
    )


def _which(rounding: "RoundingReport") -> str:
    """Name the λ at which the difference is drowned."""
    drowned = rounding.drowned
    if len(drowned) == len(rounding.survival):
        return "every λ between the ends"
    if drowned == rounding.survival[: len(drowned)] and len(drowned) > 1:
        return f"every λ up to {label(drowned[-1].lam)}"
    return f"λ = {', '.join(label(each.lam) for each in drowned)}"


def rounding_steps(rounding: "RoundingReport | None") -> list[str]:
    """Say what to do about a difference that rounding drowns; nothing if it drowns none."""
    if rounding is None or not rounding.drowned:
        return []
    why = rounding_fact(rounding)
    above = rounding.survival[rounding.survival.index(rounding.drowned[-1]) + 1 :]
    if above and not rounding.eaten:
        return [f"use λ of {label(above[0].lam)} or more, or take float32 sources: {why}"]
    return [
        "take float32 sources; if there are none, build with `grid --dtype float32` and serve in float32:"
        f" {why}"
    ]


def grid_note(rounding: "RoundingReport") -> str:
    """Say before a grid is written that rounding drowns the difference at its λ; empty if it drowns none."""
    if not rounding.drowned:
        return ""
    way_out = "take float32 sources, or write float32 with --dtype float32 and serve it so"
    return f"{rounding_fact(rounding)}; {way_out}"


def barrier_by_rounding(path: "PathReport", rounding: "RoundingReport | None") -> str:
    """Explain a barrier at a λ where rounding drowns the difference; empty if rounding is no cause."""
    here = None if rounding is None else rounding.at(path.barrier_lam)
    if rounding is None or here is None or not here.drowned:
        return ""
    return (
        f"do not take the loss at λ = {label(here.lam)} for a barrier: there, rounding to {rounding.dtype}"
        f" keeps {here.kept:.0%} of the difference and adds noise worth {here.noise:.0%} of it, so that the"
        " model is not the one on the line"
    )


def step_by_rounding(start: Fraction, stop: Fraction, rounding: "RoundingReport | None") -> str:
    """Explain a large step between two λ, one of which rounding drowns; empty if rounding is no cause."""
    if rounding is None:
        return ""
    before = [each for each in rounding.survival if each.lam <= start][-1:]
    within = [each for each in rounding.survival if start < each.lam <= stop]
    if not any(each.drowned for each in (*before, *within)):
        return ""
    return (
        f"do not take the step between λ = {label(start)} and λ = {label(stop)} for a switch of the models:"
        f" there, rounding to {rounding.dtype} begins to let the difference through"
    )


def switch_by_rounding(dial: "Dial | None", rounding: "RoundingReport | None") -> str:
    """Explain a switch in how answers begin where rounding drowns the difference; empty if it does not."""
    if dial is None or dial.kind != "switch":
        return ""
    return step_by_rounding(dial.decisive.start, dial.decisive.stop, rounding)
