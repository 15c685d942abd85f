"""The page of `dami-merge check-lmc --html`: verdict, four answers, what to do next, figures, differences."""

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
    """What a check found as one self-contained HTML page.

    Args:
        report: Of `check_lmc`.
        path: Of `walk_pair`; without it the page says which questions were not asked.
        difference: Of `examine_difference`.

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
    """Green only where the check exits with 0: losses that turn back on a low path are no reason against."""
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
            f"Only {sample.read_bytes / sample.total_bytes:.1%} was read (seed {sample.seed}), so all numbers"
            f" are estimates: at {sample.confidence:.0%} confidence the worst cosine is from {sample.low:.6f}"
            f" to {sample.high:.6f}."
        )
    if report.identical_tensors:
        said.append(f"{report.identical_tensors} of {len(report.tensors)} tensors are equal in both.")
    if report.skipped:
        said.append(f"{len(report.skipped)} integer tensors were not compared.")
    return said
