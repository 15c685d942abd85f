"""The confidence signals of a query: what each column of the features `conf` is.

The one place where the columns are declared. Holistic Ambiguity and Cognitive Discrepancy are the paper's
names; their formulas are reconstructed.
"""

from collections.abc import Sequence
from math import log

import numpy as np

from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.probing import Aggregate, ShortAnswer

SIGNALS = (
    "instruct",
    "thinking",
    "ambiguity",
    "discrepancy",
    "lead",
    "instruct_certainty",
    "thinking_certainty",
    "instruct_odds",
    "thinking_odds",
    "agreement",
)
"""Columns: C_I and C_T, the confidence of each side; HA = 1 - (C_I + C_T) / 2; CD = |C_T - C_I|; C_T - C_I;
exp(-mean entropy) of each side; log-odds of C_I and C_T; whether both sides gave the same answer."""

_MOST_ODDS = 5.0
"""Beyond, rounding of the probabilities would show in the odds."""


def signal_row(instruct: ShortAnswer, thinking: ShortAnswer, aggregate: Aggregate) -> list[float]:
    """One row of the features, in the order of `SIGNALS`.

    Args:
        instruct: Instruct's short answer.
        thinking: Thinking's.
        aggregate: How probabilities become a confidence.
    """
    one, two = instruct.confidence(aggregate), thinking.confidence(aggregate)
    return [
        one,
        two,
        float(ambiguity(np.array(one), np.array(two))),
        abs(two - one),
        two - one,
        instruct.certainty(),
        thinking.certainty(),
        _odds(one),
        _odds(two),
        float(bool(instruct.text.strip()) and instruct.text.strip() == thinking.text.strip()),
    ]


def ambiguity(instruct: Numbers, thinking: Numbers) -> Numbers:
    """Holistic Ambiguity: 1 - (C_I + C_T) / 2."""
    result: Numbers = 1 - (instruct + thinking) / 2
    return result


def signal(vectors: Numbers, name: str) -> Numbers:
    """One column of the features `conf`, shape [n].

    Raises:
        InputRefused: The features are others.
    """
    if vectors.shape[1] != len(SIGNALS):
        fact = (
            f"the estimator `conf` reads {len(SIGNALS)} confidence signals; got {vectors.shape[1]} features"
        )
        raise InputRefused([Problem("features", fact, "use the features `conf` alone")])
    column: Numbers = vectors[:, SIGNALS.index(name)]
    return column


def signal_table(pairs: Sequence[tuple[ShortAnswer, ShortAnswer]], aggregate: Aggregate) -> Numbers:
    """Rows of all queries, from the short answers of Instruct and Thinking, shape [n, len(SIGNALS)]."""
    rows = [signal_row(one, two, aggregate) for one, two in pairs]
    return np.array(rows) if rows else np.zeros((0, len(SIGNALS)))


def _odds(share: float) -> float:
    edge = 1 / (1 + np.exp(_MOST_ODDS))
    inner = min(max(share, edge), 1 - edge)
    return log(inner / (1 - inner))
