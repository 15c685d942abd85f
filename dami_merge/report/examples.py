"""Which questions to show side by side over λ: those that tell what λ does. Chosen by rule, not by taste."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dami_merge.evaluation.rollout import Rollout

if TYPE_CHECKING:
    from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Example:
    """One question over λ.

    Attributes:
        question: Id.
        reason: Why it is shown.
        answers: The first sample of each λ, ascending in λ.
    """

    question: str
    reason: str
    answers: tuple[Rollout, ...]


def examples(
    rollouts: Sequence[Rollout], *, among: Collection[str] | None = None, each: int = 1
) -> tuple[Example, ...]:
    """Questions that have an answer at every λ, kind by kind.

    Kinds: answered from some λ on; right in the middle only; right at the first λ and wrong at the last;
    right everywhere; right nowhere. The first sample that a λ has counts as its answer.

    Args:
        rollouts: Of one sweep, in any order of λ and samples.
        among: Ids to choose from; None is all.
        each: Of a kind at most, in the order in which `rollouts` first names them.
    """
    lambdas = sorted({row.lam for row in rollouts})
    by_question: dict[str, dict[Fraction, Rollout]] = {}
    for row in sorted(rollouts, key=lambda row: row.sample, reverse=True):
        by_question.setdefault(row.question, {})[row.lam] = row
    order = dict.fromkeys(row.question for row in rollouts)
    whole = {
        name: tuple(by_question[name][lam] for lam in lambdas)
        for name in order
        if len(by_question[name]) == len(lambdas) and (among is None or name in among)
    }
    chosen: list[Example] = []
    for reason, holds in _KINDS:
        fitting = [name for name, answers in whole.items() if holds([row.correct for row in answers])]
        chosen += [Example(name, reason, whole[name]) for name in fitting[:each]]
    return tuple(chosen)


def _gained(right: Sequence[bool]) -> bool:
    changes = sum(a != b for a, b in itertools.pairwise(right))
    return not right[0] and right[-1] and changes == 1


def _lost(right: Sequence[bool]) -> bool:
    return right[0] and not right[-1]


def _middle(right: Sequence[bool]) -> bool:
    return not right[0] and not right[-1] and any(right)


_KINDS = (
    ("answered from some λ on", _gained),
    ("right in the middle only", _middle),
    ("right at first, and lost on the way", _lost),
    ("right everywhere", all),
    ("right nowhere", lambda right: not any(right)),
)
