"""The files that a report writes. Values only."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ReportFiles:
    """Files to write; None is not written.

    Attributes:
        page: One self-contained HTML page.
        figures: Folder for every figure as SVG and PNG; created if missing.
        csv: One line for every sample.
    """

    page: Path | None = None
    figures: Path | None = None
    csv: Path | None = None
