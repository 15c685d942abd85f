"""The page of `dami-merge report`: conclusion, frontier, findings, curves, texts side by side, tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from dami_merge.evaluation.statistics.findings import findings
from dami_merge.evaluation.statistics.interval import FEWEST
from dami_merge.evaluation.statistics.pareto import frontier
from dami_merge.evaluation.statistics.verdict import HEADLINES, verdict
from dami_merge.lambdas import label
from dami_merge.report.examples import examples
from dami_merge.report.page import render
from dami_merge.report.sweep_figures import GROUP_PREFIX, sweep_figures

if TYPE_CHECKING:
    from dami_merge.evaluation.rollout import Rollout
    from dami_merge.evaluation.rollouts_file import Sidecar
    from dami_merge.evaluation.statistics.conclusion import ConclusionKind
    from dami_merge.evaluation.statistics.summary import SweepReport

SHOWN_CHARACTERS = 600
LONGEST_TEXT = 20_000
"""Maximum number of characters of one answer on the page."""

_TONES: "dict[ConclusionKind, str]" = {
    "dial": "good", "switch": "warn", "mixture": "warn", "constant": "warn", "only ends": "warn",
    "none correct": "bad", "too few questions": "warn",
}  # fmt: skip


def sweep_page(
    report: "SweepReport",
    rollouts: "Sequence[Rollout]",
    sidecar: "Sidecar",
    *,
    title: str,
    origin: Mapping[str, str] | None = None,
) -> str:
    """Render a sweep as one self-contained HTML page.

    Args:
        report: Result of `summarise`.
        rollouts: The summarised rollouts; a few of their texts are shown.
        sidecar: Sidecar of the same rollouts file.
        title: What was swept.
        origin: Further facts for the table of settings, such as the digests of a grid.

    Raises:
        DamiMergeError: The extra `report` is not installed.
    """
    figures = sweep_figures(report)
    comparison = report.overall.comparison
    mixed = len(report.settings) > 1
    conclusion = None if comparison is None or mixed else comparison.conclusion
    return render(
        "sweep.html",
        title=title,
        values={
            "report": report,
            "samples": len(rollouts),
            "headline": "" if conclusion is None else HEADLINES[conclusion.kind],
            "tone": "" if conclusion is None else _TONES[conclusion.kind],
            "verdict": () if comparison is None else verdict(comparison),
            "findings": findings(report.overall),
            "gains": {} if conclusion is None else {each.lam: each for each in conclusion.gains},
            "fewest": FEWEST,
            "examples": examples(rollouts, among=sidecar.questions),
            "questions": sidecar.questions,
            "groups": [each.name for each in figures if each.name.startswith(GROUP_PREFIX)],
            "budget": () if comparison is None else frontier(comparison.points),
            "most": max(row.passes[-1].k for row in report.overall.rows),
            "settings": _settings(sidecar, origin or {}),
            "label": label,
            "shown": SHOWN_CHARACTERS,
            "longest": LONGEST_TEXT,
        },
        figures=figures,
    )


def _settings(sidecar: "Sidecar", origin: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return every setting with its name; those of the backend have a prefix."""
    flat: dict[str, object] = msgspec.to_builtins(sidecar.settings)
    backend = flat.pop("backend")
    assert isinstance(backend, dict), "declared as a mapping"  # noqa: S101
    rows = {**flat, **{f"backend.{name}": value for name, value in backend.items()}, **origin}
    rows["settings digest"] = sidecar.settings.digest()
    return [(name, str(value)) for name, value in rows.items()]
