"""Estimators find what is to be found in a world whose curves are known, and say how sure they are."""

import numpy as np
import pytest

from dami_merge.errors import InputRefused, UsageError
from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.fitted import FittedEstimator, Scalar
from dami_merge.estimators.fitting.fits import FITS
from dami_merge.estimators.kinds import RESTORE
from tests.estimators.world import LAMBDAS, SUCCESS, TOKENS, texts_of, world

QUICK: dict[str, dict[str, Scalar]] = {
    "curve": {"draws": 6, "parts": 32, "ridge": 0.0003},
    "pref": {"draws": 6, "parts": 32, "ridge": 0.0003},
    "pred": {"draws": 6, "parts": 32, "ridge": 0.0003},
    "knn": {"draws": 6, "parts": 32, "shrink": 0.0},
    "kmeans": {"draws": 6, "parts": 32, "shrink": 0.0},
    "category": {"draws": 6, "shrink": 0.0},
    "constant": {"draws": 6},
}
TRAINED = world(240, 4, 0)
ASKED = world(60, 8, 1)


@pytest.fixture(scope="module")
def fitted() -> dict[str, FittedEstimator]:
    return {kind: FITS[kind](TRAINED, texts_of(TRAINED), options, 0) for kind, options in QUICK.items()}


def estimate(fitted: dict[str, FittedEstimator], kind: str, asked: Examples = ASKED) -> Estimate:
    return fitted[kind].estimate(texts_of(asked))


