"""Every goal finds its price in one table; what is promised of a risk holds in simulation."""

import re
from collections.abc import Callable
from statistics import NormalDist

import msgspec
import numpy as np
import pytest

from dami_merge.errors import UsageError
from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.fitted import FittedEstimator, Inputs
from dami_merge.estimators.fitting.fits import FITS
from dami_merge.estimators.goal import Goal, Risk, policy_of, resolve, with_pseudo_queries
from dami_merge.estimators.out_of_fold import out_of_fold
from dami_merge.estimators.policy import choose
from dami_merge.estimators.tradeoff import GUARDS, Tradeoff, restore_tradeoff, trade_off
from tests.estimators.world import texts_of, world

MEASURED = world(300, 4, 0)
INPUTS = texts_of(MEASURED)


@pytest.fixture(scope="module")
def table() -> Tradeoff:
    def fit(examples: Examples, inputs: Inputs, seed: int) -> FittedEstimator:
        return FITS["category"](examples, inputs, {"draws": 8}, seed)

    estimate = out_of_fold(fit, MEASURED, INPUTS, parts=3, seed=0)
    return trade_off(estimate, MEASURED, np.full(len(MEASURED), 2.0))


def measured_at(drops: Numbers, tokens: Numbers) -> Tradeoff:
    """A table of given drops of every query at every price, shape [N, P]; the same for every guard."""
    cells = (len(GUARDS), drops.shape[1])
    wide = {name: np.broadcast_to(each, cells) for name, each in {
        "accuracy": 0.9 - drops.mean(axis=0), "tokens": tokens, "drop": drops.mean(axis=0),
        "drop_spread": drops.std(axis=0),
    }.items()}  # fmt: skip
    return Tradeoff(
        prices=np.linspace(0, 1, drops.shape[1]), guards=np.array(GUARDS),
        static_accuracy=np.array([0.5, 0.9]), static_tokens=np.array([10.0, 100.0]), queries=len(drops),
        **wide,
    )  # fmt: skip


def test_a_budget_takes_the_most_accurate_setting_within_it_and_counts_probes(table: Tradeoff) -> None:
    found = resolve(Goal(tokens=50, guard=0.0), table)
    assert found.tokens is not None
    assert found.tokens <= 50
    fits = table.tokens[0] <= 50
    assert found.accuracy == table.accuracy[0][fits].max()
    assert table.tokens[0].min() == pytest.approx(table.static_tokens[0] + 2)
    with pytest.raises(UsageError, match="no setting stays within 5 tokens") as refused:
        resolve(Goal(tokens=5), table)
    assert f"the cheapest setting takes {table.tokens[1].min():.1f} tokens" in refused.value.hint


def test_an_accuracy_and_a_drop_take_the_cheapest_setting_that_has_them(table: Tradeoff) -> None:
    found = resolve(Goal(accuracy=0.8, guard=0.0), table)
    assert found.accuracy is not None
    assert found.accuracy >= 0.8
    assert found.tokens == table.tokens[0][table.accuracy[0] >= 0.8].min()
    as_good = resolve(Goal(drop=0.0, guard=0.0), table)
    assert as_good.drop is not None
    assert as_good.tokens is not None
    assert as_good.drop <= 0
    assert as_good.tokens < 0.75 * table.scale  # easy and middle queries need no Thinking
    with pytest.raises(UsageError, match=r"no setting has an accuracy of 99\.9%") as refused:
        resolve(Goal(accuracy=0.999), table)
    assert re.search(
        r"most accurate setting has \d\d\.\d%, with a drop of .* on 300 queries", refused.value.hint
    )


def test_a_price_that_was_not_measured_is_taken_as_it_is(table: Tradeoff) -> None:
    found = resolve(Goal(mu=0.123, guard=2.0), table)
    assert (found.mu, found.guard, found.accuracy) == (0.123, 2.0, None)
    measured = resolve(Goal(mu=float(table.prices[7])), table)
    assert measured.accuracy == table.accuracy[GUARDS.index(measured.guard), 7]


def test_without_a_goal_thinkings_accuracy_is_shown_for_the_fewest_tokens() -> None:
    rng = np.random.default_rng(0)
    drops = np.stack([rng.normal(mean, 0.05, 4000) for mean in (0.0, 0.001, 0.002, 0.02)], axis=1)
    found = resolve(Goal(), measured_at(drops, np.array([90.0, 70.0, 50.0, 30.0])))
    assert found.tokens == 50
    assert found.met == "shown to lose at most 0.5% against Thinking"
    few = resolve(Goal(), measured_at(drops[:40], np.array([90.0, 70.0, 50.0, 30.0])))
    assert few.met.startswith("the drop against Thinking may be up to")
    assert few.drop is not None


