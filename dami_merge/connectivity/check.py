"""The whole check of a pair: its weights and, on request, the path between them and their difference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import fetched, open_both
from dami_merge.connectivity.difference import DifferenceReport, examine_difference
from dami_merge.connectivity.limits import CONNECTED
from dami_merge.connectivity.path import PathReport, walk_pair
from dami_merge.connectivity.report import WeightsReport
from dami_merge.connectivity.rounding import RoundingReport, examine_rounding
from dami_merge.connectivity.sample import Sample
from dami_merge.connectivity.texts import Text
from dami_merge.connectivity.weights import compare_weights
from dami_merge.errors import UsageError
from dami_merge.lambdas import DEFAULT_STEPS, even_grid


@dataclass(frozen=True, slots=True)
class Check:
    """Result of a check.

    Attributes:
        weights: The comparison of the weights.
        path: The measurements along the path; None if it was not walked.
        difference: The directions of the difference; None if they were not examined.
        rounding: What rounding to the stored dtype leaves of the difference; None before it is measured.
    """

    weights: WeightsReport
    path: PathReport | None = None
    difference: DifferenceReport | None = None
    rounding: RoundingReport | None = None

    @property
    def passes(self) -> bool:
        """Whether no measurement speaks against interpolation, so that `check-lmc` exits with code 0.

        The weights must be connected, and rounding must not drown their difference at half of the λ. If the
        path was walked, both models must lie in one basin, the path must be smooth, and λ must not be a
        switch. A loss that rises and falls on a low path does not fail the check, and neither do answers that
        begin too much alike to tell.
        """
        if self.rounding is not None and self.rounding.eaten:
            return False
        return self.weights.connected and (self.path is None or self.path.passes)


@dataclass(frozen=True, slots=True)
class Walk:
    """How to walk the path.

    Attributes:
        texts: At least one text; see `read_texts`.
        lambdas: The λ to measure, ascending from 0 to 1.
        device: `auto`, `cpu`, `cuda`, `cuda:1` or `mps`.
        written_tokens: Length of the greedy answers to write at every λ; 0 writes none.
    """

    texts: Sequence[Text]
    lambdas: Sequence[Fraction] = field(default_factory=lambda: even_grid(DEFAULT_STEPS))
    device: str = "auto"
    written_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks of a check.

    Attributes:
        on_bytes: Called with the weight bytes compared so far and their total.
        on_weights: Called with the comparison of the weights as soon as it is done, so that it is not lost if
            the walk fails.
        on_point: Called with the number of λ measured so far and their total.
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

    Differences in config or tokenizer do not stop the comparison; they are reported as reasons for which
    `grid` would refuse the pair.

    Args:
        instruct: Model at λ = 0: folder, Hub id, `bundled:tiny/instruct`, or an opened checkpoint. Weights on
            the Hub that are not in its cache are read by range requests, and nothing is stored.
        thinking: Model at λ = 1, in the same forms.
        threshold: Cosine at or above which a layer counts as connected. Source: paper (0.99).
        sample: Read only this sample of the weights; None reads all.
        walk: Also walk the path in a live model, which takes memory for three models and downloads the
            weights.
        difference: Also examine in how few directions the difference lies.
        watch: Callbacks.

    Raises:
        UsageError: The threshold is not in [-1, 1].
        InputRefused: Names, shapes or dtypes differ, or a side is quantised, holds NaN or Inf, or has no
            matrix.
        HubError: The Hub is unreachable or refuses a request.
        DamiMergeError: Any error that `walk_pair` raises.

    Example:
        >>> check = check_lmc("bundled:tiny/instruct", "bundled:tiny/thinking")
        >>> check.passes, check.weights.verdict, check.weights.worst_layer
        (True, 'connected', 'model.layers.3')
        >>> from dami_merge.bundled import bundled_questions
        >>> from dami_merge.connectivity.texts import read_texts
        >>> walk = Walk(read_texts(bundled_questions(), limit=20), even_grid(4))
        >>> check = check_lmc("bundled:tiny/instruct", "bundled:tiny/thinking", walk=walk)
        >>> check.path.same_basin, check.path.smooth, [float(point.lam) for point in check.path.points]
        (True, True, [0.0, 0.25, 0.5, 0.75, 1.0])
    """
    if not -1 <= threshold <= 1:
        raise UsageError(f"the threshold is a cosine, from -1 to 1, not {threshold}")
    sides = open_both(instruct, thinking)
    if walk is not None:  # it needs the weights on this disk: read them from there in the first pass too
        sides = fetched(sides[0]), fetched(sides[1])
    weights = compare_weights(*sides, threshold=threshold, sample=sample, on_bytes=watch.on_bytes)
    rounding = examine_rounding(*sides, lambdas=walk.lambdas if walk else None)
    watch.on_weights(weights)
    path = None if walk is None else _walked(sides, walk, watch)
    return Check(weights, path, examine_difference(*sides) if difference else None, rounding)


def _walked(sides: tuple[Checkpoint, Checkpoint], walk: Walk, watch: Watch) -> PathReport:
    return walk_pair(
        *sides,
        walk.texts,
        walk.lambdas,
        device=walk.device,
        written_tokens=walk.written_tokens,
        on_point=watch.on_point,
    )
