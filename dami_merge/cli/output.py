"""What commands print: JSON, tables, errors, progress. Results go to stdout, everything else to stderr."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from dami_merge.errors import DamiMergeError, InputRefused, OutputRefused
from dami_merge.harmless import without_surrogates

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 1000
"""Columns if stdout is not a terminal: nothing is truncated or wrapped in a log."""


def show_json(value: object) -> None:
    """Print one JSON value on stdout: sorted keys, `null` for non-finite numbers, a newline at the end.

    A lone surrogate, as in a file name that is not UTF-8, cannot be encoded and becomes U+FFFD.
    """
    import msgspec

    encoder = msgspec.json.Encoder(order="sorted")
    try:
        encoded = encoder.encode(value)
    except UnicodeEncodeError:
        encoded = encoder.encode(_encodable(msgspec.to_builtins(value)))
    click.echo(msgspec.json.format(encoded, indent=2).decode())


def _encodable(value: object) -> object:
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return [_encodable(each) for each in value] if isinstance(value, list | tuple) else value


def wants_json() -> bool:
    """Return whether the running command was given `--json`."""
    context = click.get_current_context(silent=True)
    while context is not None:
        if context.meta.get("dami_merge.json"):
            return True
        context = context.parent
    return False


def _remember_json(context: click.Context, _: click.Parameter, value: bool) -> bool:  # noqa: FBT001 - click's signature
    context.meta["dami_merge.json"] = value
    return value


json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=_remember_json,
    is_eager=True,
    help="Print the result, or the error, as one JSON value on stdout.",
)


def error_value(error: DamiMergeError) -> dict[str, object]:
    """Return an error as a JSON value; a refusal lists all of its problems."""
    value: dict[str, object] = {
        "kind": type(error).__name__,
        "message": str(error),
        "hint": error.hint,
    }
    if isinstance(error, InputRefused):
        value["problems"] = [
            {"code": p.code, "message": p.message, "hint": p.hint, "field": p.field} for p in error.problems
        ]
    return value


def exit_code_of(error: DamiMergeError) -> int:
    """Return the exit code; whatever the operating system refused is no wrong usage."""
    return DamiMergeError.exit_code if isinstance(error.__cause__, OSError) else error.exit_code


def show_error(error: DamiMergeError) -> None:
    """Print an error and its hint on stderr; with `--json`, also print them as a JSON value on stdout."""
    if wants_json():
        show_json({"error": error_value(error)})
    lines = str(error).splitlines() or [""]
    click.echo(f"error: {lines[0]}" if len(lines) == 1 else "error: refused", err=True)
    if len(lines) > 1:
        for line in lines:
            click.echo(f"  - {line}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def refuse_unwritable(file: Path | None) -> None:
    """Refuse an output file that cannot be written, before any work is done.

    Raises:
        OutputRefused: The file is a folder or is not writable, or its folder is missing or not writable.
    """
    if file is None:
        return
    folder = file.absolute().parent
    if file.is_dir():
        raise OutputRefused(f"cannot write {file}: it is a folder", hint="give a file in that folder")
    if folder.exists() and not folder.is_dir():
        raise OutputRefused(f"cannot write {file}: {folder} is a file", hint="give a file in a folder")
    if not folder.exists():
        raise OutputRefused(
            f"cannot write {file}: the folder {folder} does not exist", hint="create the folder first"
        )
    if not os.access(file if file.exists() else folder, os.W_OK):
        raise OutputRefused(f"cannot write {file}: permission denied", hint="give a file that you may write")


def console() -> "Console":
    """Return a console on stdout that prints strings verbatim (names hold `[` and `:`); `Text` has style."""
    from dami_merge.cli.drawing import Screen

    return Screen() if sys.stdout.isatty() else Screen(width=PIPE_WIDTH, padded=False)


@contextmanager
def counter(what: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that shows how many of a total are done; silent if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of: None  # noqa: ARG005 - the quiet counter
        return
    yield lambda done, of: click.echo(f"\r{what} {done} of {of}", err=True, nl=False)
    click.echo("\r\033[K", err=True, nl=False)


class Meter(Protocol):
    """Shows the progress of long work."""

    def __call__(self, done_bytes: int, total_bytes: int, what: str) -> None:
        """Show the bytes done so far, the total, and the current item."""


@contextmanager
def meter() -> Iterator[Meter]:
    """Yield a progress bar on stderr with bytes, rate and time left; silent if stderr is not a terminal."""
    if not sys.stderr.isatty():
        yield lambda done_bytes, total_bytes, what: None  # noqa: ARG005 - the quiet meter
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    from dami_merge.cli.drawing import Screen

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Screen(err=True), transient=True)
    task = progress.add_task("", total=None)

    def show(done_bytes: int, total_bytes: int, what: str) -> None:
        progress.start()  # with the first report, so that earlier output stays above the bar
        progress.update(task, completed=done_bytes, total=total_bytes, description=what)

    try:
        yield show
    finally:
        progress.stop()
