"""From rollouts of test questions to a verdict on estimators."""

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from dami_merge.errors import InputRefused, Problem, UsageError
from dami_merge.estimators.deciding import QueryEstimator
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.judge.contest import Say, Trial, contest, static_points
from dami_merge.estimators.judge.dialled import static_metrics
from dami_merge.estimators.judge.evaluated import EvaluationReport, ShownQuery
from dami_merge.estimators.judge.judgement import bench
from dami_merge.estimators.judge.predictions import co_failures
from dami_merge.estimators.judge.signatures import need
from dami_merge.evaluation.rollouts_file import read_sidecar
from dami_merge.grid.manifest import Grid, read_grid, weights_digest
from dami_merge.lambdas import label
from dami_merge.use_cases.entrants import (
    CONTROLS,
    ENTRIES,
    Maker,
    entrant,
    entry_name,
    fitted_entry,
    opened_artefacts,
    predicts,
)
from dami_merge.use_cases.evaluation import Evaluation
from dami_merge.use_cases.train import read_examples

_SHOWN = 6


def evaluate_estimators(
    evaluation: Evaluation, grid: str | Path, *, on_step: Callable[[str], None] = lambda _: None
) -> EvaluationReport:
    """Judge estimators on test questions.

    Args:
        evaluation: What is judged, and on what.
        grid: Folder of the grid that was swept.
        on_step: Called with what is done next.

    Raises:
        UsageError: There is nothing to judge, a kind or goal is not possible, or another grid was swept.
        InputRefused: Rollouts or estimators cannot be read, belong to other weights, or have no λ in common;
            or a test question was also trained on.
        GridUnreadable: grid.json is missing, unreadable or malformed.
    """
    root, manifest = Path(grid), read_grid(Path(grid))
    on_step("reading the rollouts")
    parts = _parts(evaluation, manifest)
    _refuse(evaluation, parts)
    made = Maker(root, evaluation)
    entered = opened_artefacts(evaluation, manifest, root, made)
    trained_on = parts.get("train")
    if trained_on is not None:
        entries = ENTRIES if evaluation.entries is None else evaluation.entries
        controls = CONTROLS if evaluation.controls is None else evaluation.controls
        for entry in (*entries, *controls):
            on_step(f"fitting {entry_name(entry)}")
            entered.append(fitted_entry(entry, made, trained_on))
    if not entered:
        raise UsageError("there is nothing to evaluate", hint="give --estimator, or --train to fit some")
    lambdas = _common(parts, [each.opened[0] for each in entered])
    narrow = {name: part.at(lambdas) for name, part in parts.items()}
    trial = Trial(
        test=narrow["test"],
        train=narrow.get("train"),
        heldout=narrow.get("heldout"),
        paraphrased=narrow.get("paraphrased"),
        shuffles=evaluation.seeds,
        seed=evaluation.seed,
    )
    rows = contest(trial, [each.contender for each in entered], lambda name: on_step(f"judging {name}"))
    by = next((each for each in entered if predicts(each, trial.test)), None)
    return EvaluationReport(
        queries=len(trial.test),
        answers=int(trial.test.samples.sum()),
        lambdas=lambdas,
        static=static_points(trial),
        static_metrics=static_metrics(bench(trial.test, seed=trial.seed)),
        co_failures=co_failures(trial.test),
        seeds=evaluation.seeds,
        entrants=tuple(entrant(each, trial.test) for each in entered),
        rows=rows,
        shown=() if by is None else _shown(trial.test, by.contender.fitted[0]),
        shown_by="" if by is None else by.contender.name,
    )


def _parts(evaluation: Evaluation, manifest: Grid) -> dict[str, Examples]:
    """Read all rollouts and refuse those of other weights."""
    named = {
        "test": evaluation.rollouts,
        "train": evaluation.train,
        "heldout": evaluation.heldout,
        "paraphrased": evaluation.paraphrased,
    }
    found = {}
    for name, path in named.items():
        if path is None:
            continue
        swept = read_sidecar(path).settings.backend.get("weights")
        if swept is not None and swept != weights_digest(manifest):
            fact = f"{path} holds answers of other weights than those of the grid {manifest.name}"
            raise UsageError(fact, hint="give the grid that was swept")
        found[name] = read_examples(path)
    return found


def _refuse(evaluation: Evaluation, parts: Mapping[str, Examples]) -> None:
    """Refuse questions that were trained on: whatever is measured on them means nothing."""
    if "train" not in parts:
        return
    trained = {tuple(each.messages) for each in parts["train"].questions}
    problems = []
    for name, path in (("test", evaluation.rollouts), ("heldout", evaluation.heldout)):
        if name not in parts:
            continue
        twice = [each.id for each in parts[name].questions if tuple(each.messages) in trained]
        if twice:
            fact = (
                f"{len(twice):,} of {len(parts[name]):,} questions of {path}, such as {twice[0]!r}, are"
                f" also in {evaluation.train}"
            )
            problems.append(Problem("trained-on", fact, "split by question"))
    if problems:
        raise InputRefused(problems)


def _common(parts: Mapping[str, Examples], opened: Sequence[QueryEstimator]) -> tuple[Fraction, ...]:
    """The λ that all rollouts and estimators have, which must include both ends of the test rollouts."""
    own = parts["test"].lambdas
    sets = [set(part.lambdas) for part in parts.values()] + [set(each.lambdas) for each in opened]
    shared = tuple(lam for lam in own if all(lam in each for each in sets))
    missing = [lam for lam in (own[0], own[-1]) if lam not in shared]
    if missing:
        shown = " and ".join(map(label, missing))
        fact = f"λ = {shown} of the test rollouts is missing in other rollouts or in an estimator"
        raise InputRefused([Problem("lambda", fact, "sweep and train with the same λ")])
    return shared


def _shown(test: Examples, say: Say) -> tuple[ShownQuery, ...]:
    """Queries from the least to the greatest need of thinking, at equal distances."""
    order = np.argsort(need(test), kind="stable")
    places = order[np.linspace(0, len(order) - 1, min(_SHOWN, len(order))).astype(np.int64)]
    part = test.part(places)
    said = say(part)
    return tuple(
        ShownQuery(
            prompt=question.messages[-1].content,
            group=question.group,
            accuracy=tuple(part.accuracy[row].tolist()),
            tokens=tuple(part.tokens[row].tolist()),
            predicted=tuple(said.estimate.value[row].tolist()),
            cost=tuple(said.estimate.cost[row].tolist()),
            chosen=test.lambdas[int(said.places[row])],
        )
        for row, question in enumerate(part.questions)
    )
