"""The features `conf`: how sure both endpoints are of a short answer, before either thinks."""

from collections.abc import Sequence
from fractions import Fraction

import msgspec
import numpy as np

from dami_merge.estimators.fitted import Conversation, Inputs
from dami_merge.estimators.probing import Prober, ProbeSettings, weights_of
from dami_merge.estimators.signals import SIGNALS, signal_table

VERSION_OF_SIGNALS = "1"


class ConfFeatures:
    """The signals of `SIGNALS`. They cost the generated tokens of both probes, and both prefills."""

    spec = "conf"

    def __init__(self, prober: Prober, settings: ProbeSettings | None = None) -> None:
        """Choose what runs the models.

        Args:
            prober: Runs λ = 0 and λ = 1.
            settings: How short answers are asked for; None means what suits the prober.
        """
        self._prober = prober
        self._settings = prober.suited() if settings is None else settings

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        """Signals of some queries, shape [n, len(SIGNALS)]; `spent` is the generated tokens of both probes.

        Raises:
            DamiMergeError: A probe failed.
        """
        sides = [self._prober.short_answers(queries, Fraction(lam), self._settings) for lam in (0, 1)]
        pairs = list(zip(*sides, strict=True))
        spent = np.array([float(one.tokens + two.tokens) for one, two in pairs])
        table = signal_table(pairs, self._settings.aggregate)
        return Inputs(table, spent, ("",) * len(pairs), (len(SIGNALS),))

    def describe(self) -> dict[str, str]:
        """The signals' version, the probe's settings, and the weights; not what runs them."""
        settings = msgspec.json.encode(self._settings, order="sorted").decode()
        return {"conf": VERSION_OF_SIGNALS, "probe": settings, "weights": weights_of(self._prober)}
