"""From a grid or a pair to a report: ask every question at every λ, then grade, store and summarise."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from dami_merge.checkpoint.roles import swapped_note
from dami_merge.errors import UsageError
from dami_merge.evaluation.generation import Backend, Request, all_requests
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.grading.own_grader import OWN_LIMIT_S, OwnGrader, grader_name, load_grader
from dami_merge.evaluation.questions.importers import read_questions
from dami_merge.evaluation.questions.question import Question
from dami_merge.evaluation.rollouts_file import open_rollouts, read_rollouts, settings_of
from dami_merge.evaluation.statistics.summary import SweepReport, summarise
from dami_merge.evaluation.sweep import SweepProgress, fill_rollouts
from dami_merge.evaluation.sweep_recipe import SweepRecipe
from dami_merge.optional import require_installed
from dami_merge.sampling import SamplingSettings
from dami_merge.use_cases.engines import InProcess, Server
from dami_merge.use_cases.planned import planned_requests, read_planned
from dami_merge.use_cases.swept import Swept, SweptPair, questions_of, swept

DEFAULT_SAMPLES = 4
MOST_ANSWERS = 10_000_000
"""Answers of one sweep; a request of each is in memory (1 GB)."""

_ALL_DEFAULTS = SweepRecipe()
_HERE = InProcess()


def sweep(
    models: Swept | str | Path,
    rollouts: str | Path = "rollouts.jsonl",
    recipe: SweepRecipe = _ALL_DEFAULTS,
    *,
    engine: InProcess | Server = _HERE,
    on_note: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[SweepProgress], None] = lambda _: None,
) -> SweepReport:
    """Measure accuracy and tokens at every λ.

    An interrupted sweep is resumed by the same call: samples already in the file are skipped.

    Args:
        models: Folder of a grid, a `SweptGrid`, or a `SweptPair` for a pair in memory.
        rollouts: JSON Lines file, one line per sample; its settings are written beside it.
        recipe: Questions, λ, sampling and grader; what it does not set comes from the models, else from the
            defaults.
        engine: Where the models run.
        on_note: Called with one sentence for each note, before the work begins.
        on_progress: Called for each λ at the start, and after every sample.

    Raises:
        GridUnreadable: grid.json is missing, unreadable or malformed.
        UsageError: A λ, a template or a sampling parameter is invalid, or there are no questions.
        OutputRefused: The file was made with other settings, or another run uses it.
        InputRefused: Questions or rollouts cannot be read.
        BackendError: The backend is unavailable, or returned an unusable answer.
        DiskFull: The disk is full; every finished answer is kept.

    Example:
        >>> from dami_merge import Recipe, build_grid, plan_grid
        >>> recipe = Recipe(instruct="bundled:tiny/instruct", thinking="bundled:tiny/thinking")
        >>> grid = build_grid(plan_grid(recipe, "grid")).path
        >>> report = sweep(grid, "r.jsonl", SweepRecipe(limit=8, samples=1, lambdas=[0, 1], max_tokens=96))
        >>> [float(row.lam) for row in report.overall.rows]
        [0.0, 1.0]
    """
    models, path = swept(models), Path(rollouts)
    if isinstance(models, SweptPair) and (note := swapped_note(models.instruct, models.thinking)):
        on_note(note)
    lambdas = models.choose(recipe.exact_lambdas())
    sampling = recipe.settings(models.sampling)
    source = questions_of(models, recipe.questions)
    questions = read_questions(source, shape=recipe.format, suffix=recipe.suffix, limit=recipe.limit)
    if not recipe.grader:
        _require_default_grader(questions)
    check = _own_grader(recipe)
    backend = _backend(models, engine, lambdas, sampling, on_note)
    grader = grader_name(recipe.grader) if recipe.grader else "default"
    settings = settings_of(backend.describe(), grader, sampling)
    requests = _requests(recipe, questions, lambdas)
    with Grader(check) as judge, open_rollouts(path, settings, questions) as file:
        if file.done:
            on_note(f"resuming {path}, which holds {file.done:,} answer{'' if file.done == 1 else 's'}")
        fill_rollouts(requests, backend, sampling, judge, file, on_progress=on_progress)
    return summarise(read_rollouts(path), seed=sampling.seed)


def _own_grader(recipe: SweepRecipe) -> OwnGrader | None:
    limit_s = OWN_LIMIT_S if recipe.grader_timeout is None else recipe.grader_timeout
    return load_grader(recipe.grader, limit_s=limit_s) if recipe.grader else None


def _require_default_grader(questions: Sequence[Question]) -> None:
    """Refuse, before any model runs, questions whose answers could then not be graded."""
    if any(question.kind == "math" for question in questions):
        require_installed("math_verify", "grading mathematics", extra="sweep")


def _requests(
    recipe: SweepRecipe, questions: Sequence[Question], lambdas: Sequence[Fraction]
) -> tuple[Request, ...]:
    if recipe.plan is not None:
        if recipe.samples is not None:
            raise UsageError("a plan and a number of samples were given", hint="the plan has its own numbers")
        return planned_requests(read_planned(Path(recipe.plan)), questions, lambdas)
    samples = recipe.samples or DEFAULT_SAMPLES
    count = len(questions) * len(lambdas) * samples
    if count > MOST_ANSWERS:
        raise UsageError(
            f"{len(questions):,} questions × {len(lambdas):,} λ × {samples:,} samples are more than"
            f" {MOST_ANSWERS:,} answers",
            hint="use a smaller --samples or --limit, or sweep some λ at a time into files of their own",
        )
    return all_requests(questions, lambdas, samples)


def _backend(
    models: Swept,
    engine: InProcess | Server,
    lambdas: Sequence[Fraction],
    sampling: SamplingSettings,
    on_note: Callable[[str], None],
) -> Backend:
    if isinstance(engine, Server):
        return _on_server(models, engine)
    local = models.in_process(engine)
    for note in local.notes(lambdas, sampling):
        on_note(note)
    return local


def _on_server(models: Swept, server: Server) -> Backend:
    from dami_merge.backends.conversation import Connection
    from dami_merge.backends.openai import OpenAIBackend

    connection = Connection(
        api_key=server.api_key, concurrency=server.concurrency, timeout_s=server.timeout_s
    )
    return OpenAIBackend(models.endpoints(server), connection)
