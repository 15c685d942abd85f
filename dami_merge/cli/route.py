"""`dami-merge route`: one decision, explained."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dami_merge.cli.goal_options import goal_of, goal_options
from dami_merge.cli.output import console, json_option, show_json

if TYPE_CHECKING:
    from dami_merge.estimators.deciding import AnyQuery
    from dami_merge.use_cases.route import RouteExplained

_DASH = "-"


@click.command("route", short_help="Route a query and explain why.")
@click.argument("grid", type=click.Path(readable=False, path_type=Path))
@click.argument("query")
@click.option(
    "--estimator",
    default="bundled",
    show_default=True,
    metavar="FOLDER",
    help="Folder written by `dami-merge train`, or `bundled`, `bundled:pref`, `bundled:conf`.",
)
@click.option("--batch", is_flag=True, help="Read the queries from a JSONL file: one string, or one object"
              " with `prompt` or `messages`, per line.")  # fmt: skip
@click.option("--any-weights", is_flag=True, help="Accept an estimator that was trained for other weights.")
@goal_options
@json_option
def route_command(
    *, grid: Path, query: str, estimator: str, batch: bool, any_weights: bool, as_json: bool, **goal: Any
) -> None:
    """Choose the λ of a query and show what led to it.

    GRID is the folder of a grid; QUERY a prompt, `-` for standard input, or with --batch a JSONL file.
    """
    from dami_merge.use_cases.route import explain_routes

    text = sys.stdin.read() if query == _DASH else query
    queries: list[AnyQuery] = [text]
    if batch:
        queries = _queries(text if query == _DASH else _read(Path(query)))
    found = explain_routes(grid, queries, estimator=estimator, goal=goal_of(goal), any_weights=any_weights)
    if as_json:
        values = [_value(each) for each in found]
        show_json(values if batch else values[0])
        return
    for each in found:
        if batch:
            click.echo(f"{float(each.route.lam):.2f}  {each.route.model}  {each.route.reason}")
        else:
            _show(each)


def _value(explained: "RouteExplained") -> dict[str, object]:
    import msgspec

    value: dict[str, object] = msgspec.to_builtins(explained, enc_hook=str)
    return value


def _show(explained: "RouteExplained") -> None:
    from dami_merge.cli.number_tables import named_table
    from dami_merge.lambdas import label

    route, setting = explained.route, explained.setting
    name = "success" if explained.values == "curves" else "score"
    table = named_table("λ", name, "± against static", "tokens", "utility", "")
    for row in explained.rows:
        marks = [
            "chosen" if row.lam == route.lam else "",
            "best for all queries" if row.lam == explained.static else "",
        ]
        numbers = (f"{row.value:.3f}", f"{row.error:.3f}", f"{row.cost:.1f}", f"{row.utility:.3f}")
        table.add_row(label(row.lam), *numbers, ", ".join(filter(None, marks)))
    console().print(table, crop=False)
    kind = "novel: unlike the queries of the fit" if explained.novel else "familiar"
    click.echo(f"estimator  {explained.kind} on {explained.features}; the query is {kind}")
    click.echo(f"goal       μ = {setting.mu:.3g}, guard {setting.guard:g}: {setting.met}")
    click.echo(f"spent      {route.spent:g} tokens on the decision")
    click.echo(f"route      {route.model} ({route.source}): {route.reason}")
    if route.error:
        click.echo(f"error      {route.error}")


def _read(path: Path) -> str:
    from dami_merge.errors import InputRefused, Problem

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        hint = "give a JSONL file, or leave out --batch for a single prompt"
        raise InputRefused([Problem("queries", f"{path}: {reason}", hint)]) from error


def _queries(text: str) -> "list[AnyQuery]":
    """Read queries from JSONL; every line that cannot be read is reported."""
    import msgspec

    from dami_merge.errors import InputRefused, Problem

    queries: list[AnyQuery] = []
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            problems.append(Problem("query", f"line {number}: {error}", "write one JSON value per line"))
            continue
        found = value.get("messages", value.get("prompt")) if isinstance(value, dict) else value
        if isinstance(found, str) or (
            isinstance(found, list) and all(isinstance(turn, dict) for turn in found)
        ):
            queries.append(found)
        else:
            fact = f"line {number} is neither a string nor an object with `prompt` or `messages`"
            problems.append(Problem("query", fact))
    if not problems and not queries:
        problems.append(Problem("query", "there are no queries", "write one JSON value per line"))
    if problems:
        raise InputRefused(problems)
    return queries