def test_a_higher_price_never_takes_more_tokens_without_a_guard() -> None:
    estimate = FITS["category"](MEASURED, INPUTS, {"draws": 8}, 0).estimate(INPUTS)
    spends = []
    for mu in (0.0, 0.05, 0.2, 1.0, 4.0):
        table = trade_off(estimate, MEASURED, np.zeros(len(MEASURED)))
        places = choose(estimate, table.policy(mu, 0.0)).places
        spends.append(float(estimate.cost[np.arange(len(estimate)), places].mean()))
    assert spends == sorted(spends, reverse=True)
    assert spends[0] > 2 * spends[-1]


def test_a_table_survives_its_arrays(table: Tradeoff) -> None:
    again = restore_tradeoff(table.arrays())
    assert again.queries == table.queries == 300
    for goal in (Goal(), Goal(tokens=40.0), Goal(accuracy=0.7)):
        assert resolve(goal, again) == resolve(goal, table)
    assert policy_of(resolve(Goal(guard=0.0), table), table).guard is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mu": 1.0, "tokens": 3.0}, "mu and tokens are two goals"),
        ({"mu": float("nan")}, "mu is nan"),
        ({"tokens": float("inf")}, "tokens is inf"),
        ({"guard": 0.7}, "a guard of 0.7 was not measured"),
        ({"guard": float("nan")}, "guard is nan"),
        ({"tokens": -1.0}, "tokens is -1"),
        ({"accuracy": 1.5}, "accuracy is 1.5"),
        ({"drop": -0.1}, "drop is -0.1"),
    ],
)
def test_a_goal_that_makes_no_sense_is_refused(given: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        msgspec.structs.replace(Goal(), **given)


RISK = Risk(0.02, 0.1)
WORSE = np.array([0.0, 0.005, 0.0201, 0.03])
"""True drops at four prices; the last two break the bound."""


def rare_losses(rng: np.random.Generator, count: int) -> Numbers:
    """Queries lose a whole answer or nothing: the shape that deceives a normal test most."""
    found: Numbers = (rng.random((count, 1)) < WORSE).astype(np.float64)
    return found


def even_losses(rng: np.random.Generator, count: int) -> Numbers:
    """Gains and losses of quarters, as of four answers."""
    spread = rng.choice([-0.5, -0.25, 0.0, 0.25, 0.5], size=(count, 1), p=[0.05, 0.1, 0.7, 0.1, 0.05])
    found: Numbers = spread + WORSE
    return found


@pytest.mark.parametrize("losses", [rare_losses, even_losses])
@pytest.mark.parametrize("count", [60, 400, 2000])
def test_a_bound_on_the_risk_is_broken_at_most_as_often_as_it_says(
    losses: Callable[[np.random.Generator, int], Numbers], count: int
) -> None:
    rng = np.random.default_rng(count)
    tokens = np.array([90.0, 70.0, 50.0, 30.0])
    broken = 0
    for _ in range(400):
        try:
            found = resolve(Goal(risk=RISK), measured_at(losses(rng, count), tokens))
        except UsageError:
            continue
        broken += found.tokens in (50, 30)
    assert broken / 400 <= RISK.delta + 3 * np.sqrt(RISK.delta * (1 - RISK.delta) / 400)


def test_without_the_added_queries_the_bound_would_be_broken() -> None:
    """The control of the test above: a plain normal test breaks it where losses are rare."""
    rng = np.random.default_rng(1)
    drops = np.stack([rare_losses(rng, 60)[:, 2] for _ in range(400)])
    level = NormalDist().inv_cdf(1 - RISK.delta / 4)
    plain = (RISK.epsilon - drops.mean(axis=1)) >= level * drops.std(axis=1) / np.sqrt(60)
    mean, error = with_pseudo_queries(drops.mean(axis=1), drops.std(axis=1), 60)
    assert plain.mean() > 0.25
    assert ((mean + level * error) <= RISK.epsilon).mean() <= RISK.delta


def test_a_bound_on_the_risk_is_met_by_a_cheap_setting_where_there_are_enough_queries() -> None:
    drops = even_losses(np.random.default_rng(0), 6000)
    found = resolve(Goal(risk=RISK), measured_at(drops, np.array([90.0, 70.0, 50.0, 30.0])))
    assert found.tokens == 70
    with pytest.raises(UsageError, match=r"no setting has a drop above 2\.0% with a probability of at most"):
        resolve(Goal(risk=RISK), measured_at(drops[:60], np.array([90.0, 70.0, 50.0, 30.0])))
