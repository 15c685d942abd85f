"""Features of a prompt's length alone: the baseline "length only". Built in; nothing is downloaded.

Many benchmarks are routed well by length alone. What knows more must show that it does better. Source: ours.
"""

from collections.abc import Sequence

import numpy as np

from dami_merge.estimators.features.text import prompt_text
from dami_merge.estimators.fitted import Conversation, Inputs

VERSION_OF_LENGTH = "1"

STEPS = 56
"""Buckets for the number of bytes: each is a quarter of its logarithm wide, up to e^14 bytes."""

_COUNTS = 3


class LengthFeatures:
    """Logarithms of the bytes, words and lines of a prompt, and its bytes in overlapping buckets.

    The buckets let a linear head bend: a prompt between two of them belongs to both in part.

    Example:
        >>> LengthFeatures().inputs([[{"role": "user", "content": "How many?"}]]).vectors[0, :3].round(2)
        array([2.3 , 1.1 , 0.69])
    """

    spec = "length"

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Features of some queries, shape [n, 3 + STEPS]: logarithms of one plus each count, buckets."""
        texts = [prompt_text(query) for query in queries]
        counts = [
            (len(text.encode("utf-8", "replace")), len(text.split()), text.count("\n") + 1) for text in texts
        ]
        logs = np.log1p(np.array(counts, dtype=np.float64).reshape(-1, _COUNTS))
        places = np.minimum(logs[:, :1] * 4, STEPS - 1)
        buckets = np.maximum(0.0, 1 - np.abs(places - np.arange(STEPS)))
        vectors = np.concatenate([logs, buckets], axis=1)
        return Inputs(vectors, np.zeros(len(texts)), ("",) * len(texts), (_COUNTS, STEPS))

    def describe(self) -> dict[str, str]:
        """The version of these features."""
        return {"length": VERSION_OF_LENGTH}
