"""What commands print: JSON, tables, errors, a progress bar. Results on stdout, the rest on stderr."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from dami_merge.errors import DamiMergeError, InputRefused, UsageError

if TYPE_CHECKING:
    from rich.console import Console

PIPE_WIDTH = 1000
"""Columns where stdout is no terminal: nothing is cut or wrapped in a log."""


def show_json(value: object) -> None:
    """Print one JSON value on stdout: sorted keys, `null` for what is not finite, a newline at the end."""
    import msgspec

    text = msgspec.json.Encoder(order="sorted").encode(value)
    click.echo(msgspec.json.format(text, indent=2))


def wants_json() -> bool:
    """Whether the running command was given `--json`."""
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
    help="Print one JSON value on stdout, errors too.",
)


def error_value(error: DamiMergeError) -> dict[str, object]:
    """An error as JSON; a refusal with all of its problems."""
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
    """Say on stderr what is wrong and the way out; with `--json` the same as a value on stdout."""
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
    """Refuse an output file that could not be written, before any work is done for it.

    Raises:
        UsageError: It is a folder, or its folder is not there or not writable.
    """
    if file is None:
        return
    if file.is_dir():
        raise UsageError(f"{file} is a folder", hint="name a file in it")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"{file}: there is no folder {file.absolute().parent}", hint="make it first")
    if not os.access(file if file.exists() else file.absolute().parent, os.W_OK):
        raise UsageError(f"{file} cannot be written", hint="name a file in a folder of yours")


def console() -> "Console":
    """A console on stdout. A string is text as it stands, since names hold `[` and `:`; `Text` has style."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, markup=False, emoji=False)


@contextmanager
def counter(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function that is told how many of how many are done; silent where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda done, of: None  # noqa: ARG005 - the quiet counter
        return
    yield lambda done, of: click.echo(f"\r{what} {done} of {of}", err=True, nl=False)
    click.echo("\r\033[K", err=True, nl=False)


class Meter(Protocol):
    """Told how far long work is."""

    def __call__(self, done_bytes: int, total_bytes: int, what: str) -> None:
        """Show the bytes done so far, of how many, and what is in work."""


@contextmanager
def meter() -> Iterator[Meter]:
    """A progress bar on stderr with bytes, rate and time left; nothing where stderr is not a terminal."""
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
        progress.start()  # with the first report, so that what is printed before stands above the bar
        progress.update(task, completed=done_bytes, total=total_bytes, description=what)

    try:
        yield show
    finally:
        progress.stop()
