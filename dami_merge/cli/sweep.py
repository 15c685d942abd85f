"""`dami-merge sweep`: answers at every λ, graded, in a file that can be resumed."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dami_merge.cli.output import json_option, refuse_unwritable, show_json
from dami_merge.cli.sweep_view import show_sweep, sweep_meter
from dami_merge.dtypes import FLOAT_NAMES
from dami_merge.errors import UsageError

if TYPE_CHECKING:
    from dami_merge.evaluation.generation import Backend, SamplingSettings
    from dami_merge.grid.recipe import Sampling


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
@click.option("--format", "shape", metavar="NAME", help="Shape of the questions.  [default: by their fields]")
@click.option("--suffix", metavar="TEXT", help="Ends every prompt that is not native.  [default: by kind]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("rollouts.jsonl"),
    show_default=True,
    help="Rollouts, one line a sample; an earlier run's are gone on with.",
)
@click.option(
    "--lambdas", metavar="LIST", help="Only these, such as 0,1/2,1.  [default: the grid's; 0, 0.1, … 1]"
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
    type=click.FloatRange(0, min_open=True),
    default=3600.0,
    show_default=True,
    metavar="S",
    help="Seconds without a byte from the server; an answer comes whole.",
)
@json_option
def sweep_command(  # noqa: PLR0913 - click hands over one argument per option
    *,
    grid: Path,
    recipe: Path | None,
    live: tuple[str, str] | None,
    questions: str | None,
    shape: str | None,
    suffix: str | None,
    output: Path,
    lambdas: str | None,
    limit: int | None,
    samples: int | None,
    temperature: float | None,
    top_p: float | None,
    top_k: int | None,
    max_tokens: int | None,
    seed: int | None,
    grader: str | None,
    device: str,
    dtype: str | None,
    batch_size: int | None,
    base_url: str | None,
    model_name: str,
    api_key: str | None,
    concurrency: int,
    timeout: float,
    as_json: bool,
) -> None:
    """Ask every question K times at every λ, grade the answers, and show what λ buys.

    The models are those of GRID, run in this process by transformers (the extra `sweep`); with --live a pair
    in memory and no grid on disk; with --base-url those of any OpenAI-compatible server.

    Give the same command again after any interruption: what was answered is not asked again. Other settings
    in the same file are refused. `dami-merge report` makes a page of it.
    """
    from dami_merge.evaluation.grading.grader import Grader
    from dami_merge.evaluation.grading.own_grader import grader_name, load_check
    from dami_merge.evaluation.questions.importers import read_questions
    from dami_merge.evaluation.rollouts_file import open_rollouts, read_rollouts, settings_of
    from dami_merge.evaluation.statistics.summary import summarise, sweep_value
    from dami_merge.evaluation.sweep import fill_rollouts
    from dami_merge.evaluation.sweep_recipe import SweepRecipe, over, read_sweep_recipe
    from dami_merge.lambdas import parse_lambdas

    refuse_unwritable(output)
    models = _Swept.live(live) if live else _Swept.grid(grid)
    given = SweepRecipe(
        questions=questions,
        format=shape,
        suffix=suffix,
        limit=limit,
        samples=samples,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        max_tokens=max_tokens,
        seed=seed,
        grader=grader,
    )
    told = over(given, SweepRecipe() if recipe is None else read_sweep_recipe(recipe))
    wanted = _lambdas(parse_lambdas(lambdas) if lambdas else told.exact_lambdas(), models.lambdas)
    sampling = told.sampling(models.sampling)
    source = told.questions or models.questions
    if source is None:
        raise UsageError(
            "no questions were given", hint="--questions FILE; `bundled` is for the bundled pair"
        )
    asked = read_questions(source, shape=told.format, suffix=told.suffix, limit=told.limit)
    check = load_check(told.grader) if told.grader else None
    backend: Backend
    if base_url is not None:
        from dami_merge.backends.conversation import Connection
        from dami_merge.backends.openai import OpenAIBackend
        from dami_merge.router.endpoint import Endpoints

        connection = Connection(api_key=api_key, concurrency=concurrency, timeout_s=timeout)
        backend = OpenAIBackend(Endpoints(base_url, model_name, grid=models.folder), connection)
    else:
        backend, notes = _in_process(models, wanted, sampling, device, dtype, batch_size)
        for note in notes:
            click.echo(f"note: {note}", err=True)
    settings = settings_of(
        backend.describe(), grader_name(told.grader) if told.grader else "default", sampling
    )
    with Grader(check) as judge, open_rollouts(output, settings, asked) as file:
        if file.done:
            click.echo(f"going on with {output}: {file.done:,} answers are there", err=True)
        try:
            with sweep_meter(len(asked) * sampling.samples * len(wanted)) as show:
                fill_rollouts(asked, wanted, backend, sampling, judge, file, on_progress=show)
        except KeyboardInterrupt:
            click.echo(f"every answer is kept in {output}; the same command goes on from there", err=True)
            raise
    report = summarise(read_rollouts(output), seed=sampling.seed)
    if as_json:
        show_json(sweep_value(report))
    else:
        show_sweep(report, output)


@dataclass(frozen=True, slots=True)
class _Swept:
    """What is swept, and what it says of itself.

    Attributes:
        lambdas: That there are; None for any.
        sampling: Its own settings over the defaults.
        questions: That it comes with; None for a user's own pair.
        folder: Of the grid; None for a live pair.
        pair: Names of both sides; None for a grid.
    """

    lambdas: tuple[Fraction, ...] | None
    sampling: "SamplingSettings"
    questions: str | None
    folder: Path | None
    pair: tuple[str, str] | None

    @classmethod
    def grid(cls, folder: Path) -> "_Swept":
        from dami_merge.bundled import BUNDLED_INSTRUCT
        from dami_merge.checkpoint.source import open_source
        from dami_merge.grid.manifest import read_grid

        grid = read_grid(folder)
        bundled = grid.instruct.id == open_source(BUNDLED_INSTRUCT).source_id
        lambdas = tuple(member.lam for member in grid.checkpoints)
        return cls(lambdas, _recorded(grid.recipe.sampling), "bundled" if bundled else None, folder, None)

    @classmethod
    def live(cls, pair: tuple[str, str]) -> "_Swept":
        from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING
        from dami_merge.grid.recipe import Sampling, bundled_recipe

        bundled = pair == (BUNDLED_INSTRUCT, BUNDLED_THINKING)
        sampling = bundled_recipe().sampling if bundled else Sampling()
        return cls(None, _recorded(sampling), "bundled" if bundled else None, None, pair)


def _recorded(sampling: "Sampling") -> "SamplingSettings":
    """The settings of a recipe over the defaults."""
    from dami_merge.evaluation.generation import SamplingSettings

    return SamplingSettings().changed(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=sampling.max_new_tokens,
    )


def _lambdas(wanted: tuple[Fraction, ...] | None, there: tuple[Fraction, ...] | None) -> tuple[Fraction, ...]:
    from dami_merge.lambdas import DEFAULT_STEPS, even_grid, label

    if wanted is None:
        return there or even_grid(DEFAULT_STEPS)
    missing = [label(lam) for lam in wanted if there is not None and lam not in there]
    if missing:
        raise UsageError(
            f"the grid has no λ = {', '.join(missing)}", hint="build it, or sweep the pair with --live"
        )
    return wanted


def _in_process(
    models: _Swept,
    lambdas: Sequence[Fraction],
    sampling: "SamplingSettings",
    device: str,
    dtype: str | None,
    batch_size: int | None,
) -> "tuple[Backend, tuple[str, ...]]":
    from dami_merge.backends.hf import HfBackend

    if models.pair is not None:
        backend = HfBackend.live(*models.pair, device=device, dtype=dtype, batch_size=batch_size)
    else:
        assert models.folder is not None, "a grid where it is no pair"  # noqa: S101
        backend = HfBackend.from_grid(models.folder, device=device, dtype=dtype, batch_size=batch_size)
    return backend, backend.notes(lambdas, sampling)
