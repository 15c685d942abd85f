"""`dami-merge verify`: every byte of a grid against its grid.json."""

from dataclasses import asdict
from pathlib import Path

import click

from dami_merge.cli.output import json_option, meter, show_json


@click.command(short_help="Re-read every byte of a grid.")
@click.argument("grid", type=click.Path(path_type=Path), default=Path("grid"))
@json_option
def verify_command(*, grid: Path, as_json: bool) -> None:
    """Re-read every byte of GRID and compare it with its grid.json.

    Names what is missing, changed or extra. Exits with 1 when the grid is not whole.
    """
    from dami_merge.files import size_text
    from dami_merge.grid.verify import verify

    with meter() as show:
        verdict = verify(grid, on_bytes=lambda done, total: show(done, total, "verify"))
    if as_json:
        show_json({"whole": verdict.whole, **asdict(verdict)})
    else:
        for state, names in (
            ("missing", verdict.missing),
            ("changed", verdict.changed),
            ("extra", verdict.extra),
        ):
            for name in names:
                click.echo(f"{state}: {name}")
        read = f"{verdict.files} files, {size_text(verdict.read_bytes)} read"
        if verdict.whole:
            click.echo(f"{grid} is whole: {read}")
        else:
            click.echo(f"{grid} is not whole: {read}", err=True)
            click.echo("hint: the `dami-merge grid` command that built it repairs it", err=True)
    if not verdict.whole:
        click.get_current_context().exit(1)
