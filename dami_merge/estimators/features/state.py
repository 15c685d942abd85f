"""The features `state`: what Instruct's layers hold after the prompt. `probe` is a `curve` on them.

No token is generated. The prefill is not wasted if Instruct then answers; otherwise it is extra computation.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from dami_merge.estimators.examples import Places
from dami_merge.estimators.fitted import Conversation, Inputs
from dami_merge.estimators.probing import Prober, PromptStates, weights_of

VERSION_OF_STATES = "1"

SPREAD = "spread"
"""What stands for layers that are evenly spread."""


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
        return inputs_of_states(states), states.tokens

    def describe(self) -> dict[str, str]:
        """The version, the layers, and the weights; not what runs them."""
        layers = SPREAD if self._layers is None else ",".join(map(str, self._layers))
        return {"state": VERSION_OF_STATES, "layers": layers, "weights": weights_of(self._prober)}


def inputs_of_states(states: PromptStates) -> Inputs:
    """States as features, shape [n, layers · 2 · width], with a block for each layer."""
    count, layers, places, width = states.values.shape
    vectors = states.values.reshape(count, layers * places * width).astype(np.float64)
    return Inputs(vectors, np.zeros(count), ("",) * count, (places * width,) * layers)
