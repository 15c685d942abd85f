"""From measured queries to a trained estimator: fit, predict out of fold, meet the goal. Imports torch."""

from collections.abc import Callable, Mapping

import msgspec
import numpy as np

from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.artefact import Trained
from dami_merge.estimators.deciding import inputs_of, messages_of
from dami_merge.estimators.declaration import Origin
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.fitted import Features, FittedEstimator, Inputs, Scalar
from dami_merge.estimators.fitting.fits import FITS
from dami_merge.estimators.goal import Goal, resolve
from dami_merge.estimators.out_of_fold import out_of_fold
from dami_merge.estimators.tradeoff import trade_off

FEWEST_QUERIES = 20
"""With fewer queries, nothing that is measured out of fold means anything. Source: ours."""

CHECKED_QUERIES = 8

DRAWS_OF_FOLDS = 8
"""Resamples of the fits out of fold, which only the guard needs."""

_CHOSEN_BY_THE_FIT = ("ridge", "neighbours", "clusters")


class Plan(msgspec.Struct, frozen=True):
    """How an estimator is trained.

    Attributes:
        kind: Kind of estimator, one of `FITS`.
        options: Options of the fit.
        goal: What is asked of it by default.
        folds: Parts for predictions out of fold.
        seed: Seed of folds and resamples.
    """

    kind: str
    options: dict[str, Scalar]
    goal: Goal
    folds: int = 5
    seed: int = 0


def train(
    plan: Plan,
    examples: Examples,
    features: Features,
    *,
    weights: str = "",
    rollouts: str = "",
    on_step: Callable[[str, int, int], None] = lambda _, __, ___: None,
) -> Trained:
    """Train an estimator on measured queries.

    Args:
        plan: How.
        examples: The queries and their answers.
        features: What the estimator sees of a query.
        weights: Digest of the grid's weights.
        rollouts: Digest of the rollouts file.
        on_step: Called with what is done, and how many steps of how many.

    Raises:
        InputRefused: There are too few queries, or they do not allow a fit.
        UsageError: An option is unknown, or the goal cannot be met.
    """
    if len(examples) < FEWEST_QUERIES:
        fact = f"{len(examples)} queries have answers at every λ; an estimator needs {FEWEST_QUERIES}"
        raise InputRefused([Problem("few-queries", fact, "sweep more questions")])
    on_step("features", 0, plan.folds + 2)
    inputs = inputs_of(features, examples.questions)
    on_step("fit", 1, plan.folds + 2)
    fitted = FITS[plan.kind](examples, inputs, plan.options, plan.seed)
    chosen = _as_chosen(plan.options, fitted.settings())

    def again(part: Examples, own: Inputs, seed: int) -> FittedEstimator:
        return FITS[plan.kind](part, own, chosen, seed)

    estimate = out_of_fold(
        again, examples, inputs, parts=plan.folds, seed=plan.seed,
        on_part=lambda done, all_: on_step("folds", 1 + done, all_ + 2),
    )  # fmt: skip
    table = trade_off(estimate, examples, inputs.spent)
    shown = np.linspace(0, len(examples) - 1, CHECKED_QUERIES).astype(np.int64)
    return Trained(
        fitted=fitted,
        features_name=features.spec,
        described=features.describe(),
        tradeoff=table,
        goal=plan.goal,
        setting=resolve(plan.goal, table),
        origin=Origin(
            weights=weights,
            rollouts=rollouts,
            settings=examples.settings,
            queries=len(examples),
            samples=int(examples.samples.sum()),
            seed=plan.seed,
        ),
        checked=tuple(messages_of(examples.questions[place]) for place in shown.tolist()),
        vectors=inputs.vectors[shown],
    )


def _as_chosen(options: Mapping[str, Scalar], settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Options for the folds: what cross-validation chose once is not chosen again for each fold."""
    chosen = {name: settings[name] for name in _CHOSEN_BY_THE_FIT if settings.get(name)}
    draws = settings.get("draws")
    fewer = {"draws": min(draws, DRAWS_OF_FOLDS)} if isinstance(draws, int) else {}
    return dict(options) | chosen | fewer
