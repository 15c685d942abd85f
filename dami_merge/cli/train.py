"""`dami-merge train`: an estimator of λ from the rollouts of a sweep."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dami_merge.cli.goal_options import goal_of, goal_options, scalars
from dami_merge.cli.output import json_option, show_json

FILE = click.Path(readable=False, path_type=Path)


@click.command("train", short_help="Train an estimator of λ.")
@click.argument("estimator")
@click.argument("grid", type=FILE)
@click.option(
    "--rollouts", type=FILE, default=Path("rollouts.jsonl"), show_default=True,
    help="Rollouts of the training questions, written by `dami-merge sweep`.",
)  # fmt: skip
@click.option("-o", "--output", type=FILE, default=Path("est"), show_default=True, help="Folder to write.")
@click.option(
    "--features",
    metavar="NAME",
    help="What the estimator sees of a query: text, length, wordllama, encoder:PATH, backbone:PATH, conf,"
    " state, or several joined by +.  [default: text; conf for the estimator conf]",
)
@click.option(
    "-O", "--option", "options", multiple=True, metavar="NAME=VALUE",
    help="An option of the estimator, such as rule=hard; may be repeated.",
)  # fmt: skip
@goal_options
@click.option(
    "--folds", type=click.IntRange(2, 100), default=5, show_default=True, help="Parts that are left out."
)
@click.option("--limit", type=click.IntRange(min=1), help="Use only the first N questions.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="Seed of every draw."
)
@json_option
def train_command(  # noqa: PLR0913 - one argument for each option
    *,
    estimator: str,
    grid: Path,
    rollouts: Path,
    output: Path,
    features: str | None,
    options: tuple[str, ...],
    folds: int,
    limit: int | None,
    seed: int,
    as_json: bool,
    **goal: Any,
) -> None:
    """Train an estimator of λ(q) on a sweep and write it to a folder.

    ESTIMATOR is curve, boosted, pref, pred, conf, knn, kmeans, category or constant; GRID the folder of the
    grid that was swept. The accuracy and the tokens that are printed are those of questions that were left
    out of the fit. What is asked of the estimator (--mu, --tokens, --accuracy, --risk) can be changed later
    without training again; by default, it is Thinking's accuracy for the fewest tokens.
    """
    from dami_merge.estimators.goal import Goal
    from dami_merge.use_cases.train import Training, pairs_behind, train_estimator

    training = Training(
        kind=estimator,
        features=features,
        options=scalars(options),
        goal=goal_of(goal) or Goal(),
        folds=folds,
        seed=seed,
        limit=limit,
    )
    with _steps() as on_step:
        trained = train_estimator(training, grid, rollouts, output, on_step=on_step)
    from dami_merge.cli.train_view import show_trained, trained_value

    pairs = pairs_behind(trained, rollouts, limit=limit)
    if as_json:
        show_json(trained_value(trained, output) | {"pairs": pairs})
    else:
        show_trained(trained, grid, output, pairs)


@contextmanager
def _steps() -> Iterator[Callable[[str, int, int], None]]:
    """Show on a terminal what is being done."""
    if not sys.stderr.isatty():
        yield lambda what, done, of: None  # noqa: ARG005 - the quiet one
        return
    yield lambda what, done, of: click.echo(f"\r\033[K{what}: step {done + 1} of {of}", err=True, nl=False)
    click.echo("\r\033[K", err=True, nl=False)


@click.command("pairs", short_help="Count preference pairs.")
@click.option(
    "--rollouts", type=FILE, default=Path("rollouts.jsonl"), show_default=True,
    help="Rollouts written by `dami-merge sweep`.",
)  # fmt: skip
@click.option(
    "-O", "--option", "options", multiple=True, metavar="NAME=VALUE",
    help="An option of the rules: unanswered=drop, cheapest or prefer-max; margin; cost_weight.",
)  # fmt: skip
@json_option
def pairs_command(*, rollouts: Path, options: tuple[str, ...], as_json: bool) -> None:
    """Count the preference pairs that each rule of `train pref` makes of a sweep, and those that it drops.

    `hard` is the paper's rule: accuracy first, tokens second. `robust` calls a difference of one answer a
    tie. `soft` weighs both directions of a pair by how probable they are.
    """
    import msgspec

    from dami_merge.cli.output import console
    from dami_merge.errors import UsageError
    from dami_merge.estimators.pairs import PairOptions
    from dami_merge.use_cases.train import count_pairs

    try:
        chosen = msgspec.convert(scalars(options), PairOptions)
    except msgspec.ValidationError as error:
        known = ", ".join(PairOptions.__struct_encode_fields__)
        raise UsageError(f"{error}", hint=f"the options are {known}") from error
    counts = count_pairs(rollouts, chosen)
    if as_json:
        show_json(counts)
        return
    from dami_merge.cli.number_tables import named_table

    table = named_table("rule", "by accuracy", "by tokens", "undecided", "dropped")
    for rule, each in counts.items():
        cells = (each.by_accuracy, each.by_tokens, each.undecided, each.dropped)
        table.add_row(rule, *(f"{cell:,}" for cell in cells))
    console().print(table, crop=False)
    one = counts["hard"]
    click.echo(f"{one.queries:,} queries, of which no λ answers {one.unanswered:,}")
