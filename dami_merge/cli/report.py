"""`dami-merge report`: a sweep as an HTML page, as figures for a paper, and as CSV."""

from pathlib import Path

import click

from dami_merge.cli.gathered import gathered
from dami_merge.cli.output import json_option, refuse_unwritable, show_json
from dami_merge.use_cases.report_files import ReportFiles


@click.command(short_help="Turn a sweep into an HTML page.")
@click.argument("grid", type=click.Path(readable=False, path_type=Path), required=False)
@click.option(
    "--rollouts",
    type=click.Path(readable=False, path_type=Path),
    default=Path("rollouts.jsonl"),
    show_default=True,
    help="Rollouts file written by `dami-merge sweep`.",
)
@click.option(
    "-o",
    "--output",
    "page",
    type=click.Path(readable=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="HTML page to write.",
)
@click.option(
    "--figures",
    type=click.Path(readable=False, path_type=Path),
    metavar="DIR",
    help="Also write every figure to this folder, as SVG and PNG.",
)
@click.option(
    "--csv",
    type=click.Path(readable=False, path_type=Path),
    metavar="FILE",
    help="Also write every sample as one line of CSV.",
)
@click.option("--lambdas", metavar="LIST", help="Report only these λ.  [default: all in the file]")
@click.option(
    "--loss",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Accuracy that you accept to lose by serving fewer λ; 0.01 is one percentage point.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True, help="Seed of the bootstrap."
)
@json_option
@gathered(ReportFiles, "files")
def report_command(
    *,
    grid: Path | None,
    rollouts: Path,
    files: ReportFiles,
    lambdas: str | None,
    loss: float,
    seed: int,
    as_json: bool,
) -> None:
    """Turn a sweep into one self-contained HTML page that opens anywhere and loads nothing.

    GRID is the folder of the grid that was swept; it adds the names of the models and a digest of the
    tensors to the page. The page of an unfinished sweep shows the answers so far. Needs the extra `report`.
    """
    from dami_merge.evaluation.statistics.summary import sweep_value
    from dami_merge.lambdas import parse_lambdas
    from dami_merge.use_cases.report import report_sweep

    for file in (files.page, files.csv):
        refuse_unwritable(file)
    found = report_sweep(
        rollouts,
        grid=grid,
        files=files,
        lambdas=None if lambdas is None else parse_lambdas(lambdas),
        loss=loss,
        seed=seed,
        on_file=lambda what, path: click.echo(f"{what} written: {path}", err=True),
    )
    if as_json:
        show_json(sweep_value(found))
