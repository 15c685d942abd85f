"""Length alone: it sees nothing else, and a little more length changes it a little."""

import numpy as np

from dami_merge.estimators.features.length import STEPS, LengthFeatures
from tests.estimators.features import said


def test_prompts_of_one_length_are_the_same_whatever_they_say() -> None:
    one, other = LengthFeatures().inputs([said("what is 2+2?"), said("SING or weep")]).vectors
    assert np.array_equal(one, other)


def test_a_prompt_belongs_to_two_buckets_in_shares_that_add_up_to_one() -> None:
    vectors = LengthFeatures().inputs([said("x" * size) for size in (0, 1, 50, 51, 3000, 5_000_000)]).vectors
    buckets = vectors[:, 3:]
    assert buckets.shape[1] == STEPS
    assert np.allclose(buckets.sum(axis=1), 1)
    assert ((buckets > 0).sum(axis=1) <= 2).all()
    assert np.abs(buckets[2] - buckets[3]).max() < 0.1
    assert buckets[5, -1] == 1


def test_words_and_lines_count_beside_bytes() -> None:
    logs = LengthFeatures().inputs([said("a b\nc"), said("ab\n\nc")]).vectors[:, :3]
    assert np.allclose(np.expm1(logs), [[5, 3, 2], [5, 2, 3]])


def test_all_turns_count() -> None:
    turns = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]
    assert np.allclose(np.expm1(LengthFeatures().inputs([turns]).vectors[0, :3]), [13, 3, 2])


def test_the_version_is_what_fitting_and_serving_must_share() -> None:
    assert LengthFeatures().describe() == {"length": "1"}
