"""95% intervals of a mean over questions whose samples are not independent. Knows numbers only."""

import math
from statistics import NormalDist

import msgspec
import numpy as np

from dami_merge.errors import InputRefused, Problem
from dami_merge.evaluation.statistics.table import Counts, Floats

LEVEL = 0.95
"""Of every interval."""

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)


class Interval(msgspec.Struct, frozen=True):
    """Both ends of a 95% interval."""

    low: float
    high: float


def wilson(share: float, samples: float) -> Interval:
    """Wilson's score interval (J. Am. Stat. Assoc. 22, 1927) of a share.

    Args:
        share: p, in [0, 1].
        samples: n, above 0; need not be whole, so that it may be `effective_samples`.

    Returns:
        (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), within [0, 1].

    Raises:
        InputRefused: `share` is outside [0, 1], or `samples` is not above 0.
    """
    if not 0 <= share <= 1 or not samples > 0:
        raise InputRefused([Problem("share", f"a share of {share} of {samples} samples has no interval")])
    spread = _Z * math.sqrt(share * (1 - share) / samples + _Z**2 / (4 * samples**2))
    centre = share + _Z**2 / (2 * samples)
    whole = 1 + _Z**2 / samples
    return Interval(
        low=max(0.0, (centre - spread) / whole) if share > 0 else 0.0,
        high=min(1.0, (centre + spread) / whole) if share < 1 else 1.0,
    )


def effective_samples(accuracy: Floats, samples: Counts) -> float:
    """How many independent answers tell as much about the mean accuracy as these, which share questions.

    The number of answers over the design effect (Kish, Survey Sampling, 1965):

        m = N² / Σ 1/K_q             independent answers would count so much; N·K where K is the same
        s² = Σ (a_q - p)² / (N - 1)  between the questions' shares a_q of right answers; p is their mean
        deff = (s² / N) / (p (1 - p) / (m - 1))
        n = m / deff, kept within [N, m]

    One sample each gives n = N and so the plain interval. Where all answers are right, or all wrong, nothing
    tells how alike the samples of a question are, and each question counts once. Franco, Little, Louis and
    Slud (J. Surv. Stat. Methodol. 7, 2019) compare intervals of this kind and recommend Wilson's form; they
    find that it covers less than it says where questions are few, since s² is itself uncertain. Simulated
    here: 92 to 95% for 30 questions of 8 or 64 samples, 95% from 100 questions on.

    Args:
        accuracy: Shape [N]; N is 1 at least.
        samples: Shape [N]: K of each question, 1 at least.
    """
    questions = len(accuracy)
    independent = questions**2 / float((1 / samples).sum())
    share = float(accuracy.mean())
    if questions < 2 or not 0 < share < 1:
        return float(questions)
    between = float(np.var(accuracy, ddof=1)) / questions
    if between == 0:
        return independent
    effect = between / (share * (1 - share) / (independent - 1))
    return min(max(independent / effect, float(questions)), independent)


def mean_interval(means: Floats) -> Interval | None:
    """Mean ± 1.96 standard errors between questions (Miller, arXiv 2411.00640); None for a single question.

    Args:
        means: Of each question, shape [N].
    """
    if len(means) < 2:
        return None
    half = _Z * float(np.std(means, ddof=1)) / math.sqrt(len(means))
    return Interval(float(means.mean()) - half, float(means.mean()) + half)
