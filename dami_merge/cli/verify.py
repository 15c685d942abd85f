"""`dami-merge verify`: check every byte of a grid against its grid.json."""

from dataclasses import asdict
from pathlib import Path

import click

from dami_merge.cli.output import json_option, meter, show_json


@click.command(short_help="Check every byte of a grid.")
@click.argument("grid", type=click.Path(readable=False, path_type=Path), default=Path("grid"))
@json_option
def verify_command(*, grid: Path, as_json: bool) -> None:
    """Check every byte of GRID against its grid.json.

    Lists the files that are missing, changed or extra. The exit code is 1 if there are any.
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
            click.echo(f"{grid} is intact: {read}")
        else:
            click.echo(f"{grid} is not intact: {read}", err=True)
            if verdict.extra:
                click.echo("hint: move the extra files out of the grid", err=True)
            if verdict.missing or verdict.changed:
                first = "delete the changed files, then " if verdict.changed else ""
                click.echo(
                    f"hint: {first}rerun the `dami-merge grid` command that built this grid to repair it",
                    err=True,
                )
    if not verdict.whole:
        click.get_current_context().exit(1)
