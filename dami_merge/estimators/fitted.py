"""The one interface of estimators: what a query gives them, and what a fitted one answers.

An estimator is fitted by a function `fit(examples, inputs, settings, seed) -> FittedEstimator`; `kinds`
lists them all. Features turn queries into `Inputs`; what a fitted estimator says becomes a λ by a `Policy`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Numbers, Places

Conversation = Sequence[Mapping[str, str]]
"""A prompt as OpenAI `messages`: `role` and `content` of every turn."""

Scalar = str | int | float | bool
"""A setting as artefacts store it."""


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What estimators see of n queries.

    Attributes:
        vectors: Features, shape [n, D]; D is 0 for estimators that need none.
        spent: Tokens that the features of each query cost, such as generated probe tokens, shape [n].
        groups: Category of each query; empty where it is unknown, as in serving. Only the category table
            reads it.
        blocks: Widths of the parts of `vectors` that differ in kind, such as n-grams and counts, and so are
            scaled apart; empty means one part.
    """

    vectors: Numbers
    spent: Numbers
    groups: tuple[str, ...]
    blocks: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.vectors)

    def part(self, rows: Sequence[int] | Places) -> "Inputs":
        """Some queries, in the given order."""
        places = np.asarray(rows, dtype=np.int64)
        groups = tuple(self.groups[place] for place in places.tolist())
        return Inputs(self.vectors[places], self.spent[places], groups, self.blocks)


class Features(Protocol):
    """Turns queries into numbers."""

    @property
    def spec(self) -> str:
        """The name by which a user asks for these features, such as `text` or `text+conf`."""
        ...

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Features of some queries; `groups` is empty strings."""
        ...

    def describe(self) -> dict[str, str]:
        """What must be equal between fitting and serving: versions, digests of encoders, options."""
        ...


class FittedEstimator(Protocol):
    """An estimator after fitting. Immutable; needs numpy only."""

    @property
    def kind(self) -> str:
        """The name in `kinds`, such as `curve`."""
        ...

    @property
    def lambdas(self) -> tuple[Fraction, ...]:
        """λ for which it was fitted, ascending."""
        ...

    def estimate(self, inputs: Inputs) -> Estimate:
        """Predict value and cost of every λ for each query."""
        ...

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything that is learned, for a safetensors file; `restore` of the same kind reads it."""
        ...

    def settings(self) -> dict[str, Scalar]:
        """Everything else that `restore` needs, and the options of the fit."""
        ...
