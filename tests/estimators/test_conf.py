"""`conf`: λ follows ambiguity and discrepancy; its calibration with labels and without."""

import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dami_merge.errors import InputRefused, UsageError
from dami_merge.estimators.calibrating import ConfOptions, conf_without_labels, fit_conf
from dami_merge.estimators.conf import Conf, parts_of_conf
from dami_merge.estimators.examples import Examples, Numbers
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.fits import FITS
from dami_merge.estimators.kinds import RESTORE
from dami_merge.estimators.probing import ShortAnswer
from dami_merge.estimators.signals import SIGNALS, signal, signal_table
from dami_merge.evaluation.questions.question import Message, Question

PATH = tuple(Fraction(place, 4) for place in range(5))


def short(confidence: float, certainty: float | None = None, text: str = "7") -> ShortAnswer:
    sure = confidence if certainty is None else certainty
    return ShortAnswer(text, 2, (float(np.log(confidence)),), (float(-np.log(sure)),))


def signals(instruct: Numbers, thinking: Numbers) -> Inputs:
    pairs = [(short(one), short(two)) for one, two in zip(instruct, thinking, strict=True)]
    table = signal_table(pairs, "geometric")
    return Inputs(table, np.full(len(table), 4.0), ("",) * len(table))


def measured(count: int, *, seed: int = 0, misleading: bool = False) -> tuple[Examples, Inputs]:
    """Queries that λ = 0 answers if Instruct is sure of them, and λ = 1 always; tokens grow with λ.

    With `misleading`, Instruct is surest of what it gets wrong.
    """
    random = np.random.default_rng(seed)
    sure = random.uniform(0.05, 0.95, count)
    inputs = signals(sure, np.clip(sure + random.normal(0, 0.05, count), 0.05, 0.95))
    able = 1 - sure if misleading else sure
    path = np.array([float(lam) for lam in PATH])
    success = np.where(able[:, None] > 0.5, 0.95, 0.05 + 0.9 * path)
    right = (random.random((count, 5, 4)) < success[..., None]).astype(np.int8)
    lengths = np.broadcast_to((2 + 30 * path).astype(np.int64)[None, :, None], right.shape)
    questions = tuple(Question(str(n), (Message("user", str(n)),), "7") for n in range(count))
    return Examples(questions, PATH, right, lengths, np.zeros(right.shape, dtype=np.bool_), "x"), inputs


def routed(conf: Conf, examples: Examples, inputs: Inputs) -> tuple[float, float]:
    rows = np.arange(len(examples))
    chosen = conf.estimate(inputs).value.argmax(axis=1)
    return float(examples.accuracy[rows, chosen].mean()), float(examples.tokens[rows, chosen].mean())


def test_the_signals_are_those_of_the_formulas() -> None:
    row = signal_table([(short(0.5, 0.4), short(0.75, 0.9)), (short(0.5), short(0.5, text="8"))], "min")
    first = dict(zip(SIGNALS, row[0], strict=True))
    assert first == pytest.approx(
        {
            "instruct": 0.5,
            "thinking": 0.75,
            "ambiguity": 0.375,
            "discrepancy": 0.25,
            "lead": 0.25,
            "instruct_certainty": 0.4,
            "thinking_certainty": 0.9,
            "instruct_odds": 0.0,
            "thinking_odds": np.log(3),
            "agreement": 1.0,
        }
    )
    assert row[1, SIGNALS.index("agreement")] == 0
    nothing = ShortAnswer("", 1, (), ())
    empty = signal_table([(nothing, nothing)], "min")[0]
    assert np.isfinite(empty).all()
    assert empty[SIGNALS.index("agreement")] == 0
    assert signal_table([], "min").shape == (0, len(SIGNALS))


def test_ambiguity_and_discrepancy_follow_the_options() -> None:
    vectors = signal_table([(short(0.8, 0.6), short(0.4, 0.2)), (short(0.2, 0.1), short(0.6, 0.5))], "min")
    inputs = Inputs(vectors, np.zeros(2), ("", ""))

    def parts(source: str, discrepancy: str) -> Numbers:
        return parts_of_conf(inputs, {"source": source, "discrepancy": discrepancy})

    assert parts("probability", "absolute") == pytest.approx(np.array([[0.4, 0.4], [0.6, 0.4]]))
    assert parts("probability", "positive") == pytest.approx(np.array([[0.4, 0.0], [0.6, 0.4]]))
    assert parts("entropy", "absolute") == pytest.approx(np.array([[0.6, 0.4], [0.7, 0.4]]))


def test_with_labels_it_thinks_where_instruct_is_unsure_and_loses_no_accuracy() -> None:
    examples, inputs = measured(600)
    held, others = measured(2000, seed=1)
    conf = fit_conf(examples, inputs, ConfOptions(), 0)
    accuracy, tokens = routed(conf, held, others)
    assert accuracy > held.accuracy.mean(axis=0).max() - 0.02
    assert tokens < 0.65 * held.tokens[:, -1].mean()
    points = conf.points(others)[0]
    sure = signal(others.vectors, "instruct")
    assert points[sure > 0.7].mean() < 0.1
    assert points[sure < 0.3].mean() > 0.9


def test_a_higher_weight_of_cost_buys_fewer_tokens() -> None:
    examples, inputs = measured(600)
    tokens = [
        routed(fit_conf(examples, inputs, ConfOptions(cost_weight=weight), 0), examples, inputs)[1]
        for weight in (0.05, 2.0)
    ]
    assert tokens[1] < 0.5 * tokens[0]


