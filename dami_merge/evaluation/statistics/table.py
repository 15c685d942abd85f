"""The dense table of a sweep: questions by λ, from rollouts in any order, finished or not.

A mean is always one of questions: each question counts once, however many samples it has. λ are compared on
the questions that all of them have; `Table.shared` makes that table, and its length says how many those are.
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
"""Integers below this are exact in float64, and so are their sums."""

_NO_SAMPLE = -1


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """What was measured, N questions by Λ values of λ.

    Questions stand from the easiest to the hardest; names decide only between questions of equal counts, so
    that no result depends on how questions are called or in which order rollouts came.

    Attributes:
        lambdas: Ascending.
        settings: Digest of the settings of each λ.
        questions: Ids.
        groups: One for each question.
        samples: Shape [N, Λ]: answers in each cell; 0 where there is none yet.
        correct: Shape [N, Λ]: right ones among them.
        closed: Shape [N, Λ]: answers whose thinking block was closed by its own tag.
        unclosed: Likewise left open.
        wrong_tag: Likewise closed by another tag.
        cut: Likewise cut at the cap.
        lengths: Shape [N, Λ, K]: tokens of every answer, ascending; -1 fills the cells of fewer than K.
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
        """Shape [N, Λ]: tokens of all answers of a cell."""
        total: Counts = np.maximum(self.lengths, 0).sum(axis=2)
        return total

    @property
    def accuracy(self) -> Floats:
        """Shape [N, Λ]: share of right answers; NaN where there is none."""
        return _ratio(self.correct, self.samples)

    @property
    def tokens(self) -> Floats:
        """Shape [N, Λ]: mean tokens; NaN where there is no answer."""
        return _ratio(self.length_sums, self.samples)

    def at(self, lambdas: Sequence[Fraction]) -> "Table":
        """Only these λ; questions that have none of them are left out.

        Raises:
            LambdaError: No λ is named, one twice, or one that has no rollout.
        """
        require_available(ordered(lambdas), self.lambdas, where="these rollouts")
        columns = [place for place, lam in enumerate(self.lambdas) if lam in set(lambdas)]
        return self._part(np.flatnonzero(self.samples[:, columns].any(axis=1)).tolist(), columns)

    def of_group(self, group: str) -> "Table":
        """Only the questions of a group; may be empty. All λ stay."""
        return self._part([place for place, each in enumerate(self.groups) if each == group])

    def shared(self) -> "Table":
        """Only the questions that every λ has at least one answer to; may be empty."""
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
    """Sort rollouts into a table. Cells may be empty, and of any number of samples.

    Raises:
        InputRefused: There is no rollout, or some contradict: a λ outside [0, 1], the same sample twice,
            negative tokens, a cut answer that is marked right, a question of two groups, or answers of two
            settings at one λ. All of it is named.
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
            problems.append(Problem("group", f"{_name(rollout)}: the question is of two groups, {both}"))
        cell = cells.setdefault(rollout.question, {}).setdefault(lam, {})
        if rollout.sample in cell:
            problems.append(Problem("duplicate", f"{_name(rollout)} is there twice"))
        cell[rollout.sample] = rollout
    for lam, digests in sorted(settings.items()):
        if len(digests) > 1:
            fact = f"λ = {label(lam)} has answers of {len(digests)} settings: {', '.join(sorted(digests))}"
            problems.append(Problem("settings", fact, "keep the rollouts of one"))
    if not cells and not problems:
        problems.append(Problem("empty", "there is no rollout", "run the sweep first"))
    if problems:
        raise InputRefused(problems)
    return _table(cells, groups, {lam: min(settings[lam]) for lam in sorted(settings)})


def exact_means(sums: Counts, samples: Counts) -> tuple[Floats, int]:
    """Means of cells as integers over one denominator, so that what is equal is equal after any summing.

    3/5 and 1/5 + 2/5 differ in floats, and would be told as a dip of accuracy.

    Args:
        sums: Shape [N, Λ], not negative.
        samples: Shape [N, Λ], 1 at least.

    Returns:
        Integers in float64, shape [N, Λ], and the denominator. Where the samples have too large a common
        multiple for that (many different numbers above 16), plain means and 1.
    """
    scale = math.lcm(*np.unique(samples).tolist())
    if scale * int(sums.max(initial=0)) * max(len(sums), 1) < _EXACT:
        return (sums * (scale // samples)).astype(np.float64), scale
    return sums / samples, 1


def _wrong(rollout: Rollout) -> list[Problem]:
    problems = []
    if rollout.tokens < 0:
        problems.append(Problem("tokens", f"{_name(rollout)} has {rollout.tokens} tokens"))
    if rollout.correct and rollout.finish == "length":
        fact = f"{_name(rollout)} was cut at the cap and is marked right"
        problems.append(Problem("cut", fact, "a cut answer counts as wrong"))
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
    """As the columns of `_table`, and the tokens last, for the order of the questions."""
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
    """Mean share of wrong answers, over the λ that have any answer."""
    shares = [Fraction(cell[0] - cell[1], cell[0]) for cell in row if cell[0]]
    return sum(shares, Fraction(0)) / len(shares)


def _ratio(sums: Counts, samples: Counts) -> Floats:
    shares: Floats = np.full(sums.shape, np.nan)
    return np.divide(sums, samples, out=shares, where=samples > 0)
