"""`dami-merge sweep`: answers at every λ, graded, in a file that can be resumed."""

from pathlib import Path

import click

from dami_merge.cli.gathered import gathered
from dami_merge.cli.output import json_option, refuse_unwritable, show_json
from dami_merge.cli.sweep_view import show_sweep, sweep_meter
from dami_merge.dtypes import FLOAT_NAMES
from dami_merge.evaluation.sweep_recipe import SweepRecipe
from dami_merge.use_cases.engines import InProcess, Server


def _split(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
    return text.split(",") if text else None


@click.command(short_help="Measure accuracy and tokens at every λ.")
@click.argument("grid", type=click.Path(path_type=Path), default=Path("grid"))
@click.option(
    "--recipe",
    type=click.Path(path_type=Path),
    help="YAML file of questions, λ, sampling and grader; flags override it.",
)
@click.option("--live", nargs=2, metavar="INSTRUCT THINKING", help="A pair in memory, and no grid.")
@click.option(
    "--questions",
    metavar="SOURCE",
    help="FILE, bundled[:SPLIT], hf:ORG/NAME[:CONFIG][:SPLIT], gym:NAME:COUNT."
    "  [default: bundled, for the bundled pair]",
)
@click.option("--format", metavar="NAME", help="Shape of the questions.  [default: by their fields]")
@click.option("--suffix", metavar="TEXT", help="Ends every prompt that is not native.  [default: by kind]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("rollouts.jsonl"),
    show_default=True,
    help="Rollouts file, one line per sample; an existing file is resumed.",
)
@click.option(
    "--lambdas",
    callback=_split,
    metavar="LIST",
    help="Only these, such as 0,1/2,1.  [default: the grid's; 0, 0.1, … 1]",
)
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Take N questions.  [default: all]")
@click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="K",
    help="Answers for each question and λ.  [default: 4]",
)
@click.option("--temperature", type=click.FloatRange(0), help="0 is greedy.  [default: the grid's, 0.6]")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="[default: the grid's, 0.95]")
@click.option("--top-k", type=click.IntRange(0), help="0 is off.  [default: the grid's, 20]")
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Cap of an answer; a cut one is wrong and costs it.  [default: the grid's, 81920]",
)
@click.option("--seed", type=int, help="Of everything random.  [default: 0]")
@click.option("--grader", metavar="MODULE:FUNCTION", help="Yours: (question, answer text) -> bool.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
@click.option(
    "--dtype", type=click.Choice(FLOAT_NAMES), help="Of the model in memory.  [default: what is stored]"
)
@click.option("--batch-size", type=click.IntRange(1), metavar="N", help="[default: what fits in memory]")
@click.option(
    "--base-url", metavar="URL", help="Ask an OpenAI-compatible server; may hold {lambda} or {name}."
)
@click.option(
    "--model-name",
    metavar="TEMPLATE",
    default="",
    help="At the server; may hold {model}, {path}, {lambda}, {name}.  [default: {model}]",
)
@click.option("--api-key", envvar="OPENAI_API_KEY", show_envvar=True, help="Of the server.")
@click.option(
    "--concurrency", type=click.IntRange(1), default=32, show_default=True, help="Requests at once."
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=3600.0,
    show_default=True,
    metavar="S",
    help="Seconds without a byte from the server; an answer comes whole.",
)
@json_option
@gathered(SweepRecipe, "given")
@gathered(InProcess, "in_process")
@gathered(Server, "server")
def sweep_command(  # noqa: PLR0913 - one argument per group of options
    *,
    grid: Path,
    recipe: Path | None,
    live: tuple[str, str] | None,
    given: SweepRecipe,
    output: Path,
    in_process: InProcess,
    server: Server,
    as_json: bool,
) -> None:
    """Ask every question K times at every λ, grade the answers, and show what λ buys.

    The models are those of GRID, run in this process by transformers (the extra `sweep`); with --live those
    of a pair in memory, without a grid on disk; with --base-url those of any OpenAI-compatible server.

    Give the same command again after any interruption: answers already in the file are skipped. Other
    settings in the same file are refused. `dami-merge report` makes a page of it.
    """
    from dami_merge.evaluation.statistics.summary import sweep_value
    from dami_merge.evaluation.sweep_recipe import over, read_sweep_recipe
    from dami_merge.use_cases.sweep import sweep
    from dami_merge.use_cases.swept import SweptGrid, SweptPair

    refuse_unwritable(output)
    models = SweptPair.open(*live) if live else SweptGrid.open(grid)
    stated = over(given, SweepRecipe() if recipe is None else read_sweep_recipe(recipe))
    try:
        with sweep_meter() as show:
            report = sweep(
                models,
                output,
                stated,
                engine=server if server.base_url else in_process,
                on_note=lambda note: click.echo(f"note: {note}", err=True),
                on_progress=show,
            )
    except KeyboardInterrupt:
        click.echo(f"every answer is kept in {output}; the same command resumes the sweep", err=True)
        raise
    if as_json:
        show_json(sweep_value(report))
    else:
        show_sweep(report, output)
