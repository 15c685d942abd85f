"""A routing of measured queries: which λ each got, or with what probability, and what finding out cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dami_merge.estimators.examples import Examples, Numbers, Places


@dataclass(frozen=True, slots=True, eq=False)
class Routing:
    """One decision for each of N queries.

    Attributes:
        shares: Probability of each λ, shape [N, Λ]; every row adds up to 1.
        spent: Tokens that the estimator itself cost, shape [N].
    """

    shares: Numbers
    spent: Numbers

    def accuracy(self, examples: Examples) -> Numbers:
        """Expected share of correct answers of each query, shape [N]."""
        return _weighted(self.shares, examples.accuracy)

    def tokens(self, examples: Examples) -> Numbers:
        """Expected tokens of each query, those of the estimator included, shape [N]."""
        return _weighted(self.shares, examples.tokens) + self.spent

    @property
    def histogram(self) -> Numbers:
        """Share of the queries that each λ gets, shape [Λ]."""
        return np.asarray(self.shares.mean(axis=0))


def routed(places: Places, lambdas: int, spent: Numbers | None = None) -> Routing:
    """A routing that sends each query to one λ.

    Args:
        places: Place of the λ of each query, shape [N].
        lambdas: Number of λ.
        spent: Tokens that each decision cost; None means none.
    """
    shares = np.zeros((len(places), lambdas))
    shares[np.arange(len(places)), places] = 1.0
    return Routing(shares, np.zeros(len(places)) if spent is None else spent)


def static(place: int, queries: int, lambdas: int) -> Routing:
    """All queries to one λ."""
    return routed(np.full(queries, place, dtype=np.int64), lambdas)


def matched_random(routing: Routing) -> Routing:
    """A routing that is blind to the query: the same shares of λ, and the same cost of deciding."""
    shares = np.broadcast_to(routing.histogram, routing.shares.shape)
    return Routing(np.array(shares), np.full(len(routing.spent), routing.spent.mean()))


def over_seeds(routings: Sequence[Routing]) -> Routing:
    """The mean of the routings of several seeds: a query is sent to each seed's λ equally often."""
    return Routing(
        np.mean([each.shares for each in routings], axis=0),
        np.mean([each.spent for each in routings], axis=0),
    )


def _weighted(shares: Numbers, values: Numbers) -> Numbers:
    total: Numbers = np.where(shares > 0, shares * values, 0.0).sum(axis=1)
    return total
