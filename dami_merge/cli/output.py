"""What commands print: JSON, tables, errors, progress. Results go to stdout, everything else to stderr."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from dami_merge.errors import DamiMergeError, InputRefused, UsageError

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 1000
"""Columns if stdout is not a terminal: nothing is truncated or wrapped in a log."""

_PADDING = re.compile(r"[ \t]+$", re.MULTILINE)


def show_json(value: object) -> None:
    """Print one JSON value on stdout: sorted keys, `null` for non-finite numbers, a newline at the end."""
    import msgspec

    text = msgspec.json.Encoder(order="sorted").encode(value)
    click.echo(msgspec.json.format(text, indent=2))


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
        UsageError: The file is a folder or is not writable, or its folder is missing or not writable.
    """
    if file is None:
        return
    if file.is_dir():
        raise UsageError(f"cannot write {file}: it is a folder", hint="give a file in that folder")
    if not file.absolute().parent.is_dir():
        message = f"cannot write {file}: the folder {file.absolute().parent} does not exist"
        raise UsageError(message, hint="create the folder first")
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise UsageError(f"cannot write {file}: permission denied", hint="give a file that you may write")


def console() -> "Console":
    """Return a console on stdout that prints strings verbatim (names hold `[` and `:`); `Text` has style."""
    from rich.console import Console

    if sys.stdout.isatty():
        return Console(highlight=False, markup=False, emoji=False)
    return Console(file=_Unpadded(), width=PIPE_WIDTH, highlight=False, markup=False, emoji=False)


class _Unpadded(StringIO):
    """Passes text on to stdout without the blanks with which tables fill their last column."""

    def write(self, text: str) -> int:
        sys.stdout.write(_PADDING.sub("", text))
        return len(text)

    def flush(self) -> None:
        sys.stdout.flush()


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
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task("", total=None)

    def show(done_bytes: int, total_bytes: int, what: str) -> None:
        progress.start()  # with the first report, so that earlier output stays above the bar
        progress.update(task, completed=done_bytes, total=total_bytes, description=what)

    try:
        yield show
    finally:
        progress.stop()
