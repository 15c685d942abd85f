"""`dami-merge report`: a sweep as a page, and as figures for a paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.cli.output import json_option, refuse_unwritable, show_json
from dami_merge.errors import UsageError

if TYPE_CHECKING:
    from dami_merge.report.page import Figure

GRID_BACKENDS = ("hf", "openai")
"""Those that describe the weights of a grid as grid.json does."""


@click.command(short_help="Make a page of a sweep.")
@click.argument("grid", type=click.Path(path_type=Path), required=False)
@click.option(
    "--rollouts",
    type=click.Path(path_type=Path),
    default=Path("rollouts.jsonl"),
    show_default=True,
    help="Of `dami-merge sweep`.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Also write every figure there, as SVG and as PNG.",
)
@click.option("--lambdas", metavar="LIST", help="Only these λ.  [default: all in the file]")
@click.option(
    "--loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Of accuracy, that the λ worth serving may cost.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bootstrap.")
@json_option
def report_command(  # noqa: PLR0913 - click hands over one argument per option
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
    """Draw what a sweep found as one self-contained page: it opens anywhere and loads nothing.

    GRID adds the digests of the grid that was swept. A sweep that is not finished is drawn as far as it is.
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
        raise UsageError(f"{output} holds the rollouts", hint="name another file with -o")
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
    """A title, and what a grid says of its parents; a grid that was not swept is refused.

    A live pair has no grid.json to compare with.
    """
    from dami_merge.grid.manifest import read_grid, weights_digest

    grid = read_grid(folder)
    swept = backend.get("weights") if backend.get("backend") in GRID_BACKENDS else None
    if swept is not None and swept != weights_digest(grid):
        raise UsageError(
            f"the rollouts are of other weights than those of {folder}", hint="name the grid that was swept"
        )
    sides = (("instruct", grid.instruct), ("thinking", grid.thinking))
    origin = {name: f"{side.id}@{side.revision}" if side.revision else side.id for name, side in sides}
    origin["tensors of the grid"] = grid.inventory.digest
    return f"{grid.name}: accuracy against tokens over λ", origin


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        hint = "name a folder; it is made if it is not there"
        raise UsageError(f"{folder} cannot be a folder: {error.strerror}", hint=hint) from error


def _write_figures(folder: Path, drawn: "tuple[Figure, ...]") -> None:
    from dami_merge.files import write_durable
    from dami_merge.report.page import png, svg

    for each in drawn:
        write_durable(folder / f"{each.name}.svg", svg(each).encode())
        write_durable(folder / f"{each.name}.png", png(each))
