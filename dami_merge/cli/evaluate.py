"""`dami-merge evaluate`: what estimators of λ are worth on questions that they were not trained on."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dami_merge.cli.goal_options import goal_of, goal_options
from dami_merge.cli.output import json_option, refuse_unwritable, show_json

if TYPE_CHECKING:
    from dami_merge.estimators.judge.evaluated import EvaluationReport

_FILE = click.Path(readable=False, path_type=Path)


@click.command("evaluate", short_help="Judge estimators of λ on test questions.")
@click.argument("grid", type=_FILE)
@click.option(
    "--rollouts", type=_FILE, default=Path("test.jsonl"), show_default=True,
    help="Rollouts of the test questions, written by `dami-merge sweep`.",
)  # fmt: skip
@click.option(
    "--estimator", "estimators", multiple=True, metavar="FOLDER",
    help="Folder that `dami-merge train` wrote, or `bundled`; may be repeated.",
)  # fmt: skip
@click.option(
    "--train", type=_FILE, metavar="FILE",
    help="Rollouts of the training questions: fits every kind of estimator and the controls on them.",
)  # fmt: skip
@click.option(
    "--estimators", "kinds", metavar="LIST",
    help="Fit only these kinds, such as curve,pref,knn:wordllama (a kind, and after a colon its"
    " features); `none` fits only the controls.  [default: curve, pref, pred, knn, kmeans, constant]",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1, 100), default=3, show_default=True, help="Seeds of every fit."
)
@click.option(
    "--heldout", type=_FILE, metavar="FILE",
    help="Rollouts of a family of questions that nothing was trained on.",
)  # fmt: skip
@click.option(
    "--paraphrased", type=_FILE, metavar="FILE",
    help="Rollouts of the test questions in other words; ids end in -p.",
)  # fmt: skip
@goal_options
@click.option("--html", type=_FILE, metavar="FILE", help="Also write a page; needs the extra `report`.")
@click.option(
    "--learning", type=_FILE, metavar="FILE",
    help="Learning curves for the page, written by `tools/experiments.py learning`.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of the bootstrap."
)
@json_option
def evaluate_command(  # noqa: PLR0913 - one argument for each option
    *,
    grid: Path,
    rollouts: Path,
    estimators: tuple[str, ...],
    train: Path | None,
    kinds: str | None,
    seeds: int,
    heldout: Path | None,
    paraphrased: Path | None,
    html: Path | None,
    learning: Path | None,
    seed: int,
    as_json: bool,
    **goal: Any,
) -> None:
    """Judge estimators of λ(q) on test questions, and try to refute them.

    GRID is the folder of the grid that was swept. The first column that counts is the gain over the hull of
    static mixtures: accuracy minus the best that sharing the questions blindly between fixed λ reaches with
    the same mean tokens. Nothing is generated, unless an estimator asks the models.

    Exits with 1 if an estimator that was given with --estimator is not shown to beat the static mixtures.
    """
    from dami_merge.use_cases.entrants import read_entry
    from dami_merge.use_cases.evaluate import evaluate_estimators
    from dami_merge.use_cases.evaluation import Evaluation

    refuse_unwritable(html)
    named = [] if kinds is None else [kind for kind in kinds.split(",") if kind.strip() != "none"]
    evaluation = Evaluation(
        rollouts=rollouts,
        estimators=estimators,
        train=train,
        entries=None if kinds is None else tuple(map(read_entry, named)),
        seeds=seeds,
        goal=goal_of(goal),
        heldout=heldout,
        paraphrased=paraphrased,
        seed=seed,
    )
    with _page(html, learning) as write, _steps() as on_step:
        report = evaluate_estimators(evaluation, grid, on_step=on_step)
        write(report)
    _show(report, as_json=as_json)
    if not all(
        row.ruling.kind == "beats"
        for row, entrant in zip(report.rows, report.entrants, strict=True)
        if entrant.source
    ):
        click.get_current_context().exit(1)


def _show(report: "EvaluationReport", *, as_json: bool) -> None:
    from dami_merge.estimators.judge.evaluated import evaluation_value

    if as_json:
        show_json(evaluation_value(report))
        return
    from dami_merge.cli.evaluate_view import show_evaluation

    show_evaluation(report)


@contextmanager
def _page(file: Path | None, learning: Path | None) -> "Iterator[Callable[[EvaluationReport], None]]":
    """Refuse what a page lacks before any work; yield what writes it."""
    if file is None:
        yield lambda report: None  # noqa: ARG005 - no page
        return
    from dami_merge.files import write_durable
    from dami_merge.report.evaluation import evaluation_page, read_learning
    from dami_merge.report.page import plotting

    plotting()
    curves = () if learning is None else read_learning(learning)

    def write(report: "EvaluationReport") -> None:
        write_durable(file, evaluation_page(report, curves).encode())
        click.echo(f"page written: {file}", err=True)

    yield write


@contextmanager
def _steps() -> Iterator[Callable[[str], None]]:
    """Show on stderr what is being done: one line that changes on a terminal, else a line for each step."""
    if not sys.stderr.isatty():
        yield lambda what: click.echo(what, err=True)
        return
    yield lambda what: click.echo(f"\r\033[K{what}", err=True, nl=False)
    click.echo("\r\033[K", err=True, nl=False)
