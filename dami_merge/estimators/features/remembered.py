"""Features that are computed once for each query, however often they are asked for."""

from collections.abc import Sequence

import numpy as np

from dami_merge.estimators.fitted import Conversation, Features, Inputs


class RememberedFeatures:
    """Wraps features: fits with other seeds and on other parts ask for the same queries again.

    Example:
        >>> from dami_merge.estimators.features.length import LengthFeatures
        >>> features = RememberedFeatures(LengthFeatures())
        >>> query = [{"role": "user", "content": "How many?"}]
        >>> len(features.inputs([query, query]))
        2
    """

    def __init__(self, features: Features) -> None:
        self._features = features
        self._known: dict[tuple[tuple[str, str], ...], Inputs] = {}

    @property
    def spec(self) -> str:
        """The name of the features."""
        return self._features.spec

    def describe(self) -> dict[str, str]:
        """What the features say of themselves."""
        return self._features.describe()

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Features of some queries, with those that are new computed in one batch."""
        keys = [tuple((turn["role"], turn["content"]) for turn in query) for query in queries]
        new = {key: query for key, query in zip(keys, queries, strict=True) if key not in self._known}
        if new or not keys:
            found = self._features.inputs(list(new.values()))
            if not keys:
                return found
            self._known |= {key: found.part([place]) for place, key in enumerate(new)}
        each = [self._known[key] for key in keys]
        return Inputs(
            vectors=np.concatenate([one.vectors for one in each]),
            spent=np.concatenate([one.spent for one in each]),
            groups=("",) * len(each),
            blocks=each[0].blocks,
        )
