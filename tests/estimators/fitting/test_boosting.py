"""Gradient-boosted curves: LightGBM's own numbers from stored arrays, and what they know."""

import subprocess
import sys

import lightgbm
import numpy as np
import pytest

from dami_merge.errors import DamiMergeError, UsageError
from dami_merge.estimators.boosted import Forest
from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.fitted import FittedEstimator
from dami_merge.estimators.fitting.boosting import _forest
from dami_merge.estimators.fitting.fits import FITS
from dami_merge.estimators.kinds import RESTORE
from tests.estimators.world import PATH, SUCCESS, texts_of, world

QUICK = {"trees": 100, "draws": 2, "least": 10, "rate": 0.1}


@pytest.fixture(scope="module")
def measured() -> Examples:
    return world(150, 4, seed=1)


@pytest.fixture(scope="module")
def fitted(measured: Examples) -> FittedEstimator:
    return FITS["boosted"](measured, texts_of(measured), QUICK, 0)


def small_forest(seed: int, rounds: int) -> tuple[Forest, lightgbm.Booster]:
    """Trees on random features and λ, and the booster that they are from."""
    rng = np.random.default_rng(seed)
    wide = np.column_stack([rng.normal(size=(300, 3)), rng.choice(PATH, 300)])
    aims = 1 / (1 + np.exp(-3 * wide[:, 0] * (wide[:, 3] > 0.4)))
    named = {
        "objective": "cross_entropy",
        "num_leaves": 6,
        "min_data_in_leaf": 5,
        "verbose": -1,
        "seed": seed,
    }
    booster = lightgbm.train(named, lightgbm.Dataset(wide, aims), rounds)
    return _forest([booster.model_to_string()]), booster


def test_the_stored_trees_give_the_numbers_of_lightgbm() -> None:
    forest, booster = small_forest(0, 25)
    vectors = np.random.default_rng(1).normal(size=(40, 3))
    wide = np.column_stack([np.repeat(vectors, 5, axis=0), np.tile(PATH, 40)])
    wanted = np.asarray(booster.predict(wide, raw_score=True)).reshape(40, 5)
    assert np.ptp(wanted) > 1
    assert np.allclose(forest.outputs(vectors, PATH.tolist())[0], wanted, atol=1e-9)


def test_ensembles_are_summed_apart_and_a_tree_of_one_leaf_is_a_constant() -> None:
    texts = [small_forest(seed, rounds)[1].model_to_string() for seed, rounds in ((0, 3), (1, 7))]
    flat = lightgbm.train(
        {"objective": "regression", "verbose": -1, "min_data_in_leaf": 50},
        lightgbm.Dataset(np.zeros((60, 4)), np.full(60, 0.25)), 2,
    ).model_to_string()  # fmt: skip
    vectors = np.random.default_rng(2).normal(size=(6, 3))
    both = _forest([*texts, flat]).outputs(vectors, PATH.tolist())
    alone = [_forest([text]).outputs(vectors, PATH.tolist())[0] for text in texts]
    assert np.allclose(both[:2], alone)
    assert np.allclose(both[2], 0.25)


def test_it_finds_the_curves_of_each_kind_of_query(fitted: FittedEstimator) -> None:
    unseen = world(60, 4, seed=2)
    estimate = fitted.estimate(texts_of(unseen))
    for kind in ("easy", "middle", "hard"):
        own = np.array(unseen.groups) == kind
        assert np.abs(estimate.value[own].mean(axis=0) - SUCCESS[kind]).max() < 0.12
    assert np.abs(estimate.cost.mean(axis=0) / unseen.tokens.mean(axis=0) - 1).max() < 0.15
    assert estimate.draws.shape == (2, 60, 5)
    assert estimate.gap_error(4)[:, 0].mean() > 0.001


def test_a_fit_is_restored_without_lightgbm_and_repeats_with_its_seed() -> None:
    few, inputs = world(60, 4, seed=5), texts_of(world(12, 4, seed=3))
    quick = QUICK | {"trees": 10, "draws": 1}
    fitted, again, other = (FITS["boosted"](few, texts_of(few), quick, seed) for seed in (0, 0, 1))
    stored = RESTORE["boosted"](fitted.arrays(), fitted.lambdas, fitted.settings())

    def said(each: FittedEstimator) -> Estimate:
        return each.estimate(inputs)

    for one in (stored, again):
        assert np.array_equal(said(one).value, said(fitted).value)
        assert np.allclose(said(one).cost, said(fitted).cost)
        assert np.array_equal(said(one).draws, said(fitted).draws)
    assert not np.array_equal(said(other).value, said(fitted).value)
    program = (
        "import sys; import dami_merge.estimators.kinds;"
        "print(sorted({'lightgbm', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_cross_validation_stops_before_trees_learn_noise(measured: Examples) -> None:
    hidden = world(60, 2, seed=4, kinds=("hidden",))
    few = FITS["boosted"](hidden, texts_of(hidden), {"draws": 0}, 0).settings()["trees"]
    many = FITS["boosted"](measured, texts_of(measured), {"draws": 0, "rate": 0.2}, 0).settings()["trees"]
    assert 1 <= int(few) < int(many) < 800
    tiny = world(4, 4, seed=1)
    assert FITS["boosted"](tiny, texts_of(tiny), {"draws": 0}, 0).settings()["trees"] == 1


def test_a_missing_package_and_a_wrong_option_are_named(
    measured: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="leaves"):
        FITS["boosted"](measured, texts_of(measured), {"leaves": 1}, 0)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(DamiMergeError, match="the estimator boosted needs lightgbm, which is not installed"):
        FITS["boosted"](measured, texts_of(measured), QUICK, 0)
