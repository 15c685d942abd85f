"""Map a query or a λ to the nearest available checkpoint of a grid, with the reason.

The router decides; it does not proxy. It needs only the manifest and, for a trained estimator, numpy: no
torch, network or model. A failing estimator never silently lowers λ: a declared fallback is used, by
default the largest available λ.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from dami_merge.errors import EstimatorError, UsageError
from dami_merge.grid.manifest import Grid, read_grid
from dami_merge.lambdas import exact, label, nearest, parse_lambda, require_available

if TYPE_CHECKING:
    from dami_merge.estimators.deciding import Explained, QueryEstimator
    from dami_merge.estimators.goal import Goal

LambdaLike = str | float | Fraction
Query = str | Sequence[Mapping[str, object]]
"""A prompt or OpenAI `messages`; passed to the estimator unchanged."""

Estimator = Callable[[Query], LambdaLike]

RouteSource = Literal["override", "estimator", "guard", "fallback"]


@dataclass(frozen=True, slots=True)
class Route:
    """One routing decision.

    Attributes:
        model: Served model name of the chosen checkpoint.
        path: Folder of the chosen checkpoint.
        lam: Exact λ of the chosen checkpoint.
        wanted: The requested λ; None if the estimator failed.
        source: `override` for a λ given by the caller; `estimator`; `guard` if the estimator's guard kept
            the best λ for all queries; or `fallback`.
        reason: One sentence for a log.
        error: The estimator's error; empty if it succeeded or was not called.
        spent: Tokens that the decision itself cost, such as those of probes.
    """

    model: str
    path: Path
    lam: Fraction
    wanted: Fraction | None
    source: RouteSource
    reason: str
    error: str = ""
    spent: float = 0.0


class Router:
    """Picks the nearest checkpoint of one grid. Immutable, so it can be shared between threads.

    Example:
        >>> from dami_merge import Recipe, build_grid, plan_grid
        >>> pair = {"instruct": "bundled:tiny/instruct", "thinking": "bundled:tiny/thinking"}
        >>> built = build_grid(plan_grid(Recipe(**pair, name="tiny"), "grid"))
        >>> router = Router.from_grid("grid", estimator=lambda query: 0.37)
        >>> router.route("What is 2+2?").model
        'tiny-lambda-0.40'
    """

    def __init__(
        self,
        grid: Grid,
        root: Path,
        *,
        estimator: "Estimator | QueryEstimator | None" = None,
        fallback: LambdaLike | None = None,
    ) -> None:
        """Build a router from a manifest that is already read; see `from_grid`."""
        self._members = MappingProxyType({member.lam: member for member in grid.checkpoints})
        self._root = root
        self._estimator = estimator
        self._fallback = None if fallback is None else exact(fallback)

    @classmethod
    def from_grid(
        cls,
        folder: str | Path,
        *,
        estimator: "Estimator | QueryEstimator | str | Path | None" = None,
        goal: "Goal | None" = None,
        fallback: LambdaLike | None = None,
        any_weights: bool = False,
    ) -> "Router":
        """Open a grid built by `dami-merge grid`; reads grid.json, and the files of a trained estimator.

        Args:
            folder: The grid's folder.
            estimator: The folder of a trained estimator, `bundled`, or any function from a query to λ.
            goal: What is asked of a trained estimator; None means what it was trained for.
            fallback: The λ to use when the estimator fails; None means the largest available λ.
            any_weights: Accept an estimator that was trained on answers of other weights.

        Raises:
            GridUnreadable: grid.json is missing, unreadable or malformed.
            LambdaError: `fallback` is not a valid λ.
            InputRefused: The estimator cannot be read, or belongs to other weights.
            UsageError: The goal cannot be met, or there is no trained estimator to meet it.
        """
        root = Path(folder)
        grid = read_grid(root)
        if isinstance(estimator, str | Path):
            from dami_merge.estimators.for_grid import estimator_for

            estimator = estimator_for(grid, root, estimator, goal=goal, any_weights=any_weights)
        elif goal is not None:
            raise UsageError(
                "a goal was given without a trained estimator",
                hint="give the folder of one, or open it with QueryEstimator.open(…, goal=…)",
            )
        return cls(grid, root, estimator=estimator, fallback=fallback)

    @property
    def lambdas(self) -> tuple[Fraction, ...]:
        """The λ of the grid, sorted."""
        return tuple(sorted(self._members))

    def nearest(self, lam: LambdaLike, *, available: Collection[LambdaLike] | None = None) -> Route:
        """Return the checkpoint nearest to a λ; of two equally near, the one with the smaller λ.

        Args:
            lam: λ in [0, 1]. A float is read as the shortest decimal that round-trips to it, so that 0.35
                lies exactly between 0.3 and 0.4.
            available: The λ that are being served; None means the whole grid.

        Raises:
            LambdaError: `lam` is not a valid λ, or `available` is empty or names a λ that is not in the
                grid.
        """
        wanted = exact(lam)
        return self._route(wanted, wanted, self._available(available), "override")

    def route(self, query: Query, *, available: Collection[LambdaLike] | None = None) -> Route:
        """Call the estimator for λ(q) and choose the nearest checkpoint.

        If the estimator raises, or returns NaN or anything else outside [0, 1], the fallback is used and the
        result says so.

        Args:
            query: A prompt or OpenAI `messages`.
            available: The λ that are being served; None means the whole grid.

        Raises:
            EstimatorError: The router has no estimator.
            LambdaError: `available` is empty or names a λ that is not in the grid.
        """
        return self.route_batch([query], available=available)[0]

    def route_batch(
        self,
        queries: Sequence[Query],
        *,
        available: Collection[LambdaLike] | None = None,
        budget: float | None = None,
    ) -> list[Route]:
        """Route several queries as `route` does, with one call of a trained estimator.

        Args:
            queries: Prompts or OpenAI `messages`.
            available: The λ that are being served; None means the whole grid.
            budget: Mean tokens that these queries may spend together, as predicted; None means no limit.

        Raises:
            EstimatorError: The router has no estimator.
            UsageError: A budget was given to a function, which predicts no tokens.
            LambdaError: `available` is empty or names a λ that is not in the grid.
        """
        if self._estimator is None:
            raise EstimatorError(
                "this router has no estimator",
                hint="pass one to Router.from_grid(…, estimator=…), or call .nearest(λ)",
            )
        served = self._available(available)
        if callable(self._estimator):
            if budget is not None:
                raise UsageError(
                    "a function from a query to λ predicts no tokens", hint="use a trained estimator"
                )
            return [self._called(self._estimator, query, served) for query in queries]
        return self._decided(self._estimator, queries, served, budget)

    def _decided(
        self,
        estimator: "QueryEstimator",
        queries: Sequence[Query],
        served: Collection[Fraction],
        budget: float | None,
    ) -> list[Route]:
        """Ask a trained estimator for one of the served λ, or for any if it knows none of them."""
        known = [lam for lam in estimator.lambdas if lam in served] or None
        try:
            found = estimator.decide(queries, available=known, budget=budget)
        except Exception as error:  # noqa: BLE001 - whatever fails, a query must still be answered
            if len(queries) == 1:
                return [self._fallen_back(error, served)]
            # one query may have spoilt it for all
            return [route for query in queries for route in self._decided(estimator, [query], served, budget)]
        return self._explained(found, f"{estimator.kind} at μ = {found.policy.mu:.3g}", served)

    def _explained(self, found: "Explained", name: str, served: Collection[Fraction]) -> list[Route]:
        routes = []
        for each in found.decisions:
            route = self._route(each.lam, each.lam, served, "guard" if each.held else "estimator")
            why = f"{name} is not sure enough to leave the best λ for all queries" if each.held else name
            routes.append(replace(route, spent=each.spent, reason=f"{why}: {route.reason}"))
        return routes

    def _called(self, estimator: Estimator, query: Query, served: Collection[Fraction]) -> Route:
        try:
            wanted = exact(estimator(query))
        except Exception as error:  # noqa: BLE001 - the estimator is user code; a query must still be answered
            return self._fallen_back(error, served)
        return self._route(wanted, wanted, served, "estimator")

    def _fallen_back(self, error: Exception, served: Collection[Fraction]) -> Route:
        target = max(served) if self._fallback is None else self._fallback
        return self._route(target, None, served, "fallback", f"{type(error).__name__}: {error}")

    def _available(self, available: Collection[LambdaLike] | None) -> Collection[Fraction]:
        if available is None:
            return self._members.keys()
        served = {parse_lambda(lam) for lam in available}
        require_available(served, self._members)
        return served

    def _route(
        self,
        target: Fraction,
        wanted: Fraction | None,
        served: Collection[Fraction],
        source: RouteSource,
        error: str = "",
    ) -> Route:
        chosen = nearest(target, served)
        member = self._members[chosen]
        asked = f"λ = {float(target):.4g} requested" if wanted is not None else "the estimator failed"
        return Route(
            model=member.served_model_name,
            path=self._root / member.path,
            lam=chosen,
            wanted=wanted,
            source=source,
            reason=f"{asked}; the nearest of {len(served)} available is {label(chosen)}",
            error=error,
        )
