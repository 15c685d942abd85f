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
    from rich.text import Text

    from dami_merge.evaluation.statistics.pareto import Standing
    from dami_merge.evaluation.statistics.summary import SweepReport
    from dami_merge.evaluation.sweep import SweepProgress

Show = Callable[["SweepProgress"], None]


@contextmanager
def sweep_meter() -> Iterator[Show]:
    """Show a bar over all answers, with λ, accuracy, tokens/s and time left, and a line for each finished λ.

    If stderr is not a terminal, only the lines are printed, so that the log of a long run shows its
    progress.
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
    from dami_merge.evaluation.statistics.verdict import verdict

    out = console()
    out.print(_table(report))
    out.print()
    if len(report.settings) > 1:
        count = len(report.settings)
        out.print(f"These answers come from {count} different settings, so the λ cannot be compared.\n")
    elif report.overall.comparison is not None:
        for sentence in verdict(report.overall.comparison):
            out.print(sentence)
        out.print()
    for sentence in findings(report.overall):
        out.print(sentence)
    page = f"dami-merge report --rollouts {shlex.quote(str(file))}"
    out.print(f"answers are in {file}; make a page with: {page}", soft_wrap=True)  # can be pasted


def _table(report: "SweepReport") -> "Table":
    """Return a row for each λ, within 80 columns for up to a million tokens an answer."""
    from rich.table import Table

    from dami_merge.evaluation.statistics.wording import token_count

    comparison = report.overall.comparison
    standing = {} if comparison is None else {each.lam: each for each in comparison.pareto.standings}
    serving = None if comparison is None else comparison.serving
    served = () if serving is None else serving.lambdas
    table = Table(box=None, pad_edge=False)
    for heading in ("λ", "accuracy", "95% interval", "tokens", "median", "closed", "cut", "answers"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("frontier", no_wrap=True)
    for row in report.overall.rows:
        low, high = row.accuracy_interval.low, row.accuracy_interval.high
        table.add_row(
            label(row.lam), f"{row.accuracy:.1%}", f"{100 * low:.1f}–{high:.1%}", token_count(row.tokens),
            token_count(row.median_tokens), f"{row.closed:.1%}", f"{row.cut:.1%}", f"{row.samples:,}",
            _frontier(standing.get(row.lam), serve=row.lam in served),
        )  # fmt: skip
    return table


def _frontier(standing: "Standing | None", *, serve: bool) -> "Text":
    """Say in how many resamples a λ is on the frontier, and whether it is worth serving."""
    from rich.text import Text

    if standing is None:
        return Text()
    if standing.frontier_share is None:
        return Text("no", "red") if standing.dominated_by else Text("yes")
    share = f"{standing.frontier_share:.0%}"
    if serve:
        return Text(f"{share} serve", "green")
    return Text(share, "red" if standing.dominated_by else "")
