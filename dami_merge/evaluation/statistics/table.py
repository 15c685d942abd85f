"""The dense table of a sweep: questions by λ, from rollouts in any order, finished or not.

Every mean is taken over questions: each question counts once, however many samples it has. λ are compared on
the questions that all of them have, which `Table.shared` selects.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dami_merge.errors import InputRefused, LambdaError, Problem
from dami_merge.evaluation.rollout import Rollout
from dami_merge.lambdas import exact, label, ordered, require_available

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

_EXACT = 2**53
"""Integers below this, and sums that stay below it, are exact in float64."""

_NO_SAMPLE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The measurements of N questions at Λ values of λ.

    Questions are ordered from the easiest to the hardest; names only break ties between equal counts, so that
    no result depends on the names of questions or on the order of rollouts.

    Attributes:
        lambdas: λ, ascending.
        settings: Digest of the settings of each λ.
        questions: Id of each question.
        groups: Group of each question.
        samples: Number of answers in each cell, shape [N, Λ]; 0 where there is none yet.
        correct: Number of correct answers, shape [N, Λ].
        closed: Number of answers whose thinking block was closed by its own tag, shape [N, Λ].
        unclosed: Number of answers whose thinking block was left open, shape [N, Λ].
        wrong_tag: Number of answers whose thinking block was closed by another tag, shape [N, Λ].
        cut: Number of answers truncated at the cap, shape [N, Λ].
        lengths: Tokens of every answer, ascending, shape [N, Λ, K]; -1 fills cells of fewer than K answers.
    """

    lambdas: tuple[Fraction, ...]
    settings: tuple[str, ...]
    questions: tuple[str, ...]
    groups: tuple[str, ...]
    samples: Counts
    correct: Counts
    closed: Counts
    unclosed: Counts
    wrong_tag: Counts
    cut: Counts
    lengths: Counts

    @property
    def length_sums(self) -> Counts:
        """Total tokens of the answers in each cell, shape [N, Λ]."""
        total: Counts = np.maximum(self.lengths, 0).sum(axis=2)
        return total

    @property
    def opened(self) -> Counts:
        """Number of answers with a thinking block, however it ended, shape [N, Λ]."""
        return self.closed + self.unclosed + self.wrong_tag

    @property
    def accuracy(self) -> Floats:
        """Share of correct answers, shape [N, Λ]; NaN where there is no answer."""
        return _ratio(self.correct, self.samples)

    @property
    def tokens(self) -> Floats:
        """Mean tokens, shape [N, Λ]; NaN where there is no answer."""
        return _ratio(self.length_sums, self.samples)

    def at(self, lambdas: Sequence[Fraction]) -> "Table":
        """Keep only these λ, and the questions that have an answer at any of them.

        Raises:
            LambdaError: `lambdas` is empty, or has a λ twice or without rollouts.
        """
        require_available(ordered(lambdas), self.lambdas, where="these rollouts")
        columns = [place for place, lam in enumerate(self.lambdas) if lam in set(lambdas)]
        return self._part(np.flatnonzero(self.samples[:, columns].any(axis=1)).tolist(), columns)

    def of_group(self, group: str) -> "Table":
        """Keep only the questions of one group, at all λ; the table may be empty."""
        return self._part([place for place, each in enumerate(self.groups) if each == group])

    def shared(self) -> "Table":
        """Keep only the questions that have an answer at every λ; the table may be empty."""
        return self._part(np.flatnonzero(self.samples.all(axis=1)).tolist())

    def _part(self, rows: Sequence[int], columns: Sequence[int] | None = None) -> "Table":
        kept = range(len(self.lambdas)) if columns is None else columns
        part = np.ix_(rows, kept)
        return Table(
            lambdas=tuple(self.lambdas[place] for place in kept),
            settings=tuple(self.settings[place] for place in kept),
            questions=tuple(self.questions[place] for place in rows),
            groups=tuple(self.groups[place] for place in rows),
            samples=self.samples[part],
            correct=self.correct[part],
            closed=self.closed[part],
            unclosed=self.unclosed[part],
            wrong_tag=self.wrong_tag[part],
            cut=self.cut[part],
            lengths=self.lengths[part],
        )


