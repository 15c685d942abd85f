"""Route some queries and keep all that led to each decision."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import msgspec

from dami_merge.estimators.deciding import AnyQuery, Explained
from dami_merge.estimators.for_grid import BUNDLED_NAME, estimator_for
from dami_merge.estimators.goal import Goal, Setting
from dami_merge.grid.manifest import read_grid
from dami_merge.router.route import Route, Router


class LambdaRow(msgspec.Struct, frozen=True):
    """What a decision looked at for one λ.

    Attributes:
        lam: λ; named `lambda` in JSON.
        value: Probability of a correct answer, or a utility.
        cost: Expected tokens.
        utility: Value minus the price of the cost.
        error: Standard error of the value against that of the best λ for all queries.
    """

    lam: Fraction = msgspec.field(name="lambda")
    value: float
    cost: float
    utility: float
    error: float


class RouteExplained(msgspec.Struct, frozen=True, kw_only=True):
    """One decision and its reasons.

    Attributes:
        route: The decision.
        kind: Kind of estimator.
        features: Its features.
        values: `curves` or `scores`: what `value` means.
        novel: Whether the query is unlike those that the estimator was fitted on.
        static: The best λ for all queries at this price.
        setting: Price, guard, and what was measured with them.
        rows: What was looked at for every λ, ascending.
    """

    route: Route
    kind: str
    features: str
    values: str
    novel: bool
    static: Fraction
    setting: Setting
    rows: tuple[LambdaRow, ...]


def explain_routes(
    grid: str | Path,
    queries: Sequence[AnyQuery],
    *,
    estimator: str | Path = BUNDLED_NAME,
    goal: Goal | None = None,
    any_weights: bool = False,
) -> list[RouteExplained]:
    """Route queries of a grid.

    Args:
        grid: Folder of the grid.
        queries: Prompts or OpenAI `messages`.
        estimator: Folder of a trained estimator, or `bundled`.
        goal: What is asked; None means what the estimator was trained for.
        any_weights: Accept an estimator of other weights.

    Raises:
        GridUnreadable: grid.json is missing, unreadable or malformed.
        InputRefused: The estimator cannot be read, or belongs to other weights.
        UsageError: The goal cannot be met.
    """
    root = Path(grid)
    manifest = read_grid(root)
    opened = estimator_for(manifest, root, estimator, goal=goal, any_weights=any_weights)
    router = Router(manifest, root, estimator=opened)
    known = [lam for lam in opened.lambdas if lam in set(router.lambdas)]
    found = opened.decide(queries, available=known or None)
    routes = router.route_batch(queries)
    return [
        RouteExplained(
            route=route,
            kind=opened.trained.fitted.kind,
            features=opened.trained.features_name,
            values=found.estimate.kind,
            novel=found.decisions[place].novel,
            static=opened.lambdas[int(found.policy.static.argmax())],
            setting=found.setting,
            rows=_rows(found, place, opened.lambdas),
        )
        for place, route in enumerate(routes)
    ]


def _rows(found: Explained, place: int, lambdas: Sequence[Fraction]) -> tuple[LambdaRow, ...]:
    errors = found.estimate.gap_error(int(found.policy.static.argmax()))[place]
    columns = (found.estimate.value[place], found.estimate.cost[place], found.choices.utility[place], errors)
    return tuple(
        LambdaRow(lam, *map(float, numbers))
        for lam, numbers in zip(lambdas, zip(*columns, strict=True), strict=True)
    )
