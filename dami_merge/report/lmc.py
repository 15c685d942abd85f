"""The page of `dami-merge check-lmc --html`: verdict, five answers, next steps, figures, differences."""

from typing import TYPE_CHECKING

from dami_merge.connectivity.advice import answers, next_steps
from dami_merge.connectivity.rounding_advice import meaning_of, rounding_fact
from dami_merge.connectivity.weights_advice import identical_fact
from dami_merge.lambdas import label
from dami_merge.report.lmc_figures import lmc_figures
from dami_merge.report.page import render

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check

_TONES = {"connected": "good", "doubtful": "warn", "undecided": "warn"}


def lmc_page(check: "Check") -> str:
    """Render the result of a check as one self-contained HTML page.

    Args:
        check: Result of `check_lmc`; without a path, the page says which questions were not asked.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    report = check.weights
    return render(
        "lmc.html",
        title=f"{report.instruct} and {report.thinking}",
        values={
            "report": report,
            "path": check.path,
            "difference": check.difference,
            "instruct": _pinned(report.instruct, report.instruct_revision),
            "thinking": _pinned(report.thinking, report.thinking_revision),
            "tone": _tone(check),
            "meaning": _sentence(meaning_of(check)),
            "asides": _asides(check),
            "answers": answers(check),
            "steps": next_steps(check),
            "layers": (*report.layers, report.overall),
            "label": label,
        },
        figures=lmc_figures(check),
    )


def _tone(check: "Check") -> str:
    """Return green only if the check passes."""
    if check.weights.connected and not check.passes:
        return "bad"
    return _TONES.get(check.weights.verdict, "bad")


def _pinned(name: str, revision: str) -> str:
    return f"{name}@{revision}" if revision else name


def _sentence(text: str) -> str:
    """Begin a sentence with a capital, and leave the rest as it is."""
    return text[:1].upper() + text[1:]


def _asides(check: "Check") -> list[str]:
    report, said = check.weights, []
    sample = report.sample
    if sample is not None and sample.read_bytes < sample.total_bytes:
        said.append(
            f"Only {sample.read_bytes / sample.total_bytes:.1%} of the weights was read (seed {sample.seed}),"
            f" so all numbers are estimates: at {sample.confidence:.0%} confidence, the worst cosine is"
            f" between {sample.low:.6f} and {sample.high:.6f}."
        )
    if report.identical_tensors:
        said.append(f"{identical_fact(report)}.")
    if check.rounding is not None and check.rounding.drowned:
        said.append(f"{_sentence(rounding_fact(check.rounding))}.")
    if report.skipped:
        noun = "tensor was" if len(report.skipped) == 1 else "tensors were"
        said.append(f"{len(report.skipped)} integer {noun} not compared.")
    return said
