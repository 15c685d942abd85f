"""What one fit does at every price of tokens, measured on queries that it was not fitted on.

The table has a row for each price μ and guard: accuracy, tokens, and the drop in accuracy against the
largest λ with its spread. From it every goal finds its price without a new fit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.policy import Policy, choose

GUARDS = (0.0, 0.5, 1.0, 2.0)
"""Values of z for which a table has rows; 0 is no guard."""

DEFAULT_GUARD = 1.0

_PRICES = 64
_CHEAPEST, _DEAREST = 1e-3, 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Tradeoff:
    """Measured means at P prices and G guards.

    Attributes:
        prices: μ, ascending, shape [P].
        guards: z, ascending, shape [G].
        accuracy: Accuracy, shape [G, P].
        tokens: Mean tokens, probes included, shape [G, P].
        drop: Mean accuracy of the largest λ minus that of the routing, shape [G, P].
        drop_spread: Standard deviation of that difference between queries, shape [G, P].
        static_accuracy: Accuracy of every λ for all queries, shape [Λ].
        static_tokens: Mean tokens of every λ, shape [Λ].
        queries: Number of queries.
    """

    prices: Numbers
    guards: Numbers
    accuracy: Numbers
    tokens: Numbers
    drop: Numbers
    drop_spread: Numbers
    static_accuracy: Numbers
    static_tokens: Numbers
    queries: int

    @property
    def scale(self) -> float:
        """Mean tokens of the largest λ, which is what prices are relative to."""
        return max(float(self.static_tokens[-1]), 1e-12)

    def drop_error(self) -> Numbers:
        """Standard error of `drop` over queries, shape [G, P]."""
        error: Numbers = self.drop_spread / np.sqrt(max(self.queries, 1))
        return error

    def policy(self, mu: float, guard: float) -> Policy:
        """The policy of a price and a guard; the static λ is the best for all queries at this price."""
        static = self.static_accuracy - mu * self.static_tokens / self.scale
        return Policy(mu, self.scale, static, guard or None)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """What `restore_tradeoff` reads."""
        return {f"tradeoff.{name}": np.asarray(getattr(self, name), dtype=np.float64) for name in _NAMES}


def restore_tradeoff(arrays: Mapping[str, NDArray[np.generic]]) -> Tradeoff:
    """A table from its arrays.

    Raises:
        KeyError: An array is missing.
    """
    found = {name: arrays[f"tradeoff.{name}"].astype(np.float64) for name in _NAMES}
    return Tradeoff(
        prices=found["prices"],
        guards=found["guards"],
        accuracy=found["accuracy"],
        tokens=found["tokens"],
        drop=found["drop"],
        drop_spread=found["drop_spread"],
        static_accuracy=found["static_accuracy"],
        static_tokens=found["static_tokens"],
        queries=int(found["queries"].ravel()[0]),
    )


def trade_off(estimate: Estimate, examples: Examples, spent: Numbers) -> Tradeoff:
    """Measure every price and guard.

    Args:
        estimate: Predictions for the measured queries, by fits that have not seen them.
        examples: The measured queries.
        spent: Tokens that the features of each query cost, shape [N].
    """
    rows = np.arange(len(examples))
    accuracy, tokens = examples.accuracy, examples.tokens
    prices = price_grid(estimate)
    shape = (len(GUARDS), len(prices))
    found = {name: np.zeros(shape) for name in ("accuracy", "tokens", "drop", "drop_spread")}
    empty = Tradeoff(
        prices=prices,
        guards=np.array(GUARDS),
        static_accuracy=accuracy.mean(axis=0),
        static_tokens=tokens.mean(axis=0),
        queries=len(examples),
        **found,
    )
    for row, guard in enumerate(GUARDS):
        for column, mu in enumerate(prices.tolist()):
            places = choose(estimate, empty.policy(mu, guard)).places
            drop = accuracy[:, -1] - accuracy[rows, places]
            found["accuracy"][row, column] = accuracy[rows, places].mean()
            found["tokens"][row, column] = tokens[rows, places].mean() + spent.mean()
            found["drop"][row, column] = drop.mean()
            found["drop_spread"][row, column] = drop.std()
    return empty


def price_grid(estimate: Estimate) -> Numbers:
    """Prices to measure, ascending: 0 and, by equal ratios, up to those that only the cheapest λ survives.

    Scores have a scale of their own, and may have to be pushed towards larger λ: their grid is in units of
    their usual range within a query, and on both sides of 0.
    """
    steps = np.geomspace(_CHEAPEST, _DEAREST, _PRICES)
    if estimate.kind == "curves":
        return np.concatenate([[0.0], steps])
    spread = estimate.value.max(axis=1) - estimate.value.min(axis=1)
    unit = max(float(np.median(spread)) if len(spread) else 1.0, 1e-12)
    return unit * np.concatenate([-steps[::-1], [0.0], steps])


_NAMES = (
    "prices", "guards", "accuracy", "tokens", "drop", "drop_spread", "static_accuracy", "static_tokens",
    "queries",
)  # fmt: skip
