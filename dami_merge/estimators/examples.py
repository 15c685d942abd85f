"""Measured queries as arrays: what estimators are fitted on and judged by.

The prompt is all that an estimator may see of a query. Answers are kept sample by sample, so that a choice
can be made on one half of the samples and scored on the other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dami_merge.errors import InputRefused, Problem
from dami_merge.evaluation.questions.question import Question
from dami_merge.lambdas import label

if TYPE_CHECKING:
    from dami_merge.evaluation.rollouts import Rollouts
    from dami_merge.evaluation.rollouts_file import Sidecar

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

_MISSING = -1


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """N queries with up to K answers at each of Λ values of λ.

    Attributes:
        questions: The queries; `messages` is the prompt, `group` the category that only the category table
            sees.
        lambdas: λ, ascending.
        right: 1 for a correct answer, 0 for a wrong one, -1 where there is none, shape [N, Λ, K].
        lengths: Generated tokens of each answer, -1 where there is none, shape [N, Λ, K].
        cut: Whether an answer was truncated at the cap, shape [N, Λ, K].
        settings: Digest of the settings that produced the answers.
    """

    questions: tuple[Question, ...]
    lambdas: tuple[Fraction, ...]
    right: NDArray[np.int8]
    lengths: Places
    cut: Flags
    settings: str

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def groups(self) -> tuple[str, ...]:
        """Group of each query."""
        return tuple(question.group for question in self.questions)

    @property
    def samples(self) -> Places:
        """Number of answers in each cell, shape [N, Λ]."""
        counts: Places = (self.right != _MISSING).sum(axis=2)
        return counts

    @property
    def correct(self) -> Places:
        """Number of correct answers in each cell, shape [N, Λ]."""
        counts: Places = (self.right == 1).sum(axis=2)
        return counts

    @property
    def accuracy(self) -> Numbers:
        """Share of correct answers of each cell, shape [N, Λ]; NaN where there is no answer."""
        return _ratio(self.correct, self.samples)

    @property
    def tokens(self) -> Numbers:
        """Mean tokens of each cell, shape [N, Λ]; NaN where there is no answer."""
        return _ratio(np.maximum(self.lengths, 0).sum(axis=2), self.samples)

    def part(self, rows: Sequence[int] | Places) -> "Examples":
        """Some queries, in the given order; a query may be named more than once."""
        places = np.asarray(rows, dtype=np.int64)
        return Examples(
            questions=tuple(self.questions[place] for place in places.tolist()),
            lambdas=self.lambdas,
            right=self.right[places],
            lengths=self.lengths[places],
            cut=self.cut[places],
            settings=self.settings,
        )

    def at(self, lambdas: Sequence[Fraction]) -> "Examples":
        """The same queries at some of the λ.

        Raises:
            InputRefused: There are no answers at one of them.
        """
        missing = sorted(set(lambdas) - set(self.lambdas))
        if missing:
            shown = ", ".join(map(label, missing))
            raise InputRefused([Problem("lambda", f"no query has answers at λ = {shown}", "sweep these λ")])
        columns = [place for place, lam in enumerate(self.lambdas) if lam in set(lambdas)]
        return Examples(
            questions=self.questions,
            lambdas=tuple(self.lambdas[place] for place in columns),
            right=self.right[:, columns],
            lengths=self.lengths[:, columns],
            cut=self.cut[:, columns],
            settings=self.settings,
        )

    def some_samples(self, samples: Sequence[int]) -> "Examples":
        """The same queries with some of their samples, by number from 0 to K - 1."""
        kept = list(samples)
        return Examples(
            questions=self.questions,
            lambdas=self.lambdas,
            right=self.right[:, :, kept],
            lengths=self.lengths[:, :, kept],
            cut=self.cut[:, :, kept],
            settings=self.settings,
        )

    def halves(self) -> "tuple[Examples, Examples]":
        """Every second sample, and the others: to choose on one half and to score on the other."""
        count = self.right.shape[2]
        return self.some_samples(range(0, count, 2)), self.some_samples(range(1, count, 2))


def examples_of(rollouts: "Rollouts", sidecar: "Sidecar") -> Examples:
    """Arrange rollouts by query, λ and sample. Queries stand in the order of their first answer.

    Queries that lack answers at some λ are left out, since their λ cannot be compared.

    Raises:
        InputRefused: No query has an answer at every λ, or the settings lack a query's prompt.
    """
    lambdas = sorted({row.lam for row in rollouts})
    columns = {lam: place for place, lam in enumerate(lambdas)}
    names = list(dict.fromkeys(row.question for row in rollouts))
    unknown = [name for name in names if name not in sidecar.questions]
    if unknown:
        fact = f"the settings beside the rollouts lack {len(unknown):,} questions, such as {unknown[0]!r}"
        raise InputRefused([Problem("no-prompt", fact, "keep both files of one sweep together")])
    rows = {name: place for place, name in enumerate(names)}
    most = 1 + max((row.sample for row in rollouts), default=0)
    shape = (len(names), len(lambdas), most)
    right = np.full(shape, _MISSING, dtype=np.int8)
    lengths = np.full(shape, _MISSING, dtype=np.int64)
    cut = np.zeros(shape, dtype=np.bool_)
    for row in rollouts:
        cell = (rows[row.question], columns[row.lam], row.sample)
        right[cell], lengths[cell], cut[cell] = row.correct, row.tokens, row.finish == "length"
    whole = np.flatnonzero((right != _MISSING).any(axis=2).all(axis=1))
    if not len(whole):
        fact = f"no query has an answer at all {len(lambdas)} λ"
        raise InputRefused([Problem("unfinished", fact, "finish the sweep")])
    every = Examples(
        questions=tuple(sidecar.questions[name] for name in names),
        lambdas=tuple(lambdas),
        right=right,
        lengths=lengths,
        cut=cut,
        settings=sidecar.settings.digest(),
    )
    return every.part(whole)


def folds(count: int, parts: int, seed: int) -> Iterator[tuple[Places, Places]]:
    """Split queries into parts at random: yields the places to fit on and the places left out, part by part.

    Args:
        count: Number of queries N.
        parts: Number of parts, from 2 to N.
        seed: Seed of the split.
    """
    order = np.random.default_rng(seed).permutation(count)
    for part in range(parts):
        out = np.sort(order[part::parts])
        yield np.setdiff1d(np.arange(count), out), out


def _ratio(sums: Places, samples: Places) -> Numbers:
    shares: Numbers = np.full(sums.shape, np.nan)
    return np.divide(sums, samples, out=shares, where=samples > 0)
