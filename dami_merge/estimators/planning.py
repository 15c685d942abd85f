"""Which answers to generate next, so that the success of all queries at all λ is known best.

The aim (ours) is a small sum, over all cells, of the variance of the probability of a correct answer. One
answer at a λ has the Fisher information p(1 - p) on the logit there, and tells of the query's other λ as much
as they go together. Answers are chosen one after the other, each the one that is expected to lower the sum
most, for each answer or for each token. Estimators make no use of a query that lacks some λ, so that it is
completed at once or not at all.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from dami_merge.estimators.examples import Numbers, Places
from dami_merge.estimators.success import Belief, believe
from dami_merge.evaluation.rollouts import Rollouts
from dami_merge.evaluation.rollouts_file import Sidecar

Per = Literal["answer", "token"]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerCounts:
    """Counts of answers, also of questions that were not asked yet.

    Attributes:
        questions: Ids of N questions.
        lambdas: Λ values of λ, ascending.
        correct: Correct answers, shape [N, Λ].
        samples: All answers, shape [N, Λ].
        tokens: Mean tokens of an answer at each λ, shape [Λ].
    """

    questions: tuple[str, ...]
    lambdas: tuple[Fraction, ...]
    correct: Places
    samples: Places
    tokens: Numbers


@dataclass(frozen=True, slots=True, eq=False)
class NextAnswers:
    """Answers that should be generated next.

    Attributes:
        answered: What there is.
        more: How many more answers of each cell, shape [N, Λ].
        order: Cells in the order in which they were chosen, as (place of the question, place of the λ).
        before: Mean over cells of the variance of the success.
        after: The same, as it is expected with these answers.
        even: The same, as it is expected if as many answers were spread evenly over all cells.
    """

    answered: AnswerCounts
    more: Places
    order: tuple[tuple[int, int], ...]
    before: float
    after: float
    even: float

    @property
    def tokens(self) -> float:
        """Tokens that they are expected to take."""
        return float((self.more * self.answered.tokens).sum())


def answer_counts(rollouts: Rollouts, sidecar: Sidecar) -> AnswerCounts:
    """Count the answers of a sweep, for every question of its settings."""
    lambdas = sorted({row.lam for row in rollouts})
    columns = {lam: place for place, lam in enumerate(lambdas)}
    names = list(dict.fromkeys([*(row.question for row in rollouts), *sidecar.questions]))
    rows = {name: place for place, name in enumerate(names)}
    correct = np.zeros((len(names), len(lambdas)), dtype=np.int64)
    samples, tokens = np.zeros_like(correct), np.zeros(len(lambdas))
    for row in rollouts:
        cell = (rows[row.question], columns[row.lam])
        correct[cell] += row.correct
        samples[cell] += 1
        tokens[cell[1]] += row.tokens
    means = tokens / np.maximum(samples.sum(axis=0), 1)
    return AnswerCounts(tuple(names), tuple(lambdas), correct, samples, means)


def next_answers(answered: AnswerCounts, budget: int, *, per: Per = "answer") -> NextAnswers:
    """Choose answers by what they are expected to tell.

    Args:
        answered: What there is.
        budget: Number of answers. Fewer are chosen if only queries are left that take more to complete.
        per: What information is weighed by: `answer`, or `token` for the most information per token.
    """
    belief = believe(answered.correct, answered.samples)
    prices = np.ones(len(answered.lambdas)) if per == "answer" else np.maximum(answered.tokens, 1.0)
    information, covariance = belief.information, belief.covariance.copy()
    lacking = [np.flatnonzero(row == 0) for row in answered.samples]
    more = np.zeros_like(answered.samples)
    order: list[tuple[int, int]] = []
    heap = [
        _offer(place, covariance[place], information[place], prices, lacking[place])
        for place in range(len(more))
    ]
    heapq.heapify(heap)
    while heap and len(order) < budget:
        _, place, cells = heapq.heappop(heap)
        if len(order) + len(cells) > budget:
            continue
        for cell in cells:
            covariance[place] = _after(covariance[place], information[place], cell)
            more[place, cell] += 1
            order.append((place, cell))
        heapq.heappush(heap, _offer(place, covariance[place], information[place], prices))
    return NextAnswers(
        answered=answered,
        more=more,
        order=tuple(order),
        before=float(belief.variance.mean()),
        after=float(Belief(belief.success, covariance).variance.mean()),
        even=_evenly(belief, len(order) / max(more.size, 1)),
    )


def _offer(
    place: int,
    covariance: Numbers,
    information: Numbers,
    prices: Numbers,
    lacking: Sequence[int] | Places = (),
) -> tuple[float, int, tuple[int, ...]]:
    """The best that a query offers: minus the information for its price, the query, and the cells to ask."""
    if len(lacking):
        cells = tuple(int(cell) for cell in lacking)
        rest = covariance
        for cell in cells:
            rest = _after(rest, information, cell)
        gain = float(((np.diagonal(covariance) - np.diagonal(rest)) * information**2).sum())
        return -gain / float(prices[list(cells)].sum()), place, cells
    reach = (information[:, None] ** 2 * covariance**2).sum(axis=0)
    gains = reach * information / (1 + information * np.diagonal(covariance)) / prices
    best = int(gains.argmax())
    return -float(gains[best]), place, (best,)


def _after(covariance: Numbers, information: Numbers, cell: int) -> Numbers:
    """Covariance of a query's logits after one more answer at a λ, shape [Λ, Λ]."""
    column = covariance[:, cell]
    weight = information[cell] / (1 + information[cell] * column[cell])
    less: Numbers = covariance - weight * np.outer(column, column)
    return less


def _evenly(belief: Belief, each: float) -> float:
    """Mean variance of the success if every cell had `each` more answers."""
    width = belief.success.shape[1]
    precision = np.linalg.inv(belief.covariance) + each * belief.information[:, :, None] * np.eye(width)
    covariance = np.linalg.inv(precision).astype(np.float64)
    return float(Belief(belief.success, covariance).variance.mean())