def of_kind(kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.array([group == kind for group in ASKED.groups])


@pytest.mark.parametrize("kind", ["curve", "knn", "kmeans", "category"])
def test_success_and_tokens_of_every_kind_of_query_are_found(
    fitted: dict[str, FittedEstimator], kind: str
) -> None:
    found = estimate(fitted, kind)
    assert found.kind == "curves"
    for name in ("easy", "middle", "hard"):
        mean = found.value[of_kind(name)].mean(axis=0)
        assert np.abs(mean - SUCCESS[name]).max() < 0.12, name
    assert np.abs(found.cost.mean(axis=0) / TOKENS - 1).max() < 0.1


def test_the_constant_says_the_mean_of_all(fitted: dict[str, FittedEstimator]) -> None:
    found = estimate(fitted, "constant")
    assert np.allclose(found.value, TRAINED.accuracy.mean(axis=0))
    assert np.allclose(found.cost, TRAINED.tokens.mean(axis=0))
    assert not found.novel.any()


@pytest.mark.parametrize("kind", ["pref", "pred"])
def test_scores_prefer_small_lambdas_for_easy_and_large_ones_for_hard_queries(
    fitted: dict[str, FittedEstimator], kind: str
) -> None:
    found = estimate(fitted, kind)
    assert found.kind == "scores"
    assert np.allclose(found.cost, TRAINED.tokens.mean(axis=0))
    best = found.value.argmax(axis=1)
    easy, middle, hard = (float(best[of_kind(name)].mean()) for name in ("easy", "middle", "hard"))
    assert easy < 1 < middle < 2.8 < hard


@pytest.mark.parametrize("kind", list(QUICK))
def test_an_estimator_says_the_same_after_it_was_stored(
    fitted: dict[str, FittedEstimator], kind: str
) -> None:
    one = fitted[kind]
    again = RESTORE[kind](one.arrays(), one.lambdas, one.settings())
    before, after = one.estimate(texts_of(ASKED)), again.estimate(texts_of(ASKED))
    assert (again.kind, again.lambdas, again.settings()) == (kind, LAMBDAS, one.settings())
    assert np.allclose(before.value, after.value, atol=2e-3)
    assert np.allclose(before.draws, after.draws, atol=1e-2)
    assert np.allclose(before.cost, after.cost, rtol=3e-3)
    assert np.array_equal(before.novel, after.novel)


@pytest.mark.parametrize("kind", list(QUICK))
def test_a_missing_array_is_an_error(fitted: dict[str, FittedEstimator], kind: str) -> None:
    one = fitted[kind]
    arrays = one.arrays()
    arrays.pop(min(arrays))
    with pytest.raises(KeyError):
        RESTORE[kind](arrays, one.lambdas, one.settings())


@pytest.mark.parametrize("kind", ["curve", "pref", "category"])
def test_errors_shrink_with_the_number_of_queries(kind: str) -> None:
    options: dict[str, Scalar] = {**QUICK[kind], "draws": 24}
    if kind != "category":
        options["ridge"] = 0.01
    few, many = (FITS[kind](part, texts_of(part), options, 0) for part in (TRAINED.part(range(48)), TRAINED))
    errors = [each.estimate(texts_of(ASKED)).gap_error(4)[:, 0].mean() for each in (few, many)]
    assert errors[1] < 0.75 * errors[0]


def test_the_error_of_a_gap_covers_the_truth(fitted: dict[str, FittedEstimator]) -> None:
    found = FITS["category"](TRAINED, texts_of(TRAINED), {"draws": 200, "shrink": 0.0}, 0).estimate(
        texts_of(ASKED)
    )
    errors = found.gap_error(4)
    for name in ("easy", "middle", "hard"):
        row = np.flatnonzero(of_kind(name))[0]
        gap = found.value[row] - found.value[row, 4]
        truth = SUCCESS[name] - SUCCESS[name][4]
        assert (np.abs(gap - truth) <= 3.5 * errors[row] + 1e-9).all()
        assert errors[row, 4] == 0


def test_without_resamples_there_are_no_errors() -> None:
    one = FITS["curve"](TRAINED, texts_of(TRAINED), {"draws": 0, "parts": 8}, 0)
    assert not one.estimate(texts_of(ASKED)).gap_error(0).any()


@pytest.mark.parametrize("kind", ["curve", "pref", "pred", "knn", "kmeans"])
def test_a_query_in_another_script_is_novel_and_one_of_the_same_kind_is_not(
    fitted: dict[str, FittedEstimator], kind: str
) -> None:
    strange = world(3, 1, 5)
    texts = texts_of(strange)
    other = np.abs(np.random.default_rng(0).normal(size=texts.vectors.shape)) * 3
    found = fitted[kind].estimate(type(texts)(other, texts.spent, texts.groups, texts.blocks))
    assert found.novel.all()
    assert estimate(fitted, kind).novel.mean() < 0.1


def test_an_unknown_category_takes_the_mean_of_all_and_is_novel(fitted: dict[str, FittedEstimator]) -> None:
    asked = world(4, 1, 2, kinds=("vain",))
    found = estimate(fitted, "category", asked)
    assert found.novel.all()
    assert np.allclose(found.value, TRAINED.accuracy.mean(axis=0))


def test_labels_that_were_shuffled_teach_nothing() -> None:
    order = np.random.default_rng(3).permutation(len(TRAINED))
    shuffled = Examples(
        TRAINED.questions, LAMBDAS, TRAINED.right[order], TRAINED.lengths[order], TRAINED.cut, "settings"
    )
    options = {**QUICK["curve"], "ridge": 0.0}
    false, true = (
        FITS["curve"](each, texts_of(each), options, 0).estimate(texts_of(ASKED)).value[:, 0].std()
        for each in (shuffled, TRAINED)
    )
    assert false < 0.1 < 0.3 < true


@pytest.mark.parametrize("kind", ["curve", "pref", "pred"])
def test_cross_validation_finds_the_strength_of_the_ridge(kind: str) -> None:
    """Where nothing shows in the texts, the strongest; where much does, a weaker one."""
    vague = world(60, 4, 4, kinds=("hidden",))
    options = {"draws": 0, "parts": 8}
    weak, strong = (
        float(FITS[kind](part, texts_of(part), options, 0).settings()["ridge"])
        for part in (TRAINED.part(range(60)), vague)
    )
    assert weak < strong


@pytest.mark.parametrize("kind", ["curve", "pref", "pred"])
def test_a_fit_is_seeded(kind: str) -> None:
    inputs = texts_of(TRAINED)
    one, same, other = (FITS[kind](TRAINED, inputs, QUICK[kind], seed) for seed in (1, 1, 2))
    first = one.estimate(inputs)
    assert np.array_equal(first.draws, same.estimate(inputs).draws)
    assert not np.array_equal(first.draws, other.estimate(inputs).draws)


@pytest.mark.parametrize("kind", list(QUICK))
def test_a_few_queries_are_enough_to_fit(kind: str) -> None:
    few = TRAINED.part(range(5))
    found = FITS[kind](few, texts_of(few), {**QUICK[kind], "draws": 2}, 0).estimate(texts_of(ASKED))
    assert np.isfinite(found.value).all()
    assert np.isfinite(found.cost).all()


@pytest.mark.parametrize("kind", list(QUICK))
def test_options_are_checked(kind: str) -> None:
    with pytest.raises(UsageError, match="bogus"):
        FITS[kind](TRAINED, texts_of(TRAINED), {"bogus": 1}, 0)
    with pytest.raises(UsageError, match="parts" if kind != "constant" else "draws"):
        FITS[kind](TRAINED, texts_of(TRAINED), {"parts": 0} if kind != "constant" else {"draws": -1}, 0)


@pytest.mark.parametrize("kind", ["pref", "pred"])
def test_variants_are_fitted_too(kind: str) -> None:
    variants: dict[str, list[dict[str, Scalar]]] = {
        "pref": [{"rule": "hard"}, {"rule": "robust"}, {"expected": True}, {"unanswered": "prefer-max"}],
        "pred": [{"loss": "mse"}, {"halves": False}],
    }
    for options in variants[kind]:
        one = FITS[kind](TRAINED, texts_of(TRAINED), {**QUICK[kind], **options}, 0)
        found = one.estimate(texts_of(ASKED))
        best = found.value.argmax(axis=1)
        assert best[of_kind("easy")].mean() < 1.5 < best[of_kind("hard")].mean()


def test_queries_that_nothing_answers_do_not_stop_pred_but_leave_pref_without_pairs() -> None:
    vain = world(20, 2, 0, kinds=("vain",))
    inputs = texts_of(vain)
    assert np.isfinite(FITS["pred"](vain, inputs, QUICK["pred"], 0).estimate(inputs).value).all()
    with pytest.raises(InputRefused, match="leaves no pair of 20 queries"):
        FITS["pref"](vain, inputs, QUICK["pref"], 0)
