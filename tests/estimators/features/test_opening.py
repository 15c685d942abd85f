"""Features by name: what there is, how they join, and what is refused."""

import numpy as np
import pytest

from dami_merge.errors import UsageError
from dami_merge.estimators.features.opening import FEATURES, open_features
from dami_merge.estimators.features.text import TextFeatures
from tests.estimators.features import QUERIES


def test_every_order_of_the_same_parts_gives_the_same_features() -> None:
    one, other = open_features("wordllama+text"), open_features(" text + wordllama ")
    assert one.spec == other.spec == "text+wordllama"
    assert one.describe() == other.describe()
    assert np.array_equal(one.inputs(QUERIES).vectors, other.inputs(QUERIES).vectors)


def test_joined_features_keep_their_blocks_apart_and_name_their_keys() -> None:
    text, wordllama = TextFeatures().inputs(QUERIES), open_features("wordllama").inputs(QUERIES)
    joined = open_features("text+wordllama")
    both = joined.inputs(QUERIES)
    assert both.blocks == (*text.blocks, 256)
    assert np.array_equal(both.vectors, np.hstack([text.vectors, wordllama.vectors]))
    assert both.spent.tolist() == [0.0] * len(QUERIES)
    assert both.groups == ("",) * len(QUERIES)
    assert joined.describe().keys() == {
        "text.text", "text.orders", "text.bits", "wordllama.weights", "wordllama.tokenizer",
    }  # fmt: skip


@pytest.mark.parametrize("spec", ["text", "length", "text+length"])
def test_no_queries_give_no_rows_of_the_same_width(spec: str) -> None:
    features = open_features(spec)
    assert features.inputs([]).vectors.shape == (0, features.inputs(QUERIES).vectors.shape[1])


@pytest.mark.parametrize("spec", ["texts", "", "text+", "text:3", "text+bert"])
def test_unknown_features_are_refused_with_what_there_is(spec: str) -> None:
    with pytest.raises(UsageError, match="there are no features") as refused:
        open_features(spec)
    assert all(name in refused.value.hint for name in FEATURES)


def test_features_that_are_named_twice_are_refused() -> None:
    with pytest.raises(UsageError, match="'text\\+length\\+text' names the features text twice"):
        open_features("text+length+text")


@pytest.mark.parametrize("spec", ["conf", "text+state"])
def test_features_of_models_are_refused_where_no_models_are_at_hand(spec: str) -> None:
    with pytest.raises(UsageError, match="ask the models at both ends of the path") as refused:
        open_features(spec)
    assert "the grid or the servers" in refused.value.hint
