"""A contest in a world whose curves are known: who knows wins, who guesses does not, and controls fail."""

from dataclasses import replace

import numpy as np
import pytest

from dami_merge.estimators.examples import Examples
from dami_merge.estimators.judge.contest import Contender, Decided, Say, Trial, contest, static_points
from tests.estimators.judge.test_controls import truth
from tests.estimators.world import LAMBDAS, world

TEST, TRAIN = world(180, 4, 7), world(180, 4, 8)


def said(examples: Examples, places: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> Decided:
    return Decided(truth(examples), np.zeros(len(examples)), places, fallback=4)


def by_prompt(table: dict[str, int], default: int = 4) -> Say:
    """Looks only at the first three letters of a prompt, which name its kind in the world."""

    def say(examples: Examples) -> Decided:
        heads = [question.messages[0].content[:3] for question in examples.questions]
        return said(examples, np.array([table.get(head, default) for head in heads]))

    return say


def learns(examples: Examples, seed: int) -> Say:
    """A table of prompts, filled with the best λ of what it is fitted on."""
    del seed
    heads = np.array([question.messages[0].content[:3] for question in examples.questions])
    return by_prompt(
        {
            head: int(
                (
                    examples.accuracy[heads == head].mean(axis=0)
                    - 0.1 * examples.tokens[heads == head].mean(axis=0) / 100
                ).argmax()
            )
            for head in sorted(set(heads.tolist()))
        }
    )


def by_luck(examples: Examples) -> Decided:
    return said(examples, np.random.default_rng(0).integers(0, 5, len(examples)))


def contender(name: str, *fitted: Say, control: bool = False) -> Contender:
    return Contender(name, fitted, learns if name == "learner" else None, control)


def test_who_learns_beats_the_hull_and_its_controls_and_who_guesses_does_not() -> None:
    named: list[str] = []
    blind = contender("length only", by_prompt({}), control=True)
    rows = contest(
        Trial(TEST, TRAIN),
        [contender("learner", learns(TRAIN, 0)), contender("luck", by_luck), blind],
        named.append,
    )
    learner, luck, control = rows
    assert learner.ruling.kind == "beats"
    assert learner.ruling.sentences[1:] == ()
    assert learner.judgement.saved.value == pytest.approx(0.5, abs=0.05)
    assert learner.shuffled is not None
    assert len(learner.shuffled.each) == 3
    assert not learner.shuffled.wins
    assert luck.ruling.kind == "worse"
    assert luck.shuffled is None
    assert control.control
    assert control.ruling.kind == "nothing"
    assert named[:3] == ["learner", "luck", "length only"]
    assert all(row.uncut is None and row.heldout is None for row in rows)


def test_a_claim_that_a_control_matches_says_so() -> None:
    table = {"aba": 0, "cdc": 2}
    twin = contender("length only", by_prompt(table), control=True)
    row, _ = contest(Trial(TEST), [contender("twin", by_prompt(table)), twin])
    assert row.ruling.kind == "beats"
    assert row.ruling.sentences[1].startswith("It is not shown to be better than length only: +0.0 points")


def test_cut_answers_paraphrases_and_another_family_are_judged_apart() -> None:
    cut = np.zeros_like(TEST.cut)
    cut[:, 4, 0] = True
    cut[0, 2] = True
    paraphrased = world(90, 4, 9)
    paraphrased = replace(
        paraphrased,
        questions=tuple(replace(each, id=f"{each.id}-p") for each in paraphrased.questions),
    )
    family = world(120, 4, 10, kinds=("vain", "easy"))
    trial = Trial(replace(TEST, cut=cut), None, family, paraphrased)
    (row,) = contest(trial, [contender("knows", by_prompt({"aba": 0, "cdc": 2}))])
    assert row.uncut is not None
    assert row.uncut.queries == 179
    assert row.paraphrased is not None
    assert (row.paraphrased.queries, row.paraphrased.same) == (90, 1.0)
    assert row.heldout is not None
    assert row.heldout.judgement.queries == 120
    assert row.heldout.saved_of_static.value == pytest.approx(0.45, abs=0.02), "easy queries cost a tenth"
    assert row.heldout.over_static.interval is not None
    assert abs(row.heldout.over_static.value) < 0.05


def test_nothing_is_left_where_every_query_was_cut() -> None:
    trial = Trial(replace(TEST, cut=np.ones_like(TEST.cut)))
    (row,) = contest(trial, [contender("luck", by_luck)])
    assert row.uncut is None


def test_static_lambdas_are_measured_with_intervals() -> None:
    found = static_points(Trial(TEST))
    assert [each.lam for each in found] == list(LAMBDAS)
    assert found[4].accuracy.value == TEST.accuracy[:, 4].mean()
    assert found[4].tokens.interval is not None
