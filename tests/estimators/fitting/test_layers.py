"""Layers are chosen by what they say of queries that were left out."""

import numpy as np
import pytest

from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.layers import chosen_blocks, only_blocks
from tests.estimators.world import world

EXAMPLES = world(120, 4, 0)


def blocks(*noise: float) -> Inputs:
    """Blocks of three columns that show the kind of each query, under noise."""
    kinds = sorted(set(EXAMPLES.groups))
    shown = np.array([[float(group == kind) for kind in kinds] for group in EXAMPLES.groups])
    random = np.random.default_rng(0)
    vectors = np.hstack([shown + random.normal(0, each, shown.shape) for each in noise])
    return Inputs(vectors, np.zeros(len(shown)), EXAMPLES.groups, (3,) * len(noise))


@pytest.mark.parametrize(("noise", "chosen"), [((9.0, 0.01, 9.0), (1,)), ((9.0, 9.0, 0.01), (2,))])
def test_the_one_layer_that_knows_the_difficulty_is_chosen(
    noise: tuple[float, ...], chosen: tuple[int, ...]
) -> None:
    assert chosen_blocks(EXAMPLES, blocks(*noise), 0) == chosen


def test_layers_that_complete_each_other_are_all_kept() -> None:
    assert chosen_blocks(EXAMPLES, blocks(0.7, 0.7, 0.7), 0) == (0, 1, 2)


def test_nothing_is_chosen_from_one_layer_or_a_few_queries() -> None:
    assert chosen_blocks(EXAMPLES, blocks(1.0), 0) == (0,)
    few = blocks(9.0, 0.01).part(range(7))
    assert chosen_blocks(EXAMPLES.part(range(7)), few, 0) == (0, 1)


def test_the_columns_of_a_block_are_kept_together() -> None:
    inputs = Inputs(np.arange(12.0).reshape(2, 6), np.array([1.0, 2.0]), ("", "x"), (1, 3, 2))
    kept = only_blocks(inputs, (2, 0))
    assert kept.vectors.tolist() == [[4, 5, 0], [10, 11, 6]]
    assert kept.blocks == (2, 1)
    assert (kept.spent.tolist(), kept.groups) == ([1, 2], ("", "x"))
