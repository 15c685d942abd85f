"""Rollouts become arrays, sample by sample; what cannot be compared is left out or refused."""

from fractions import Fraction

import numpy as np
import pytest

from dami_merge.errors import InputRefused
from dami_merge.estimators.examples import examples_of, folds
from dami_merge.evaluation.questions.question import Message, Question
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts import Rollouts
from dami_merge.evaluation.rollouts_file import Settings, Sidecar
from tests.estimators.world import LAMBDAS, world


def row(
    question: str, fraction: str, sample: int, *, correct: bool, tokens: int, finish: str = "stop"
) -> Rollout:
    return Rollout(
        question=question, group="g", fraction=fraction, sample=sample, text="", tokens=tokens,
        finish="length" if finish == "length" else "stop", thinking="none", answer=None, correct=correct,
        seconds=0.0, settings="s",
    )  # fmt: skip


def sidecar(*names: str) -> Sidecar:
    asked = {name: Question(name, (Message("user", f"prompt of {name}"),), "1", "g") for name in names}
    return Sidecar(settings=Settings(backend={}, grader="default"), questions=asked)


def test_rollouts_stand_by_query_lambda_and_sample() -> None:
    rows = [
        row("b", "1/1", 1, correct=True, tokens=9),
        row("b", "0/1", 0, correct=False, tokens=2),
        row("b", "1/1", 0, correct=False, tokens=96, finish="length"),
        row("a", "0/1", 0, correct=True, tokens=3),
        row("a", "1/1", 0, correct=True, tokens=7),
    ]
    found = examples_of(Rollouts(rows), sidecar("a", "b"))
    assert [question.id for question in found.questions] == ["b", "a"]
    assert found.lambdas == (Fraction(0), Fraction(1))
    assert found.right.tolist() == [[[0, -1], [0, 1]], [[1, -1], [1, -1]]]
    assert found.lengths.tolist() == [[[2, -1], [96, 9]], [[3, -1], [7, -1]]]
    assert found.cut[0, 1].tolist() == [True, False]
    assert found.accuracy.tolist() == [[0.0, 0.5], [1.0, 1.0]]
    assert found.tokens.tolist() == [[2.0, 52.5], [3.0, 7.0]]
    assert found.samples.tolist() == [[1, 2], [1, 1]]
    assert found.correct.tolist() == [[0, 1], [1, 1]]


def test_a_query_without_answers_at_some_lambda_is_left_out_and_none_at_all_is_refused() -> None:
    whole = [row("a", "0/1", 0, correct=True, tokens=3), row("a", "1/1", 0, correct=True, tokens=7)]
    half = [row("b", "1/1", 0, correct=True, tokens=7)]
    found = examples_of(Rollouts(whole + half), sidecar("a", "b"))
    assert [question.id for question in found.questions] == ["a"]
    with pytest.raises(InputRefused, match="no query has an answer at all 2 λ"):
        examples_of(Rollouts([*half, row("a", "0/1", 0, correct=True, tokens=3)]), sidecar("a", "b"))
    with pytest.raises(InputRefused, match="lack 1 questions, such as 'a'"):
        examples_of(Rollouts(whole), sidecar("b"))


def test_parts_keep_what_belongs_together() -> None:
    whole = world(12, 4, 0)
    some = whole.part([5, 2])
    assert some.questions == (whole.questions[5], whole.questions[2])
    assert np.array_equal(some.right, whole.right[[5, 2]])
    ends = whole.at((LAMBDAS[0], LAMBDAS[-1]))
    assert np.array_equal(ends.tokens, whole.tokens[:, [0, -1]])
    with pytest.raises(InputRefused, match=r"no query has answers at λ = 0\.30"):
        whole.at((Fraction(3, 10),))
    even, odd = whole.halves()
    assert np.array_equal(even.right, whole.right[:, :, [0, 2]])
    assert np.array_equal(odd.lengths, whole.lengths[:, :, [1, 3]])


def test_folds_leave_every_query_out_once() -> None:
    left_out = []
    for kept, out in folds(10, 3, 1):
        assert not set(kept) & set(out)
        assert len(kept) + len(out) == 10
        left_out += out.tolist()
    assert sorted(left_out) == list(range(10))
    assert [out.tolist() for _, out in folds(10, 3, 1)] != [out.tolist() for _, out in folds(10, 3, 2)]
