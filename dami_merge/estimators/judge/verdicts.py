"""What figures come to in words, and the failure signatures of the paper."""

import numpy as np

from dami_merge.estimators.examples import Examples
from dami_merge.estimators.judge.metrics import rank_correlation
from dami_merge.estimators.judge.resampled import Figure95
from dami_merge.estimators.judge.routing import Routing

MUCH = 0.5
"""Measured gain of λ = 1 over λ = 0 from which a query counts as hard: it needs Thinking."""

LITTLE = 0.05
"""Gain up to which a query that λ = 0 answers mostly counts as easy."""

_LOW, _HIGH = 0.3, 0.7
_COHERENT = 0.1
_FEWEST = 10


def verdict_of(gain: Figure95, against_thinking: Figure95) -> str:
    """One sentence on what a router is worth against what needs no router."""
    points = f"{100 * gain.value:+.1f} points"
    if gain.interval is None:
        return f"too few queries for a verdict ({points} against the static hull)"
    span = f"{points} [{100 * gain.interval.low:+.1f}, {100 * gain.interval.high:+.1f}]"
    if gain.interval.low > 0:
        thinking = ""
        if against_thinking.interval is not None and against_thinking.interval.low >= -0.005:
            thinking = ", at Thinking's accuracy"
        return f"beats every static mixture at equal tokens by {span}{thinking}"
    if gain.interval.high < 0:
        return f"is worse than a static mixture at equal tokens: {span}"
    return f"adds nothing over a static λ that these queries can show: {span}"


def signatures_of(routing: Routing, examples: Examples) -> tuple[str, ...]:
    """Failure signatures that a routing shows, each in one sentence.

    The paper names them: λ near 0 on hard queries, near 1 on easy ones, incoherent between. What counts as
    hard, easy and incoherent is ours.
    """
    path = np.array([float(lam) for lam in examples.lambdas])
    chosen = routing.shares @ path
    need = examples.accuracy[:, -1] - examples.accuracy[:, 0]
    hard = need >= MUCH
    easy = (np.abs(need) <= LITTLE) & (examples.accuracy[:, 0] >= 1 - LITTLE)
    found = []
    if hard.sum() >= _FEWEST and chosen[hard].mean() < _LOW:
        found.append(f"λ is near 0 on hard queries: {chosen[hard].mean():.2f} on average")
    if easy.sum() >= _FEWEST and chosen[easy].mean() > _HIGH:
        found.append(f"λ is near 1 on easy queries: {chosen[easy].mean():.2f} on average")
    agreement = rank_correlation(chosen, need)
    if agreement is not None and agreement < _COHERENT:
        found.append(f"λ hardly follows the need: rank correlation {agreement:+.2f}")
    if agreement is None and chosen.std() == 0:
        found.append("every query gets the same λ")
    return tuple(found)
