"""`dami-merge report`: a sweep as an HTML page and as figures for a paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.cli.output import json_option, refuse_unwritable, show_json
from dami_merge.errors import UsageError

if TYPE_CHECKING:
    from dami_merge.report.page import Figure

GRID_BACKENDS = ("hf", "openai")
"""Backends that describe their weights by the digest of grid.json."""


@click.command(short_help="Turn a sweep into an HTML page.")
@click.argument("grid", type=click.Path(path_type=Path), required=False)
@click.option(
    "--rollouts",
    type=click.Path(path_type=Path),
    default=Path("rollouts.jsonl"),
    show_default=True,
    help="Rollouts file written by `dami-merge sweep`.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML page to write.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write every figure to this folder, as SVG and PNG.",
)
@click.option("--lambdas", metavar="LIST", help="Report only these λ.  [default: all in the file]")
@click.option(
    "--loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Accuracy that you accept to lose by serving fewer λ; 0.01 is one percentage point.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the bootstrap.")
@json_option
def report_command(  # noqa: PLR0913 - click passes one argument per option
    *,
    grid: Path | None,
    rollouts: Path,
    output: Path,
    figures: Path | None,
    lambdas: str | None,
    loss: float,
    seed: int,
    as_json: bool,
) -> None:
    """Turn a sweep into one self-contained HTML page that opens anywhere and loads nothing.

    GRID is the folder of the grid that was swept; it adds the names of the models and a digest of the tensors
    to the page. The page of an unfinished sweep shows the answers so far. Needs the extra `report`.
    """
    from dami_merge.evaluation.rollouts_file import read_rollouts, read_sidecar, sidecar_path
    from dami_merge.evaluation.statistics.summary import summarise, sweep_value
    from dami_merge.files import write_durable
    from dami_merge.lambdas import parse_lambdas
    from dami_merge.report.page import plotting
    from dami_merge.report.sweep import sweep_page
    from dami_merge.report.sweep_figures import sweep_figures

    refuse_unwritable(output)
    if output.resolve() in {rollouts.resolve(), sidecar_path(rollouts).resolve()}:
        raise UsageError(f"{output} would overwrite the rollouts", hint="give another file with -o")
    plotting()
    if figures is not None:
        _make_folder(figures)
    rows, sidecar = read_rollouts(rollouts), read_sidecar(rollouts)
    title, origin = (rollouts.stem, {}) if grid is None else _origin(grid, sidecar.settings.backend)
    only = None if lambdas is None else parse_lambdas(lambdas)
    found = summarise(rows, seed=seed, lambdas=only, loss=loss)
    kept = [row for row in rows if row.lam in found.lambdas]
    page = sweep_page(found, kept, sidecar, title=title, origin=origin)
    write_durable(output, page.encode())
    click.echo(f"page written: {output}", err=True)
    if figures is not None:
        _write_figures(figures, sweep_figures(found))
        click.echo(f"figures written: {figures}", err=True)
    if as_json:
        show_json(sweep_value(found))


def _origin(folder: Path, backend: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return a title and the origin of a grid; refuse a grid that was not swept.

    The rollouts of a live pair cannot be compared with a grid.json, so any grid is accepted for them.
    """
    from dami_merge.grid.manifest import read_grid, weights_digest

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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "give a folder; a missing folder is created"
        raise UsageError(f"cannot create the folder {folder}: {error.strerror}", hint=hint) from error


def _write_figures(folder: Path, drawn: "tuple[Figure, ...]") -> None:
    from dami_merge.files import write_durable
    from dami_merge.report.page import png, svg

    for each in drawn:
        write_durable(folder / f"{each.name}.svg", svg(each).encode())
        write_durable(folder / f"{each.name}.png", png(each))
