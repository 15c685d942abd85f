"""Whether what an estimator predicts is true, apart from what is done with it: ranking and calibration."""

import msgspec
import numpy as np

from dami_merge.estimators.estimate import Estimate
from dami_merge.estimators.examples import Examples, Flags, Numbers
from dami_merge.estimators.judge.metrics import auroc, brier, calibration_error
from dami_merge.estimators.judge.resampled import Draws, Figure95

_BINS = 10
_RESAMPLES = 400


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """Answers whose predicted probability lies in one tenth.

    Attributes:
        predicted: Mean probability.
        measured: Share of correct answers.
        share: Share of all predictions.
    """

    predicted: float
    measured: float
    share: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """How true probabilities of success are, over all queries and λ.

    Attributes:
        brier: Brier score of single answers (Brier, Monthly Weather Review 78, 1950).
        brier_of_means: That of predicting the measured mean of each λ: what it takes to know nothing.
        ece: Expected calibration error over ten bins of equal width (Guo et al., arXiv 1706.04599).
        bins: The bins that are not empty, ascending.
    """

    brier: float
    brier_of_means: float
    ece: float
    bins: tuple[CalibrationBin, ...]


def calibration(estimates: list[Estimate], examples: Examples) -> Calibration | None:
    """Compare probabilities with shares; seeds count equally. None for estimators without probabilities.

    Args:
        estimates: Predictions of each seed for the N queries.
        examples: The measured queries.
    """
    if not estimates or any(each.kind != "curves" for each in estimates):
        return None
    predicted = np.clip(np.stack([each.value for each in estimates]), 0.0, 1.0)
    measured = np.broadcast_to(examples.accuracy, predicted.shape)
    means = np.broadcast_to(examples.accuracy.mean(axis=0), predicted.shape)
    return Calibration(
        brier=brier(predicted, measured),
        brier_of_means=brier(means, measured),
        ece=calibration_error(predicted, measured, _BINS),
        bins=_bins(predicted.ravel(), measured.ravel()),
    )


def _bins(predicted: Numbers, measured: Numbers) -> tuple[CalibrationBin, ...]:
    places = np.minimum((predicted * _BINS).astype(np.int64), _BINS - 1)
    found = []
    for place in range(_BINS):
        inside: Flags = places == place
        if inside.any():
            found.append(
                CalibrationBin(
                    predicted=float(predicted[inside].mean()),
                    measured=float(measured[inside].mean()),
                    share=float(inside.mean()),
                )
            )
    return tuple(found)


def thinking_gain(estimate: Estimate) -> Numbers:
    """An estimate's own signal that Thinking is needed: its value at λ = 1 minus that at λ = 0, shape [N]."""
    gain: Numbers = estimate.value[:, -1] - estimate.value[:, 0]
    return gain


def needed_auroc(signal: Numbers, examples: Examples, draws: Draws) -> Figure95 | None:
    """AUROC of a signal for "Instruct is wrong and Thinking is right".

    Samples of the two are independent, so a query counts as positive with the probability that an answer at
    λ = 0 is wrong and one at λ = 1 is right, and as negative otherwise.

    Args:
        signal: Higher where Thinking is needed, shape [N].
        examples: The N measured queries.
        draws: Their resamples; the first 400 make the interval.

    Returns:
        None if no query needs Thinking, or all do.
    """
    needed = (1 - examples.accuracy[:, 0]) * examples.accuracy[:, -1]
    twice = np.concatenate([signal, signal])
    positive = np.arange(len(twice)) < len(signal)
    weights = np.concatenate([needed, 1 - needed])
    found = [
        auroc(twice, positive, weights * np.concatenate([row, row]))
        for row in draws.weights[: 1 + _RESAMPLES]
    ]
    rows = [each for each in found if each is not None]
    return draws.figure(np.array(rows)) if len(rows) == len(found) else None


def co_failures(examples: Examples) -> float:
    """Share of the queries with no correct answer at any λ: no router can win them (arXiv 2606.27288)."""
    return float((examples.correct.sum(axis=1) == 0).mean())
