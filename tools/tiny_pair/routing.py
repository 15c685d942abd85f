"""What a table that knows a question's group would win: a λ for each group, cross-fitted.

Knows arrays and the names of groups only.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PRICE = 0.05
"""Accuracy that the tokens of one answer of Thinking must win; decides between λ of nearly equal accuracy."""

RESAMPLES = 1000


def routed(grades: Floats, groups: Sequence[str], seed: int) -> dict[str, Any]:
    """Accuracy and tokens of the table, against Thinking and against the hull of static mixtures.

    A group's λ is the one with the highest accuracy less `PRICE` times the tokens relative to Thinking's,
    chosen on one half of the samples and scored on the other, both ways. Intervals hold 95% of resamples of
    the questions within their groups; each resample chooses anew.

    Args:
        grades: Accuracy and tokens, [λ, questions, samples, 2]; the last λ is Thinking. At least two samples.
        groups: Group of every question.
        seed: Of the resamples.
    """
    rng = np.random.default_rng(seed)
    places = [np.flatnonzero(np.array(groups) == group) for group in dict.fromkeys(groups)]
    halves = np.stack([grades[:, :, first::2].mean(2) for first in (0, 1)])
    whole = grades.mean(2)
    lambdas, found = _scores(halves, whole, places)
    resampled = []
    for _ in range(RESAMPLES):
        drawn = [rng.choice(own, len(own)) for own in places]
        resampled.append(_scores(halves, whole, drawn)[1])
    low, high = np.quantile(np.array(resampled), [0.025, 0.975], axis=0)
    names = ("accuracy", "tokens", "accuracy_change", "tokens_saved", "above_hull")
    return {
        "lambdas": {
            group: [numerator / (len(grades) - 1) for numerator in chosen]
            for group, chosen in zip(dict.fromkeys(groups), lambdas.T.tolist(), strict=True)
        },
        "price": PRICE,
    } | {
        name: {"interval": [round(low[i], 4), round(high[i], 4)], "value": round(found[i], 4)}
        for i, name in enumerate(names)
    }


def _scores(halves: Floats, whole: Floats, places: Sequence[npt.NDArray[np.intp]]) -> tuple[Any, list[float]]:
    """The place of the λ that each half chooses [halves, groups], and the five figures."""
    means = np.stack([halves[:, :, own].mean(2) for own in places])  # [groups, halves, λ, 2]
    static = np.stack([whole[:, own].mean(1) for own in places])  # [groups, λ, 2]
    weights = np.array([len(own) for own in places]) / sum(len(own) for own in places)
    path = np.einsum("g,glv->lv", weights, static)
    value = means[..., 0] - PRICE * means[..., 1] / path[-1, 1]
    chosen = value.argmax(2)  # [groups, halves]
    other = np.stack([means[np.arange(len(places)), 1 - half, chosen[:, half]] for half in (0, 1)])
    accuracy, tokens = (weights @ other.mean(0)).tolist()
    thinking = path[-1]
    return chosen.T, [
        accuracy,
        tokens,
        accuracy - thinking[0],
        1 - tokens / thinking[1],
        accuracy - hull_at(path, tokens),
    ]


def hull_at(path: Floats, tokens: float) -> float:
    """Accuracy of the best mixture of two static λ at these mean tokens; `path` is [λ, (accuracy, tokens)].

    Below the cheapest λ it is that λ's, which no mixture reaches.
    """
    reached = [path[path[:, 1].argmin(), 0], *path[path[:, 1] <= tokens, 0]]
    for left in path[path[:, 1] <= tokens]:
        for right in path[path[:, 1] > tokens]:
            part = (tokens - left[1]) / (right[1] - left[1])
            reached.append(left[0] + part * (right[0] - left[0]))
    return float(max(reached))
