"""The whole check of a pair: its weights, and on request the path between them and their difference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity.difference import DifferenceReport, examine_difference
from dami_merge.connectivity.path import PathReport, walk_pair
from dami_merge.connectivity.report import CONNECTED, WeightsReport
from dami_merge.connectivity.sample import Sample
from dami_merge.connectivity.texts import Text
from dami_merge.connectivity.weights import compare_weights
from dami_merge.lambdas import DEFAULT_STEPS, even_grid


@dataclass(frozen=True, slots=True)
class Check:
    """What was found.

    Attributes:
        weights: The comparison of the weights.
        path: What was measured along the path; None where it was not walked.
        difference: Sample of the difference; None where it was not examined.
    """

    weights: WeightsReport
    path: PathReport | None = None
    difference: DifferenceReport | None = None

    @property
    def passes(self) -> bool:
        """Whether nothing that was measured speaks against interpolating: exit code 0 of `check-lmc`.

        The weights are connected, and where the path was walked, both models lie in one basin and the path is
        smooth. A loss that turns back on a low path is no reason against.
        """
        return self.weights.connected and (self.path is None or (self.path.same_basin and self.path.smooth))


@dataclass(frozen=True, slots=True)
class Walk:
    """How the path is walked.

    Attributes:
        texts: At least one; see `read_texts`.
        lambdas: Ascending from 0 to 1.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
    """

    texts: Sequence[Text]
    lambdas: Sequence[Fraction] = field(default_factory=lambda: even_grid(DEFAULT_STEPS))
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks of a check.

    Attributes:
        on_bytes: Called with the bytes of weights that are compared, and with how many there are.
        on_weights: Called with the comparison of the weights as soon as it is done, so that it is not lost if
            the walk fails.
        on_point: Called with the number of λ that are measured, and with how many there are.
    """

    on_bytes: Callable[[int, int], None] = lambda _, __: None
    on_weights: Callable[[WeightsReport], None] = lambda _: None
    on_point: Callable[[int, int], None] = lambda _, __: None


_UNWATCHED = Watch()


def check_lmc(
    instruct: Checkpoint | str,
    thinking: Checkpoint | str,
    *,
    threshold: float = CONNECTED,
    sample: Sample | None = None,
    walk: Walk | None = None,
    difference: bool = False,
    watch: Watch = _UNWATCHED,
) -> Check:
    """Check a pair for linear mode connectivity.

    A difference of config or tokenizer does not stop the comparison; it is reported as what `grid` would
    refuse.

    Args:
        instruct: λ = 0: folder, Hub id, `bundled:tiny/instruct`, or an opened checkpoint. Weights on the Hub
            that are not in its cache are read by ranges, and nothing is kept.
        thinking: λ = 1, in the same forms.
        threshold: Cosine from which a layer counts as connected. Source: paper (0.99).
        sample: Read only so much of the weights; None reads all.
        walk: Also walk the path in a live model, which takes memory for three models and downloads the
            weights.
        difference: Also examine a sample of the difference: rounding and rank.
        watch: Callbacks.

    Raises:
        InputRefused: Names, shapes or dtypes differ, a side is quantised, holds NaN or Inf, or has no matrix.
        HubError: The Hub could not be read to the end.
        DamiMergeError: What `walk_pair` raises.

    Example:
        >>> check = check_lmc("bundled:tiny/instruct", "bundled:tiny/thinking")
        >>> check.passes, check.weights.verdict, check.weights.worst_layer
        (True, 'connected', 'model.layers.0')
    """
    sides = open_both(instruct, thinking)
    weights = compare_weights(*sides, threshold=threshold, sample=sample, on_bytes=watch.on_bytes)
    watch.on_weights(weights)
    path = None
    if walk is not None:
        path = walk_pair(*sides, walk.texts, walk.lambdas, device=walk.device, on_point=watch.on_point)
    return Check(weights, path, examine_difference(*sides) if difference else None)
