"""How many questions and answers it takes until a difference in accuracy is known to within a margin.

From what was measured: the spread between questions of the difference of each λ to the largest, split into
what the questions themselves differ by and what the draw of K answers adds. With n questions of K answers,
the half width of the 95% interval is 1.96 · √((between + within / K) / n).
"""

import math
from fractions import Fraction
from statistics import NormalDist

import msgspec
import numpy as np

from dami_merge.estimators.examples import Examples, Numbers

POINT = 0.01
"""Half width that counts as precise: one point of accuracy."""

_Z = NormalDist().inv_cdf(0.975)
_FEWEST = 10


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How much the difference in accuracy of one λ to the largest varies between questions.

    Attributes:
        lam: λ; named `lambda` in JSON.
        drop: Accuracy of the largest λ minus that of this one.
        deviation: Standard deviation of that difference between questions, as measured.
        half_width: Half width of the 95% interval of `drop`, as measured.
        between: Variance of the difference of the questions' true accuracies; None if no question has two
            answers at both λ, which cannot tell it from `within`.
        within: Variance that one answer at each of both λ adds.
    """

    lam: Fraction = msgspec.field(name="lambda")
    drop: float
    deviation: float
    half_width: float
    between: float | None
    within: float | None

    def needed(self, samples: int, margin: float = POINT) -> int:
        """Questions that narrow the interval to ± a margin.

        Args:
            samples: Answers K of each question at each λ.
            margin: Half width.

        Raises:
            ValueError: The parts of the spread are not known.
        """
        if self.between is None or self.within is None:
            raise ValueError("the spread has no parts without two answers a question")
        return max(1, math.ceil((_Z / margin) ** 2 * (self.between + self.within / samples)))

    def needed_as_measured(self, margin: float = POINT) -> int:
        """The same for as many answers a question as were measured."""
        return max(1, math.ceil((_Z / margin * self.deviation) ** 2))


def spreads(examples: Examples) -> tuple[Spread, ...]:
    """The spread of every λ but the largest; nothing for fewer than ten questions or a single λ."""
    if len(examples) < _FEWEST:
        return ()
    accuracy, samples = examples.accuracy, examples.samples
    return tuple(
        _spread(lam, accuracy[:, [place, -1]], samples[:, [place, -1]].astype(np.float64))
        for place, lam in enumerate(examples.lambdas[:-1])
    )


def _spread(lam: Fraction, accuracy: Numbers, samples: Numbers) -> Spread:
    """Args: accuracy and number of answers at the λ and at the largest, shapes [N, 2]."""
    drops = accuracy[:, 1] - accuracy[:, 0]
    deviation = float(drops.std(ddof=1))
    between = within = None
    split = (samples >= 2).all(axis=1)
    if split.sum() >= _FEWEST:
        own, count = accuracy[split], samples[split]
        one = own * (1 - own) * count / (count - 1)
        noise = float((one / count).sum(axis=1).mean())
        within = float(one.sum(axis=1).mean())
        between = max(0.0, float(drops[split].var(ddof=1)) - noise)
    return Spread(
        lam=lam,
        drop=float(drops.mean()),
        deviation=deviation,
        half_width=_Z * deviation / math.sqrt(len(drops)),
        between=between,
        within=within,
    )
