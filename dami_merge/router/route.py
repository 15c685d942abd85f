"""From a query, or a λ, to the nearest available checkpoint of a grid, with the reason.

The router decides; it does not proxy. Standard library and the manifest only: no torch, no network, no model.
An estimator that fails never lowers the λ: the fallback is a stated one, by default the strongest available.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from dami_merge.errors import EstimatorError
from dami_merge.grid.manifest import Grid, read_grid
from dami_merge.lambdas import exact, label, nearest, parse_lambda, require_available

LambdaLike = str | float | Fraction
Query = str | Sequence[Mapping[str, object]]
"""A prompt, or OpenAI `messages`; handed to the estimator as it came."""

Estimator = Callable[[Query], LambdaLike]


@dataclass(frozen=True, slots=True)
class Route:
    """One decision.

    Attributes:
        model: Served model name of the chosen checkpoint.
        path: Its folder.
        lam: Its λ, exactly.
        wanted: The λ that was asked for; None if the estimator failed.
        source: `override` for a λ given by the caller, `estimator`, or `fallback`.
        reason: One sentence for a log.
        error: What went wrong in the estimator; empty otherwise.
    """

    model: str
    path: Path
    lam: Fraction
    wanted: Fraction | None
    source: Literal["override", "estimator", "fallback"]
    reason: str
    error: str = ""


class Router:
    """Picks the nearest checkpoint of one grid. Immutable, so it may be shared between threads.

    Example:
        >>> router = Router.from_grid("grid", estimator=lambda query: 0.37)  # doctest: +SKIP
        >>> router.route("What is 2+2?").model  # doctest: +SKIP
        'tiny-lambda-0.40'
    """

    def __init__(
        self,
        grid: Grid,
        root: Path,
        *,
        estimator: Estimator | None = None,
        fallback: LambdaLike | None = None,
    ) -> None:
        """See `from_grid`, which reads the manifest."""
        self._members = MappingProxyType({member.lam: member for member in grid.checkpoints})
        self._root = root
        self._estimator = estimator
        self._fallback = None if fallback is None else exact(fallback)

    @classmethod
    def from_grid(
        cls,
        folder: str | Path,
        *,
        estimator: Estimator | None = None,
        fallback: LambdaLike | None = None,
    ) -> "Router":
        """Open a grid that `dami-merge grid` built; reads grid.json only.

        Args:
            folder: The grid's folder.
            estimator: From a query to λ; called by `route`.
            fallback: The λ to take when the estimator fails; None is the largest that is available.

        Raises:
            GridUnreadable: There is no readable grid.json.
            LambdaError: `fallback` is not a λ.
        """
        root = Path(folder)
        return cls(read_grid(root), root, estimator=estimator, fallback=fallback)

    @property
    def lambdas(self) -> tuple[Fraction, ...]:
        """The λ of the grid, sorted."""
        return tuple(sorted(self._members))

    def nearest(self, lam: LambdaLike, *, available: Collection[LambdaLike] | None = None) -> Route:
        """The checkpoint nearest to a λ; of two equally near, the smaller λ.

        Args:
            lam: In [0, 1]. A float is read as the shortest decimal that denotes it, so that 0.35 lies
                exactly between 0.3 and 0.4.
            available: The λ that are served now; None is the whole grid.

        Raises:
            LambdaError: `lam` is not a λ, or `available` is empty or names one that is not in the grid.
        """
        wanted = exact(lam)
        return self._route(wanted, wanted, self._available(available), "override")

    def route(self, query: Query, *, available: Collection[LambdaLike] | None = None) -> Route:
        """Ask the estimator for λ(q) and take the nearest checkpoint.

        An estimator that raises, or gives NaN or anything else that is not in [0, 1], leads to the fallback,
        and the result says so.

        Args:
            query: A prompt or OpenAI `messages`.
            available: The λ that are served now; None is the whole grid.

        Raises:
            EstimatorError: The router was made without an estimator.
            LambdaError: `available` is empty or names a λ that is not in the grid.
        """
        if self._estimator is None:
            raise EstimatorError(
                "this router has no estimator",
                hint="Router.from_grid(…, estimator=…) or .nearest(λ)",
            )
        served = self._available(available)
        try:
            wanted = exact(self._estimator(query))
        except Exception as error:  # noqa: BLE001 - an estimator is foreign code; a query must be answered
            target = max(served) if self._fallback is None else self._fallback
            text = f"{type(error).__name__}: {error}"
            return self._route(target, None, served, "fallback", text)
        return self._route(wanted, wanted, served, "estimator")

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
        source: Literal["override", "estimator", "fallback"],
        error: str = "",
    ) -> Route:
        chosen = nearest(target, served)
        member = self._members[chosen]
        asked = f"λ = {float(target):.4g} is wanted" if wanted is not None else "the estimator failed"
        return Route(
            model=member.served_model_name,
            path=self._root / member.path,
            lam=chosen,
            wanted=wanted,
            source=source,
            reason=f"{asked}; the nearest of {len(served)} available is {label(chosen)}",
            error=error,
        )
