"""`dami-merge plan-rollouts`: which answers to generate next, and how many a precise figure takes."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from dami_merge.cli.output import console, json_option, refuse_unwritable, show_json

if TYPE_CHECKING:
    from dami_merge.estimators.precision import Spread
    from dami_merge.use_cases.plan_rollouts import RolloutsPlan

_FILE = click.Path(readable=False, path_type=Path)

_SAMPLES = (2, 4, 8)


@click.command("plan-rollouts", short_help="Plan which answers to generate next.")
@click.option(
    "--rollouts", type=_FILE, default=Path("rollouts.jsonl"), show_default=True,
    help="Rollouts written by `dami-merge sweep`.",
)  # fmt: skip
@click.option(
    "--budget", type=click.IntRange(1, 1_000_000), default=1000, show_default=True, metavar="N",
    help="Answers to plan.",
)  # fmt: skip
@click.option(
    "--per", type=click.Choice(["answer", "token"]), default="answer", show_default=True,
    help="Plan the most information for each answer, or for each token.",
)  # fmt: skip
@click.option("-o", "--output", type=_FILE, help="JSON Lines file to write, for `dami-merge sweep --plan`.")
@json_option
def plan_rollouts_command(
    *, rollouts: Path, budget: int, per: Literal["answer", "token"], output: Path | None, as_json: bool
) -> None:
    """Plan the answers that tell most about which query succeeds at which λ.

    Answers go where success is uncertain: not to queries that are always or never answered. The second table
    says how precisely the accuracy of each λ is known against the largest one, and how many questions of K
    answers each would narrow its 95% interval to ±1 point.
    """
    from dami_merge.use_cases.plan_rollouts import plan_rollouts, rollouts_plan_value

    refuse_unwritable(output)
    found = plan_rollouts(rollouts, budget, per=per, output=output)
    if as_json:
        show_json(rollouts_plan_value(found))
        return
    _show_plan(found)
    _show_precision(found.spreads)
    if output is not None:
        name, where = shlex.quote(str(output)), shlex.quote(str(rollouts))
        click.echo(f"\nnext: dami-merge sweep GRID --questions SOURCE --plan {name} -o {where}")


def _show_plan(found: "RolloutsPlan") -> None:
    from dami_merge.cli.number_tables import named_table
    from dami_merge.lambdas import label

    table = named_table("λ", "answers", "planned", "of questions", "tokens")
    for row in found.rows:
        cells = (f"{row.held:,}", f"{row.more:,}", f"{row.questions:,}", f"{row.tokens:,.0f}")
        table.add_row(label(row.lam), *cells)
    console().print(table, crop=False)
    planned, tokens = sum(row.more for row in found.rows), sum(row.tokens for row in found.rows)
    asked = len({cell.question for cell in found.cells})
    click.echo(
        f"\n{planned:,} answers of about {tokens:,.0f} tokens to {asked:,} of {found.questions:,} questions;"
        f" {found.unasked:,} questions lack answers at some λ now"
    )
    click.echo(
        f"standard error of the success of one question at one λ (root mean square): {found.before**0.5:.4f}"
        f" now; expected {found.after**0.5:.4f} with the plan, {found.even**0.5:.4f} with as many answers"
        " spread evenly"
    )


def _show_precision(found: "tuple[Spread, ...]") -> None:
    from dami_merge.cli.number_tables import named_table
    from dami_merge.lambdas import label

    if not found:
        click.echo("\nprecision: too few questions, or a single λ")
        return
    table = named_table("λ", "against the largest", "±", "±1 point, as now", *(f"K = {k}" for k in _SAMPLES))
    for each in found:
        parts = each.between is not None
        needed = (f"{each.needed(k):,}" if parts else "-" for k in _SAMPLES)
        cells = (f"{-each.drop:+.1%}", f"{each.half_width:.1%}", f"{each.needed_as_measured():,}", *needed)
        table.add_row(label(each.lam), *cells)
    click.echo("\nquestions until ±1 point:")
    console().print(table, crop=False)
