"""From a rollouts file to a summary, and to the files that show it: a page, figures, CSV."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from dami_merge.errors import InputRefused, Problem, UsageError
from dami_merge.evaluation.rollouts import Rollouts
from dami_merge.evaluation.rollouts_file import Sidecar, read_rollouts, read_sidecar, sidecar_path
from dami_merge.evaluation.statistics.serving_grid import LOSS
from dami_merge.evaluation.statistics.summary import SweepReport, summarise
from dami_merge.files import write_durable
from dami_merge.grid.manifest import read_grid, weights_digest
from dami_merge.use_cases.report_files import ReportFiles

GRID_BACKENDS = ("hf", "openai")
"""The backends that describe the weights of a grid as grid.json does."""


_NO_FILES = ReportFiles()


def report_sweep(
    rollouts: str | Path,
    *,
    grid: str | Path | None = None,
    files: ReportFiles = _NO_FILES,
    lambdas: Sequence[Fraction] | None = None,
    loss: float = LOSS,
    seed: int = 0,
    on_file: Callable[[str, Path], None] = lambda _, __: None,
) -> SweepReport:
    """Summarise a sweep, finished or not, and write what was asked for.

    Args:
        rollouts: The rollouts file.
        grid: Folder of the grid that was swept; its digests are added to the page.
        files: Files to write.
        lambdas: Only these λ; None is all in the file.
        loss: Accuracy that the λ worth serving may cost.
        seed: Seed of the bootstrap.
        on_file: Called with what was written (`page`, `figures`, `csv`) and its path.

    Raises:
        InputRefused: The rollouts cannot be read, or some were made with settings that are not beside them.
        LambdaError: The rollouts lack one of `lambdas`.
        UsageError: An output is the rollouts file itself or not a folder, or another grid was swept.
        GridUnreadable: There is no readable grid.json in `grid`.
        DamiMergeError: A page or figures need the extra `report`, which is not installed.
    """
    path = Path(rollouts)
    _refuse(path, files)
    rows, sidecar = read_rollouts(path), read_sidecar(path)
    _refuse_unknown_settings(path, rows, sidecar)
    title, origin = (path.stem, {}) if grid is None else _origin(Path(grid), sidecar.settings.backend)
    found = summarise(rows, seed=seed, lambdas=lambdas, loss=loss)
    kept = Rollouts(row for row in rows if row.lam in found.lambdas)
    if files.page is not None:
        from dami_merge.report.sweep import sweep_page

        page = sweep_page(found, kept, sidecar, title=title, origin=origin)
        write_durable(files.page, page.encode())
        on_file("page", files.page)
    if files.figures is not None:
        _write_figures(files.figures, found)
        on_file("figures", files.figures)
    if files.csv is not None:
        write_durable(files.csv, kept.to_csv().encode())
        on_file("csv", files.csv)
    return found


def _refuse_unknown_settings(path: Path, rows: Rollouts, sidecar: Sidecar) -> None:
    """Refuse answers of which nobody knows how they were made: they cannot be compared with the others."""
    known = sidecar.settings.digest()
    lines: dict[str, list[int]] = {}
    for number, row in enumerate(rows, 1):
        if row.settings != known:
            lines.setdefault(row.settings, []).append(number)
    problems = [
        Problem(
            "settings",
            f"{path}: {len(own):,} of {len(rows):,} answers, the first on line {own[0]}, have the settings"
            f" {digest!r}; {sidecar_path(path).name} holds {known!r}",
            "report them from a file of their own beside its settings, or remove these lines",
        )
        for digest, own in lines.items()
    ]
    if problems:
        raise InputRefused(problems)


def _refuse(rollouts: Path, files: ReportFiles) -> None:
    """Refuse, before any work, outputs that would overwrite the rollouts or could not be made."""
    kept = {rollouts.resolve(), sidecar_path(rollouts).resolve()}
    for output in (files.page, files.csv):
        if output is not None and output.resolve() in kept:
            raise UsageError(f"{output} would overwrite the rollouts", hint="give another file")
    if files.page is not None and files.csv is not None and files.page.resolve() == files.csv.resolve():
        raise UsageError(f"the page and the CSV are both {files.page}", hint="name two files")
    if files.page is not None or files.figures is not None:
        from dami_merge.report.page import plotting

        plotting()
    if files.figures is not None:
        try:
            files.figures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "give a folder; a missing folder is created"
            raise UsageError(
                f"cannot create the folder {files.figures}: {error.strerror}", hint=hint
            ) from error


def _origin(folder: Path, backend: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return a title and the origin of a grid; refuse a grid that was not swept.

    The rollouts of a live pair cannot be compared with a grid.json, so any grid is accepted for them.
    """
    grid = read_grid(folder)
    swept = backend.get("weights") if backend.get("backend") in GRID_BACKENDS else None
    if swept is not None and swept != weights_digest(grid):
        raise UsageError(
            f"the rollouts come from other weights than those of {folder}",
            hint="give the grid that was swept",
        )
    sides = (("instruct", grid.instruct), ("thinking", grid.thinking))
    origin = {name: f"{side.id}@{side.revision}" if side.revision else side.id for name, side in sides}
    origin["tensors of the grid"] = grid.inventory.digest
    return f"{grid.name}: accuracy against tokens over λ", origin


def _write_figures(folder: Path, report: SweepReport) -> None:
    from dami_merge.report.page import png, svg
    from dami_merge.report.sweep_figures import sweep_figures

    for each in sweep_figures(report):
        write_durable(folder / f"{each.name}.svg", svg(each).encode())
        write_durable(folder / f"{each.name}.png", png(each))
