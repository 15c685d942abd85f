"""The verdict on one estimator in words, from its figures and its controls."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from dami_merge.estimators.goal import EQUAL
from dami_merge.estimators.judge.judgement import Judgement
from dami_merge.estimators.judge.resampled import Figure95
from dami_merge.estimators.judge.signatures import Signatures
from dami_merge.evaluation.statistics.wording import points

RulingKind = Literal["beats", "nothing", "worse", "refuted"]


_WORDS: Mapping[RulingKind, str] = MappingProxyType(
    {
        "beats": "beats every static mixture of λ at the same tokens",
        "nothing": "adds nothing shown over a static λ",
        "worse": "is worse than a static λ",
        "refuted": "is refuted: fitted on shuffled labels, it beats the static mixtures too",
    }
)


class Rivalry(msgspec.Struct, frozen=True, kw_only=True):
    """The primary figure minus that of another row of the table, paired by query."""

    name: str
    ahead: Figure95


class Shuffled(msgspec.Struct, frozen=True, kw_only=True):
    """The same estimator fitted on the answers of other queries, in several permutations.

    Attributes:
        gain: The primary figure of all permutations, averaged query by query.
        each: That of each permutation. Where queries are of few kinds, one permutation may favour the right
            kinds by chance.
    """

    gain: Figure95
    each: tuple[float, ...]

    @property
    def wins(self) -> bool:
        """Whether it beats the hull, so that whatever is behind the gain is not what was learned.

        The interval is over queries, not over permutations, and a permutation that hardly leaves a static λ
        can be above it by chance. So the interval must lie above 0, every permutation must win, and the gain
        must be at least half a point, below which accuracies count as equal. Source: ours.
        """
        interval = self.gain.interval
        shown = interval is not None and interval.low > 0 and min(self.each) > 0
        return shown and self.gain.value >= EQUAL


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """What can be claimed of an estimator.

    Attributes:
        kind: `beats` if the interval of the primary figure lies above 0 and the sign is the same for all
            seeds; `worse` if it lies below 0; `refuted` if it beats the hull but so does the same estimator
            fitted on shuffled labels; else `nothing`.
        sentences: The verdict, then what else must be said with it.
    """

    kind: RulingKind
    sentences: tuple[str, ...]


def rule(
    judgement: Judgement,
    signs: Signatures,
    spoiled: Shuffled | None,
    rivals: tuple[Rivalry, ...] = (),
) -> Ruling:
    """Rule on one estimator.

    Args:
        judgement: Its figures.
        signs: The failures in its λ.
        spoiled: The same estimator fitted on shuffled labels; None if it was not.
        rivals: The figure against controls that know less, such as the length of the prompt.
    """
    gain = judgement.over_hull
    kind = _kind(judgement, spoiled)
    shown = spoiled.gain if kind == "refuted" and spoiled is not None else gain
    notes = [f"It {_WORDS[kind]}: {points(shown.value, shown.interval)}."]
    if gain.interval is None:
        notes.append(f"{judgement.queries} queries are too few for an interval.")
    if _flips(judgement):
        low, high = (100 * pick(judgement.by_seed) for pick in (min, max))
        notes.append(f"The sign changes with the seed: {low:+.1f} to {high:+.1f} points.")
    notes += [_against(each) for each in rivals if kind == "beats" and not _ahead(each.ahead)]
    notes += [f"Failure: {each}." for each in signs.failures]
    return Ruling(kind=kind, sentences=tuple(notes))


def _kind(judgement: Judgement, spoiled: Shuffled | None) -> RulingKind:
    interval = judgement.over_hull.interval
    if interval is not None and interval.high < 0:
        return "worse"
    if interval is None or interval.low <= 0 or _flips(judgement):
        return "nothing"
    return "refuted" if spoiled is not None and spoiled.wins else "beats"


def _ahead(figure: Figure95) -> bool:
    return figure.interval is not None and figure.interval.low > 0


def _against(rivalry: Rivalry) -> str:
    ahead = rivalry.ahead
    behind = ahead.interval is not None and ahead.interval.high < 0
    what = "is worse than" if behind else "is not shown to be better than"
    return f"It {what} {rivalry.name}: {points(ahead.value, ahead.interval)}."


def _flips(judgement: Judgement) -> bool:
    return min(judgement.by_seed) < 0 < max(judgement.by_seed)
