"""The command group, and the border where every error becomes a message and an exit code.

Imports click and the command modules only; each command imports heavy modules inside its body, so that
`--help` answers at once.
"""

import errno
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dami_merge._version import __version__
from dami_merge.cli.backbone import backbone_command
from dami_merge.cli.check_lmc import check_lmc_command
from dami_merge.cli.evaluate import evaluate_command
from dami_merge.cli.grid import grid_command
from dami_merge.cli.interrupt import INTERRUPTED, arm, disarm
from dami_merge.cli.output import exit_code_of, show_error
from dami_merge.cli.plan_rollouts import plan_rollouts_command
from dami_merge.cli.report import report_command
from dami_merge.cli.route import route_command
from dami_merge.cli.streams import StreamLost, harden_streams, mute
from dami_merge.cli.sweep import sweep_command
from dami_merge.cli.system_errors import refusal_of
from dami_merge.cli.train import pairs_command, train_command
from dami_merge.cli.verify import verify_command
from dami_merge.errors import DamiMergeError

READER_GONE = 141
"""Exit code that a shell reports for a program whose reader closed the pipe (SIGPIPE), as with `| head`."""


@contextmanager
def _border(context: click.Context) -> Iterator[None]:
    """Turn what a command cannot go on with into a message and an exit code; a bug keeps its traceback."""
    try:
        try:
            yield
            sys.stdout.flush()
        except StreamLost as error:
            context.exit(_without(error))
        except (OSError, MemoryError, RuntimeError, ImportError, UnicodeEncodeError) as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            raise refusal from error
    except DamiMergeError as error:
        try:
            show_error(error)
        except StreamLost as lost:
            context.exit(_without(lost))
        context.exit(exit_code_of(error))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        context.exit(INTERRUPTED)


def _without(lost: StreamLost) -> int:
    """Say that stdout cannot be written, if stderr can; return the exit code."""
    is_output = lost.filename == sys.stdout.name
    mute(sys.stdout if is_output else sys.stderr)
    if lost.errno == errno.EPIPE:
        return READER_GONE
    if is_output:
        try:
            click.echo(f"error: standard output cannot be written: {lost.strerror}", err=True)
            click.echo("hint: free some space, or send the output elsewhere", err=True)
        except StreamLost:
            mute(sys.stderr)
    return DamiMergeError.exit_code


class _Commands(click.Group):
    """Runs every command inside the border."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options of the group; `--help` and `--version` print here."""
        ctx.color = True  # keep click from dropping ANSI codes without a trace: the stream escapes them
        with _border(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        with _border(ctx):
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """List the commands in the order in which they are used."""
        return list(self.commands)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="dami-merge")
def commands() -> None:
    """Build a λ-grid of checkpoints between an Instruct and a Thinking model.

    Θ(λ) = λ·Thinking + (1-λ)·Instruct: λ = 0 is the Instruct model, λ = 1 the Thinking model.

    Exit codes: 0 success; 1 a check failed; 2 invalid usage; 3 unsuitable input or environment.
    """


commands.add_command(grid_command)
commands.add_command(check_lmc_command)
commands.add_command(verify_command)
commands.add_command(sweep_command)
commands.add_command(report_command)
commands.add_command(pairs_command)
commands.add_command(backbone_command)
commands.add_command(train_command)
commands.add_command(route_command)
commands.add_command(plan_rollouts_command)
commands.add_command(evaluate_command)


def main() -> None:
    """Run the program."""
    arm()
    harden_streams()
    gc.set_threshold(
        50_000, 20, 20
    )  # importing torch creates many objects and no garbage; this saves an eighth of its time
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        commands()
    finally:
        disarm()
