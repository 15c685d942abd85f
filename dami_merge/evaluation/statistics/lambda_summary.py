"""The numbers of one λ, over all questions that it has, whatever the other λ have."""

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
        k: Number of attempts.
        share: Expected share of questions with a correct answer among k attempts.
        questions: Number of questions with at least k samples; only these count.
    """

    k: int
    share: float
    questions: int


class LambdaSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one λ. Means and shares are taken over questions, so that each question counts once.

    Attributes:
        lam: λ; named `lambda` in JSON.
        questions: Number of questions with an answer.
        samples: Number of answers.
        effective_samples: Number of independent answers that are as informative
            (`interval.effective_samples`).
        accuracy: Share of correct answers.
        accuracy_interval: Wilson's interval for `effective_samples` answers.
        tokens: Mean tokens.
        tokens_interval: Interval of `tokens` from the spread between questions; None for fewer than
            `interval.FEWEST` questions.
        median_tokens: Median over all answers.
        closed: Share of answers with a thinking block closed by its own tag.
        unclosed: Share of answers with a thinking block left open.
        wrong_tag: Share of answers with a thinking block closed by another tag.
        cut: Share of answers truncated at the cap.
        passes: Pass@k for k from 1 to the largest number of samples of any question.
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
    """Summarise every λ that has an answer, ascending."""
    have = table.samples.any(axis=0)
    return tuple(_row(table, column) for column in np.flatnonzero(have).tolist())


def pass_at(samples: Counts, correct: Counts) -> tuple[PassAt, ...]:
    """Compute Pass@k with the unbiased estimator 1 - C(n-c, k) / C(n, k) of Chen et al. (arXiv 2107.03374).

    Args:
        samples: Number of samples n of each question, shape [N].
        correct: Number of correct answers c of each question, shape [N].

    Returns:
        Pass@k for k = 1, 2, … up to the largest n; questions with fewer than k samples do not count at k.
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
