"""What `dami-merge sweep` prints while it runs and when it is done."""

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.cli.output import console
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from fractions import Fraction

    from rich.table import Table

    from dami_merge.evaluation.statistics.summary import SweepReport
    from dami_merge.evaluation.sweep import SweepProgress

Show = Callable[["SweepProgress"], None]


@contextmanager
def sweep_meter() -> Iterator[Show]:
    """Show a bar over all answers, with λ, accuracy, tokens/s and time left, and a line for each finished λ.

    If stderr is not a terminal, only the lines are printed, so that the log of a long run shows its progress.
    """
    if not sys.stderr.isatty():
        yield _say_when_done
        return
    from rich import progress as rich

    from dami_merge.cli.drawing import Screen

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(bar_width=30),
        rich.MofNCompleteColumn(),
        rich.TimeRemainingColumn(),
    )
    states: dict[Fraction, SweepProgress] = {}
    bar = rich.Progress(*columns, console=Screen(err=True), transient=True)
    task = bar.add_task("", total=None)

    def show(state: "SweepProgress") -> None:
        bar.start()  # with the first report, so that notes stay above the bar
        states[state.lam] = state
        done, total = sum(s.done for s in states.values()), sum(s.of for s in states.values())
        bar.update(task, completed=done, total=total, description=_state(state))
        _say_when_done(state)

    try:
        yield show
    finally:
        bar.stop()


def _state(state: "SweepProgress") -> str:
    if not state.graded:
        return f"λ {label(state.lam)}"
    speed = state.tokens / max(state.seconds, 1e-9)
    return f"λ {label(state.lam)}  accuracy {state.correct / state.graded:.1%}  {speed:,.0f} tokens/s"


def _say_when_done(state: "SweepProgress") -> None:
    if state.done == state.of and state.graded:
        click.echo(f"{_state(state)}  {state.graded:,} answers in {state.seconds:,.1f} s", err=True)


def show_sweep(report: "SweepReport", file: Path) -> None:
    """Print a row for each λ, the findings, and the next command on stdout."""
    from dami_merge.evaluation.statistics.findings import findings

    out = console()
    out.print(_table(report))
    out.print()
    for sentence in findings(report.overall):
        out.print(sentence)
    out.print(
        f"answers are in {file}; make a page with: dami-merge report --rollouts {shlex.quote(str(file))}"
    )


def _table(report: "SweepReport") -> "Table":
    from rich.table import Table
    from rich.text import Text

    comparison = report.overall.comparison
    standing = {} if comparison is None else {each.lam: each for each in comparison.pareto.standings}
    served = () if comparison is None else comparison.serving.lambdas
    table = Table(box=None, pad_edge=False)
    for heading in ("λ", "accuracy", "95% interval", "tokens", "median", "closed", "truncated", "answers"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("frontier")
    for row in report.overall.rows:
        interval = f"{row.accuracy_interval.low:.1%} – {row.accuracy_interval.high:.1%}"
        each = standing.get(row.lam)
        said = Text()
        if each is not None and each.dominated_by:
            said = Text(f"dominated by {', '.join(map(label, each.dominated_by))}", "red")
        elif each is not None:
            said = Text("yes, worth serving", "green") if row.lam in served else Text("yes")
        table.add_row(
            label(row.lam), f"{row.accuracy:.1%}", interval, f"{row.tokens:,.1f}",
            f"{row.median_tokens:,.1f}", f"{row.closed:.1%}", f"{row.cut:.1%}", f"{row.samples:,}", said,
        )  # fmt: skip
    return table
