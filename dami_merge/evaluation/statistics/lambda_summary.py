"""One λ in numbers, on all questions that it has, whatever the others have."""

import math
from collections import Counter
from fractions import Fraction

import msgspec
import numpy as np

from dami_merge.evaluation.statistics.interval import Interval, effective_samples, mean_interval, wilson
from dami_merge.evaluation.statistics.table import Counts, Table


class PassAt(msgspec.Struct, frozen=True):
    """Pass@k.

    Attributes:
        k: Answers that may be tried.
        share: Expected share of questions with a right one among k.
        questions: How many have k samples, so that it is known for them.
    """

    k: int
    share: float
    questions: int


class LambdaSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One λ. Means and shares are means of the questions' own, so that each question counts once.

    Attributes:
        lam: Which; `lambda` in JSON.
        questions: How many have an answer.
        samples: Answers.
        effective_samples: As many independent answers tell as much (`interval.effective_samples`).
        accuracy: Share of right answers.
        accuracy_interval: Wilson's, of so many effective samples.
        tokens: Mean.
        tokens_interval: By the spread between questions; None for a single question.
        median_tokens: Of all answers.
        closed: Share of answers with a thinking block closed by its own tag.
        unclosed: Share with one left open.
        wrong_tag: Share with one closed by another tag.
        cut: Share cut at the cap.
        passes: Pass@k for k from 1 to the largest number of samples of a question.
    """

    lam: Fraction = msgspec.field(name="lambda")
    questions: int
    samples: int
    effective_samples: float
    accuracy: float
    accuracy_interval: Interval
    tokens: float
    tokens_interval: Interval | None
    median_tokens: float
    closed: float
    unclosed: float
    wrong_tag: float
    cut: float
    passes: tuple[PassAt, ...]


def summarise_lambdas(table: Table) -> tuple[LambdaSummary, ...]:
    """A row for every λ that has an answer, ascending."""
    have = table.samples.any(axis=0)
    return tuple(_row(table, column) for column in np.flatnonzero(have).tolist())


def pass_at(samples: Counts, correct: Counts) -> tuple[PassAt, ...]:
    """Pass@k by the unbiased estimator 1 - C(n-c, k) / C(n, k) of Chen et al. (arXiv 2107.03374).

    Args:
        samples: Shape [N]: n of each question.
        correct: Shape [N]: c of each question.

    Returns:
        For k = 1, 2, … up to the largest n; a question of fewer than k samples does not count at k.
    """
    kinds = Counter(zip(samples.tolist(), correct.tolist(), strict=True))
    passes = []
    for k in range(1, max(samples.tolist(), default=0) + 1):
        enough = {kind: times for kind, times in kinds.items() if kind[0] >= k}
        questions = sum(enough.values())
        missed = sum(
            (Fraction(math.comb(n - c, k), math.comb(n, k)) * times for (n, c), times in enough.items()),
            Fraction(0),
        )
        passes.append(PassAt(k, float(1 - missed / questions), questions))
    return tuple(passes)


def _row(table: Table, column: int) -> LambdaSummary:
    have = table.samples[:, column] > 0
    samples = table.samples[have, column]
    accuracy, tokens = table.accuracy[have, column], table.tokens[have, column]
    lengths = table.lengths[have, column]
    effective = effective_samples(accuracy, samples)

    def share(count: Counts) -> float:
        return float((count[have, column] / samples).mean())

    return LambdaSummary(
        lam=table.lambdas[column],
        questions=len(samples),
        samples=int(samples.sum()),
        effective_samples=effective,
        accuracy=float(accuracy.mean()),
        accuracy_interval=wilson(float(accuracy.mean()), effective),
        tokens=float(tokens.mean()),
        tokens_interval=mean_interval(tokens),
        median_tokens=float(np.median(lengths[lengths >= 0])),
        closed=share(table.closed),
        unclosed=share(table.unclosed),
        wrong_tag=share(table.wrong_tag),
        cut=share(table.cut),
        passes=pass_at(samples, table.correct[have, column]),
    )
