"""The command group, and the handling of errors and Ctrl-C.

Imports click and the command modules only; each command imports heavy modules inside its body, so that
`--help` answers at once.
"""

import gc
import io
import os
import sys

import click

from dami_merge._version import __version__
from dami_merge.cli.check_lmc import check_lmc_command
from dami_merge.cli.grid import grid_command
from dami_merge.cli.output import show_error
from dami_merge.cli.report import report_command
from dami_merge.cli.sweep import sweep_command
from dami_merge.cli.verify import verify_command
from dami_merge.errors import DamiMergeError

INTERRUPTED = 130
"""Exit code that a shell reports for a program ended by Ctrl-C."""


class _Commands(click.Group):
    """Turns dami-merge's errors into a message and their exit code, and Ctrl-C into 130."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except DamiMergeError as error:
            show_error(error)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)

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


def main() -> None:
    """Run the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot print λ must not stop the program
    gc.set_threshold(
        50_000, 20, 20
    )  # importing torch creates many objects and no garbage; this saves an eighth of its time
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    commands()