def test_confidence_that_misleads_does_not_route_to_the_wrong_side_of_the_best_static_lambda() -> None:
    examples, inputs = measured(600, misleading=True)
    accuracy, _ = routed(fit_conf(examples, inputs, ConfOptions(), 0), examples, inputs)
    assert accuracy > examples.accuracy.mean(axis=0).max() - 0.05


def test_each_term_alone_uses_nothing_of_the_other() -> None:
    examples, inputs = measured(300)
    for terms, unused in (("ambiguity", 2), ("discrepancy", 1)):
        for labelled in (True, False):
            options: dict[str, Any] = {"terms": terms, "labelled": labelled}
            assert not fit_conf(examples, inputs, ConfOptions(**options), 0).sigmoid[:, unused].any()


def test_without_labels_the_quantiles_of_the_signals_get_a_tenth_and_nine_tenths() -> None:
    _, inputs = measured(1001)
    conf = conf_without_labels(inputs, PATH, ConfOptions(low=0.25, high=0.75, thinking_tokens=9.0))
    points = conf.points(inputs)[0]
    assert np.quantile(points, [0.25, 0.75]) == pytest.approx([0.1, 0.9], abs=0.01)
    estimate = conf.estimate(inputs)
    assert estimate.draws.shape[0] == 0
    assert estimate.cost[0] == pytest.approx([1, 3, 5, 7, 9])
    assert conf.settings()["cost"] == "guessed"


def test_without_labels_no_answer_is_looked_at() -> None:
    examples, inputs = measured(200)
    wrong = Examples(
        examples.questions, PATH, 1 - examples.right, examples.lengths * 3, examples.cut, examples.settings
    )
    options = ConfOptions(labelled=False)
    one, two = (fit_conf(each, inputs, options, 0) for each in (examples, wrong))
    assert np.array_equal(one.sigmoid, two.sigmoid)
    assert np.array_equal(one.cost, two.cost)


def test_signals_that_never_differ_give_the_middle_of_the_path() -> None:
    inputs = signals(np.full(20, 0.5), np.full(20, 0.5))
    conf = conf_without_labels(inputs, PATH, ConfOptions())
    assert conf.points(inputs) == pytest.approx(np.full((1, 20), 0.5))


def test_the_scores_peak_at_the_point_and_resamples_differ_from_the_fit() -> None:
    examples, inputs = measured(300)
    conf = fit_conf(examples, inputs, ConfOptions(draws=8), 0)
    estimate = conf.estimate(inputs)
    path = np.array([float(lam) for lam in PATH])
    nearest = np.abs(path - conf.points(inputs)[0][:, None]).argmin(axis=1)
    assert estimate.kind == "scores"
    assert np.array_equal(estimate.value.argmax(axis=1), nearest)
    assert estimate.draws.shape == (8, 300, 5)
    assert 0 < estimate.gap_error(4)[:, 0].mean() < 1
    assert estimate.cost[0] == pytest.approx(examples.tokens.mean(axis=0))


def test_a_query_whose_signals_were_never_seen_is_novel() -> None:
    random = np.random.default_rng(0)
    narrow = signals(random.uniform(0.6, 0.8, 100), random.uniform(0.6, 0.8, 100))
    conf = conf_without_labels(narrow, PATH, ConfOptions())
    assert not conf.estimate(narrow).novel.any()
    assert conf.estimate(signals(np.array([0.1, 0.7]), np.array([0.1, 0.7]))).novel.tolist() == [True, False]


def test_a_fit_is_restored_from_its_arrays_and_repeats_with_its_seed() -> None:
    examples, inputs = measured(200)
    for options in ({}, {"labelled": False}, {"source": "entropy", "discrepancy": "positive"}):
        conf = FITS["conf"](examples, inputs, options, 3)
        again = FITS["conf"](examples, inputs, options, 3)
        restored = RESTORE["conf"](conf.arrays(), conf.lambdas, conf.settings())
        for other in (again, restored):
            assert np.array_equal(conf.estimate(inputs).value, other.estimate(inputs).value)
            assert np.array_equal(conf.estimate(inputs).draws, other.estimate(inputs).draws)
            assert other.settings() == conf.settings()
        assert restored.kind == "conf"
    arrays = dict(conf.arrays())
    del arrays["limits"]
    with pytest.raises(KeyError, match="limits"):
        RESTORE["conf"](arrays, conf.lambdas, conf.settings())


def test_one_lambda_is_enough_for_a_fit() -> None:
    examples, inputs = measured(50)
    conf = fit_conf(examples.at([Fraction(1)]), inputs, ConfOptions(), 0)
    assert conf.estimate(inputs).value.shape == (50, 1)


def test_other_features_no_queries_and_crossed_quantiles_are_refused() -> None:
    examples, inputs = measured(20)
    other = Inputs(np.zeros((20, 3)), np.zeros(20), ("",) * 20)
    with pytest.raises(InputRefused, match="10 confidence signals; got 3 features"):
        fit_conf(examples, other, ConfOptions(), 0)
    with pytest.raises(InputRefused, match="no query to calibrate"):
        conf_without_labels(inputs.part([]), PATH, ConfOptions())
    with pytest.raises(InputRefused, match=r"low 0\.9 and high 0\.1"):
        conf_without_labels(inputs, PATH, ConfOptions(low=0.9, high=0.1))
    with pytest.raises(UsageError, match="max_tokens"):
        FITS["conf"](examples, inputs, {"max_tokens": 3}, 0)


def test_a_calibration_on_a_thousand_queries_takes_less_than_five_seconds() -> None:
    examples, inputs = measured(1000)
    began = time.perf_counter()
    fit_conf(examples, inputs, ConfOptions(), 0)
    assert time.perf_counter() - began < 5
