"""What is asked of a router: a price, a token budget, an accuracy, a bound on the drop, a bound on the risk.

A goal is a choice of a row in a `Tradeoff`, so that one fit serves every goal. Tokens and accuracies are
those of measured queries, and hold for queries of the same kind.
"""

import math
from statistics import NormalDist
from typing import Annotated

import msgspec
import numpy as np

from dami_merge.errors import UsageError
from dami_merge.estimators.examples import Flags, Numbers
from dami_merge.estimators.policy import Policy
from dami_merge.estimators.tradeoff import DEFAULT_GUARD, GUARDS, Tradeoff

EQUAL = 0.005
"""Drop in accuracy against Thinking that counts as none: half a point."""

_CONFIDENCE = 0.975
_STARTS = 4
_PSEUDO = 2

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Risk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The drop in accuracy against Thinking exceeds `epsilon` with a probability of at most `delta`."""

    epsilon: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    delta: Annotated[float, msgspec.Meta(gt=0, lt=1)]


class Goal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What is asked; at most one of the first five. None of them means Thinking's accuracy, see `resolve`.

    Attributes:
        mu: Price of tokens: accuracy that a mean answer of Thinking is worth.
        tokens: Mean tokens per query that may be spent, probes included.
        accuracy: Accuracy to reach.
        drop: Drop in accuracy against Thinking to stay within; 0 asks for Thinking's accuracy.
        risk: Bound on the probability of a drop.
        guard: z of the guard, one of `GUARDS`; 0 turns it off.
    """

    mu: float | None = None
    tokens: Annotated[float, msgspec.Meta(ge=0)] | None = None
    accuracy: Share | None = None
    drop: Share | None = None
    risk: Risk | None = None
    guard: float = DEFAULT_GUARD

    def __post_init__(self) -> None:
        """Refuse two goals at once, numbers that are not finite, and guards that were not measured."""
        named = [name for name in _GOALS if getattr(self, name) is not None]
        if len(named) > 1:
            raise UsageError(f"{' and '.join(named)} are two goals", hint="choose one")
        for name in (*named, "guard"):
            value = getattr(self, name)
            if isinstance(value, float | int) and not math.isfinite(value):
                raise UsageError(f"{name} is {value}", hint="give a finite number")
        if self.guard not in GUARDS:
            shown = ", ".join(f"{each:g}" for each in GUARDS)
            raise UsageError(f"a guard of {self.guard:g} was not measured", hint=f"choose one of {shown}")
        for name in ("tokens", "accuracy", "drop"):
            value = getattr(self, name)
            if value is not None and (value < 0 or (name != "tokens" and value > 1)):
                raise UsageError(f"{name} is {value:g}", hint="give a share between 0 and 1")


