"""Choose the questions to show side by side over λ: those that show what λ does. By rule, not by taste."""

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
        question: Id of the question.
        reason: Why the question is shown.
        answers: The first sample of each λ, ascending in λ.
    """

    question: str
    reason: str
    answers: tuple[Rollout, ...]


def examples(
    rollouts: Sequence[Rollout], *, among: Collection[str] | None = None, each: int = 1
) -> tuple[Example, ...]:
    """Choose questions that have an answer at every λ, kind by kind.

    Kinds: wrong at first and correct from some λ on; correct only in the middle; correct at the first λ and
    wrong at the last; correct at every λ; wrong at every λ. The first sample at each λ counts as its answer.

    Args:
        rollouts: Rollouts of one sweep, λ and samples in any order.
        among: Ids to choose from; None means all.
        each: Maximum number of questions of each kind, in the order in which `rollouts` first names them.
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
    ("wrong at first, correct from some λ on", _gained),
    ("correct only in the middle", _middle),
    ("correct at first, wrong at the end", _lost),
    ("correct at every λ", all),
    ("wrong at every λ", lambda right: not any(right)),
)