def tabulate(rollouts: Iterable[Rollout]) -> Table:
    """Arrange rollouts in a table. Cells may be empty, and may hold different numbers of samples.

    Raises:
        InputRefused: There are no rollouts, or some are inconsistent: a λ outside [0, 1], a duplicate sample,
            negative tokens, a truncated answer marked correct, a question in two groups, or answers with two
            settings at one λ. All problems are reported.
    """
    cells: dict[str, dict[Fraction, dict[int, Rollout]]] = {}
    groups: dict[str, str] = {}
    settings: dict[Fraction, set[str]] = {}
    problems: list[Problem] = []
    for rollout in rollouts:
        problems += _wrong(rollout)
        try:
            lam = exact(rollout.fraction)
        except LambdaError as error:
            problems.append(Problem("lambda", f"{_name(rollout)}: {error}", error.hint))
            continue
        settings.setdefault(lam, set()).add(rollout.settings)
        if groups.setdefault(rollout.question, rollout.group) != rollout.group:
            both = f"{groups[rollout.question]!r} and {rollout.group!r}"
            problems.append(Problem("group", f"{_name(rollout)}: the question is in two groups, {both}"))
        cell = cells.setdefault(rollout.question, {}).setdefault(lam, {})
        if rollout.sample in cell:
            problems.append(Problem("duplicate", f"duplicate rollout: {_name(rollout)}"))
        cell[rollout.sample] = rollout
    for lam, digests in sorted(settings.items()):
        if len(digests) > 1:
            fact = f"λ = {label(lam)} has answers from {len(digests)} settings: {', '.join(sorted(digests))}"
            problems.append(Problem("settings", fact, "keep the rollouts of only one"))
    if not cells and not problems:
        problems.append(Problem("empty", "there are no rollouts", "run the sweep first"))
    if problems:
        raise InputRefused(problems)
    return _table(cells, groups, {lam: min(settings[lam]) for lam in sorted(settings)})


def exact_means(sums: Counts, samples: Counts) -> tuple[Floats, int]:
    """Return the means of cells as integers over one denominator, so that equal sums of means stay equal.

    3/5 and 1/5 + 2/5 differ in floats, and the difference would be reported as a fall in accuracy.

    Args:
        sums: Sum over the samples of each cell, shape [N, Λ], not negative.
        samples: Number of samples of each cell, shape [N, Λ], at least 1.

    Returns:
        Integers in float64, shape [N, Λ], and the denominator. If the common multiple of the numbers of
        samples is too large for that (many different numbers above 16), plain means and 1.
    """
    scale = math.lcm(*np.unique(samples).tolist())
    if scale * int(sums.max(initial=0)) * max(len(sums), 1) < _EXACT:
        return (sums * (scale // samples)).astype(np.float64), scale
    return sums / samples, 1


def _wrong(rollout: Rollout) -> list[Problem]:
    problems = []
    if rollout.tokens < 0:
        problems.append(
            Problem("tokens", f"{_name(rollout)} has {rollout.tokens} tokens, must be at least 0")
        )
    if rollout.correct and rollout.finish == "length":
        fact = f"{_name(rollout)} was truncated at the cap but is marked correct"
        problems.append(Problem("cut", fact, "a truncated answer counts as wrong"))
    return problems


def _name(rollout: Rollout) -> str:
    return f"question {rollout.question!r}, λ = {rollout.fraction}, sample {rollout.sample}"


def _table(
    cells: dict[str, dict[Fraction, dict[int, Rollout]]],
    groups: dict[str, str],
    settings: dict[Fraction, str],
) -> Table:
    rows = {
        question: [list(own.get(lam, {}).values()) for lam in settings] for question, own in cells.items()
    }
    counts = {question: [_counts(answers) for answers in row] for question, row in rows.items()}
    order = sorted(rows, key=lambda question: (_difficulty(counts[question]), counts[question], question))
    most = max(len(answers) for row in rows.values() for answers in row)
    lengths = np.full((len(order), len(settings), most), _NO_SAMPLE, dtype=np.int64)
    for place, question in enumerate(order):
        for column, answers in enumerate(rows[question]):
            lengths[place, column, : len(answers)] = sorted(answer.tokens for answer in answers)
    table = np.array([counts[question] for question in order], dtype=np.int64)
    return Table(
        lambdas=tuple(settings),
        settings=tuple(settings.values()),
        questions=tuple(order),
        groups=tuple(groups[question] for question in order),
        samples=table[:, :, 0],
        correct=table[:, :, 1],
        closed=table[:, :, 2],
        unclosed=table[:, :, 3],
        wrong_tag=table[:, :, 4],
        cut=table[:, :, 5],
        lengths=lengths,
    )


def _counts(answers: Sequence[Rollout]) -> tuple[int, ...]:
    """Count the answers for the columns of `_table`; the tokens come last, for the order of the questions."""
    states = [answer.thinking for answer in answers]
    return (
        len(answers),
        sum(answer.correct for answer in answers),
        states.count("closed"),
        states.count("unclosed"),
        states.count("wrong-tag"),
        sum(answer.finish == "length" for answer in answers),
        sum(answer.tokens for answer in answers),
    )


def _difficulty(row: Sequence[tuple[int, ...]]) -> Fraction:
    """Return the mean share of wrong answers over the λ that have any answer."""
    shares = [Fraction(cell[0] - cell[1], cell[0]) for cell in row if cell[0]]
    return sum(shares, Fraction(0)) / len(shares)


def _ratio(sums: Counts, samples: Counts) -> Floats:
    shares: Floats = np.full(sums.shape, np.nan)
    return np.divide(sums, samples, out=shares, where=samples > 0)