_GOALS = ("mu", "tokens", "accuracy", "drop", "risk")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a table that meets a goal, and what was measured there.

    Attributes:
        mu: Price of tokens.
        guard: z of the guard.
        accuracy: Accuracy on the measured queries; None for a price that was given, between rows.
        tokens: Mean tokens there.
        drop: Accuracy of Thinking minus that.
        drop_error: Standard error of `drop`.
        met: One sentence on how far the goal is met.
    """

    mu: float
    guard: float
    accuracy: float | None
    tokens: float | None
    drop: float | None
    drop_error: float | None
    met: str


def resolve(goal: Goal, table: Tradeoff) -> Setting:
    """Find the price that meets a goal with the fewest tokens, or for a budget with the highest accuracy.

    Without a goal: the fewest tokens at which the drop against Thinking is shown to be at most half a point
    (97.5% one-sided, normal); if no row shows that, the row whose bound on the drop is the lowest.

    A risk is bounded by learn-then-test (Angelopoulos et al., arXiv 2110.01052): rows are tested from small
    prices to large ones, by four sequences that start at different rows and share δ; each stops at its
    first row that does not pass. That the sequences together err with a probability of at most δ is exact
    for any number of queries if the p-values are valid. The p-value of a row is that of a normal test of
    the mean drop over queries, with two added that lose a whole answer: it is asymptotic in their number, and
    holds for queries that are drawn independently, as the measured ones were. The samples of one query
    count as one. Predictions out of fold stand for those of the fit to all queries.

    Raises:
        UsageError: No row meets the goal; the hint names the nearest that can be met.
    """
    row = GUARDS.index(goal.guard)
    if goal.mu is not None:
        return _at_price(goal.mu, row, table)
    tokens, accuracy = table.tokens[row], table.accuracy[row]
    if goal.tokens is not None:
        fits = tokens <= goal.tokens
        if not fits.any():
            hint = f"the cheapest setting takes {tokens.min():.1f} tokens a query; or use another guard"
            raise UsageError(f"no setting stays within {goal.tokens:g} tokens a query", hint=hint)
        place = _best(accuracy, -tokens, fits)
        return _setting(table, row, place, f"the most accurate setting within {goal.tokens:g} tokens")
    if goal.accuracy is not None:
        return _cheapest(table, row, accuracy >= goal.accuracy, f"an accuracy of {goal.accuracy:.1%}")
    if goal.drop is not None:
        reached = table.drop[row] <= goal.drop
        return _cheapest(table, row, reached, f"a drop of at most {goal.drop:.1%}")
    if goal.risk is not None:
        passed = _tested(table, row, goal.risk)
        what = f"a drop above {goal.risk.epsilon:.1%} with a probability of at most {goal.risk.delta:g}"
        return _cheapest(table, row, passed, what)
    return _as_thinking(table, row)


def policy_of(setting: Setting, table: Tradeoff) -> Policy:
    """The policy of a setting."""
    return table.policy(setting.mu, setting.guard)


def _as_thinking(table: Tradeoff, row: int) -> Setting:
    bound = table.drop[row] + NormalDist().inv_cdf(_CONFIDENCE) * table.drop_error()[row]
    shown = bound <= EQUAL
    if shown.any():
        place = _best(-table.tokens[row], table.accuracy[row], shown)
        return _setting(table, row, place, f"shown to lose at most {EQUAL:.1%} against Thinking")
    place = _best(-bound, -table.tokens[row], np.ones(len(bound), dtype=np.bool_))
    met = f"the drop against Thinking may be up to {bound[place]:.1%}: too few queries to show less"
    return _setting(table, row, place, met)


def _tested(table: Tradeoff, row: int, risk: Risk) -> Flags:
    """Rows that pass, by several fixed sequences that share δ."""
    drop, error = with_pseudo_queries(table.drop[row], table.drop_spread[row], table.queries)
    level = NormalDist().inv_cdf(1 - risk.delta / _STARTS)
    passed = np.zeros(len(drop), dtype=np.bool_)
    for start in range(0, len(drop), -(-len(drop) // _STARTS)):
        for place in range(start, len(drop)):
            if risk.epsilon - drop[place] < level * error[place]:
                break
            passed[place] = True
    return passed


def with_pseudo_queries(drop: Numbers, spread: Numbers, queries: int) -> tuple[Numbers, Numbers]:
    """Means and their standard errors after adding queries that lose a whole answer.

    Where hardly any query differs from Thinking, the spread is far too small to be believed: without the
    added queries, 20 queries without a difference would "show" any bound. Cf. Agresti and Coull (The American
    Statistician 52, 1998).

    Args:
        drop: Mean drops over the queries.
        spread: Standard deviations of the drop between queries, of the same shape.
        queries: Number of queries N.
    """
    count = queries + _PSEUDO
    mean = (queries * drop + _PSEUDO) / count
    square = (queries * (spread**2 + drop**2) + _PSEUDO) / count
    error: Numbers = np.sqrt(np.maximum(square - mean**2, 0.0) / count)
    return mean, error


def _cheapest(table: Tradeoff, row: int, met: Flags, what: str) -> Setting:
    if not met.any():
        best = int(table.accuracy[row].argmax())
        hint = (
            f"the most accurate setting has {table.accuracy[row, best]:.1%}, with a drop of"
            f" {table.drop[row, best]:.1%} ± {1.96 * table.drop_error()[row, best]:.1%} against Thinking,"
            f" measured on {table.queries:,} queries"
        )
        raise UsageError(f"no setting has {what}", hint=hint)
    return _setting(
        table, row, _best(-table.tokens[row], table.accuracy[row], met), f"the cheapest with {what}"
    )


def _at_price(mu: float, row: int, table: Tradeoff) -> Setting:
    near = int(np.abs(table.prices - mu).argmin())
    if math.isclose(float(table.prices[near]), mu, rel_tol=1e-9, abs_tol=1e-12):
        return _setting(table, row, near, "the price that was asked for")
    return Setting(
        mu=mu, guard=GUARDS[row], accuracy=None, tokens=None, drop=None, drop_error=None,
        met="the price that was asked for",
    )  # fmt: skip


def _setting(table: Tradeoff, row: int, place: int, met: str) -> Setting:
    return Setting(
        mu=float(table.prices[place]),
        guard=GUARDS[row],
        accuracy=float(table.accuracy[row, place]),
        tokens=float(table.tokens[row, place]),
        drop=float(table.drop[row, place]),
        drop_error=float(table.drop_error()[row, place]),
        met=met,
    )


def _best(first: Numbers, second: Numbers, allowed: Flags) -> int:
    """The allowed row with the largest first number, of equal ones that with the largest second."""
    places = np.flatnonzero(allowed)
    order = np.lexsort((-second[places], -first[places]))
    return int(places[order[0]])
