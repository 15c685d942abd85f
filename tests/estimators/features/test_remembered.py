"""Features that are remembered are those of the features, and each query is asked for once."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dami_merge.estimators.features.length import LengthFeatures
from dami_merge.estimators.features.remembered import RememberedFeatures
from dami_merge.estimators.fitted import Conversation, Inputs
from tests.estimators.features import QUERIES


class Metered:
    """Length, which keeps what it was asked for; the first query ever costs one token, the next two."""

    spec = "metered"

    def __init__(self) -> None:
        self.asked: list[Conversation] = []

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        first = len(self.asked)
        self.asked += queries
        found = LengthFeatures().inputs(queries)
        return replace(found, spent=np.arange(first + 1, len(self.asked) + 1, dtype=np.float64))

    def describe(self) -> dict[str, str]:
        return {"metered": "1"}


def test_a_query_is_asked_for_once_and_stays_what_it_was() -> None:
    metered = Metered()
    features = RememberedFeatures(metered)
    first = features.inputs([QUERIES[0], QUERIES[1], QUERIES[0]])
    again = features.inputs([QUERIES[2], QUERIES[1]])
    assert metered.asked == [QUERIES[0], QUERIES[1], QUERIES[2]]
    assert first.spent.tolist() == [1, 2, 1]
    assert again.spent.tolist() == [3, 2]
    whole = LengthFeatures().inputs(QUERIES)
    assert np.array_equal(first.vectors, whole.vectors[[0, 1, 0]])
    assert np.array_equal(again.vectors, whole.vectors[[2, 1]])
    assert (again.groups, again.blocks) == (("", ""), whole.blocks)


def test_its_name_and_description_are_those_of_the_features_and_no_query_is_no_row() -> None:
    features = RememberedFeatures(Metered())
    assert (features.spec, features.describe()) == ("metered", {"metered": "1"})
    assert features.inputs([]).vectors.shape == (0, LengthFeatures().inputs(QUERIES).vectors.shape[1])
