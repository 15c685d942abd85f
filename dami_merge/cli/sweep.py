"""`dami-merge sweep`: graded answers at every λ, in a file that can be resumed."""

from pathlib import Path

import click

from dami_merge.cli.gathered import gathered
from dami_merge.cli.output import json_option, refuse_unwritable, show_json
from dami_merge.cli.sweep_view import show_sweep, sweep_meter
from dami_merge.dtypes import FLOAT_NAMES
from dami_merge.evaluation.sweep_recipe import SweepRecipe
from dami_merge.use_cases.engines import InProcess, Server


def _split(_: click.Context, __: click.Parameter, text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")


@click.command(short_help="Measure accuracy and tokens at every λ.")
@click.argument("grid", type=click.Path(readable=False, path_type=Path), default=Path("grid"))
@click.option(
    "--recipe",
    type=click.Path(readable=False, path_type=Path),
    help="YAML file with questions, λ, sampling and grader; flags override it.",
)
@click.option(
    "--live",
    nargs=2,
    metavar="INSTRUCT THINKING",
    help="Sweep these two models, interpolated in memory, instead of a grid.",
)
@click.option(
    "--questions",
    metavar="SOURCE",
    help="Questions: FILE, bundled[:SPLIT], hf:ORG/NAME[:CONFIG][:SPLIT] or gym:NAME:COUNT."
    "  [default: bundled, for the bundled pair]",
)
@click.option(
    "--format",
    metavar="NAME",
    help="Format of the questions, such as gsm8k.  [default: detected from the fields]",
)
@click.option(
    "--suffix",
    metavar="TEXT",
    help="Text appended to every prompt not given as `prompt` or `messages`.  [default: by kind of answer]",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(readable=False, path_type=Path),
    default=Path("rollouts.jsonl"),
    show_default=True,
    help="Rollouts file, one line per sample; an existing file is resumed.",
)
@click.option(
    "--lambdas",
    callback=_split,
    metavar="LIST",
    help="Sweep only these λ, such as 0,1/2,1.  [default: all of the grid; with --live 0, 0.1, …, 1]",
)
@click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Use only the first N questions.  [default: all]"
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="K",
    help="Answers per question and λ.  [default: 4]",
)
@click.option(
    "--plan",
    metavar="FILE",
    help="Generate only the answers that this file names, which `dami-merge plan-rollouts` wrote.",
)
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    metavar="T",
    help="Sampling temperature; 0 is greedy.  [default: the grid's, else 0.6]",
)
@click.option(
    "--top-p",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="P",
    help="Nucleus sampling threshold.  [default: the grid's, else 0.95]",
)
@click.option(
    "--top-k",
    type=click.IntRange(0),
    metavar="K",
    help="Sample from the K most likely tokens; 0 disables it.  [default: the grid's, else 20]",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(1),
    metavar="N",
    help="Cap on the tokens of an answer; a truncated answer is wrong and counts as the whole cap."
    "  [default: the grid's, else 81920]",
)
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Seed of every random draw.  [default: 0]")
@click.option(
    "--grader",
    metavar="MODULE:FUNCTION",
    help="Your own grader, called as function(question, answer_text) -> bool; MODULE may be a .py file."
    "  [default: by kind of answer]",
)
@click.option(
    "--grader-timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="Seconds that your own grader has for one answer.  [default: 60]",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device for models in this process: auto, cpu, cuda, cuda:1 or mps.",
)
@click.option(
    "--dtype",
    type=click.Choice(FLOAT_NAMES),
    help="Dtype of the model in memory.  [default: the stored dtype]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    metavar="N",
    help="Answers generated at once in this process.  [default: as many as fit in memory]",
)
@click.option(
    "--base-url",
    metavar="URL",
    help="Use an OpenAI-compatible server at this URL, which may contain {lambda} or {name}, and {model} or"
    " {path} of a grid's checkpoint.",
)
@click.option(
    "--model-name",
    metavar="TEMPLATE",
    default="",
    help="Name of the model on the server; may contain {model}, {path}, {lambda} or {name}."
    "  [default: {model}]",
)
@click.option("--api-key", envvar="OPENAI_API_KEY", show_envvar=True, help="API key of the server.")
@click.option(
    "--concurrency",
    type=click.IntRange(1),
    default=32,
    show_default=True,
    metavar="N",
    help="Maximum number of requests in flight.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=3600.0,
    show_default=True,
    metavar="S",
    help="Seconds to wait for a byte from the server, which sends an answer only when it is complete.",
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

    The checkpoints of GRID run in this process with transformers (the extra `sweep`). With --live, a pair is
    interpolated in memory, without a grid on disk. With --base-url, any OpenAI-compatible server answers.

    To resume after an interruption, run the same command again: answers already in the file are skipped. A
    file that was made with other settings is refused. `dami-merge report` turns the file into a page.
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
        click.echo(f"every answer is kept in {output}; run the same command again to resume", err=True)
        raise
    if as_json:
        show_json(sweep_value(report))
    else:
        show_sweep(report, output)
