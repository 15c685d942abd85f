"""The features `state`: what Instruct's layers hold after the prompt. `probe` is a `curve` on them.

No token is generated. The prefill is not wasted if Instruct then answers; otherwise it is extra computation.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dami_merge.estimators.examples import Places
from dami_merge.estimators.fitted import Conversation, Inputs
from dami_merge.estimators.probing import Prober

VERSION_OF_STATES = "1"


class StateFeatures:
    """Mean and last token of some layers of Instruct, one block of features for each layer."""

    spec = "state"

    def __init__(self, prober: Prober, layers: Sequence[int] | None = None) -> None:
        """Choose what runs the model.

        Args:
            prober: Runs λ = 0, in this process.
            layers: Numbers of the layers, 0 for the embeddings; None means `spread_layers`.
        """
        self._prober = prober
        self._layers = None if layers is None else tuple(layers)

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """States of some queries, shape [n, layers · 2 · width]; `spent` is 0.

        Raises:
            DamiMergeError: The states cannot be had.
        """
        return self.measured(queries)[0]

    def measured(self, queries: Sequence[Conversation]) -> tuple[Inputs, Places]:
        """States of some queries, and how many prompt tokens Instruct read for each, shape [n].

        Raises:
            DamiMergeError: The states cannot be had.
        """
        states = self._prober.prompt_states(queries, Fraction(0), self._layers)
        count, layers, places, width = states.values.shape
        vectors = states.values.reshape(count, layers * places * width).astype(np.float64)
        blocks = (places * width,) * layers
        return Inputs(vectors, np.zeros(count), ("",) * count, blocks), states.tokens

    def describe(self) -> dict[str, str]:
        """The version, the layers, and what runs the model."""
        layers = "spread" if self._layers is None else ",".join(map(str, self._layers))
        return {"state": VERSION_OF_STATES, "layers": layers} | {
            f"prober.{name}": value for name, value in self._prober.describe().items()
        }
