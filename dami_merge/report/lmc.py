"""The page of `dami-merge check-lmc --html`: verdict, four answers, next steps, figures, differences."""

from typing import TYPE_CHECKING

from dami_merge.connectivity.advice import MEANING, answers, next_steps
from dami_merge.lambdas import label
from dami_merge.report.lmc_figures import lmc_figures
from dami_merge.report.page import render

if TYPE_CHECKING:
    from dami_merge.connectivity.difference import DifferenceReport
    from dami_merge.connectivity.path import PathReport
    from dami_merge.connectivity.report import LmcReport

_TONES = {"connected": "good", "doubtful": "warn", "undecided": "warn"}


def lmc_page(
    report: "LmcReport", path: "PathReport | None" = None, difference: "DifferenceReport | None" = None
) -> str:
    """Render the result of a check as one self-contained HTML page.

    Args:
        report: Result of `check_lmc`.
        path: Result of `walk_pair`; without it, the page says which questions were not asked.
        difference: Result of `examine_difference`.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    return render(
        "lmc.html",
        title=f"{report.instruct} and {report.thinking}",
        values={
            "report": report,
            "path": path,
            "difference": difference,
            "instruct": _pinned(report.instruct, report.instruct_revision),
            "thinking": _pinned(report.thinking, report.thinking_revision),
            "tone": _tone(report, path),
            "meaning": MEANING[report.verdict].capitalize(),
            "asides": _asides(report),
            "answers": answers(report, path),
            "steps": next_steps(report, path, difference),
            "layers": (*report.layers, report.overall),
            "label": label,
        },
        figures=lmc_figures(report, path, difference),
    )


def _tone(report: "LmcReport", path: "PathReport | None") -> str:
    """Return green only if the check exits with 0: a loss that turns back on a low path does not matter."""
    if path is not None and not (path.same_basin and path.smooth):
        return "bad"
    return _TONES.get(report.verdict, "bad")


def _pinned(name: str, revision: str) -> str:
    return f"{name}@{revision}" if revision else name


def _asides(report: "LmcReport") -> list[str]:
    said = []
    sample = report.sample
    if sample is not None and sample.read_bytes < sample.total_bytes:
        said.append(
            f"Only {sample.read_bytes / sample.total_bytes:.1%} of the weights was read (seed {sample.seed}),"
            f" so all numbers are estimates: at {sample.confidence:.0%} confidence, the worst cosine is"
            f" between {sample.low:.6f} and {sample.high:.6f}."
        )
    if report.identical_tensors:
        said.append(
            f"{report.identical_tensors} of {len(report.tensors)} tensors are identical in both models."
        )
    if report.skipped:
        noun = "tensor was" if len(report.skipped) == 1 else "tensors were"
        said.append(f"{len(report.skipped)} integer {noun} not compared.")
    return said
