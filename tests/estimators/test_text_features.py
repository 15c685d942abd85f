"""Text features depend on the prompt alone, and are the same everywhere and always."""

import numpy as np
import pytest

from dami_merge.estimators.features.text import MOST_BYTES_READ, TextFeatures, prompt_text

FIRST_BUCKETS = [29, 33, 44, 52, 70, 91]
COUNTS = [2.5649, 1.6094, 0.0, 1.3863, 0.0, 0.0, 1.3863, 0.0, 0.0, 2.3979]


def vector(text: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    row: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    row = TextFeatures().inputs([[{"role": "user", "content": text}]]).vectors[0]
    return row


def test_the_features_of_a_prompt_never_change() -> None:
    found = vector("7a-3b*3c-2")
    assert found.shape == (3082,)
    assert np.flatnonzero(found[:1024])[:6].tolist() == FIRST_BUCKETS
    assert found[3072:].round(4).tolist() == COUNTS


def test_one_query_has_the_same_features_alone_and_among_others() -> None:
    texts = ["7a-3", "", "∮ é\n\\frac{1}{2}", "Wie heißt die Hauptstadt?"]
    every = TextFeatures().inputs([[{"role": "user", "content": text}] for text in texts])
    assert every.spent.tolist() == [0.0] * 4
    assert sum(every.blocks) == every.vectors.shape[1]
    for row, text in zip(every.vectors, texts, strict=True):
        assert np.array_equal(row, vector(text))


def test_order_of_characters_counts_and_near_lengths_look_alike() -> None:
    assert not np.allclose(vector("abcd"), vector("dcba"))
    opening = slice(2048, 3072)
    near = vector("a" + "x" * 40)[opening] @ vector("a" + "y" * 44)[opening]
    far = vector("a" + "x" * 40)[opening] @ vector("a" + "y" * 400)[opening]
    assert near >= 3 > far == 1  # the opening itself, and shared lengths


@pytest.mark.parametrize("text", ["", "\ud800", "\x00", "a" * 3 * MOST_BYTES_READ])
def test_any_text_has_finite_features(text: str) -> None:
    assert np.isfinite(vector(text)).all()


def test_the_middle_of_a_very_long_prompt_is_not_read() -> None:
    start, end = "s" * MOST_BYTES_READ, "e" * MOST_BYTES_READ
    assert np.array_equal(vector(f"{start}one{end}"), vector(f"{start}two{end}"))
    assert not np.array_equal(vector(f"{start}one"), vector(f"{start}two"))


def test_all_turns_of_a_conversation_are_read() -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]
    assert prompt_text(turns) == "Be brief.\n2+2?"


def test_no_queries_have_no_rows() -> None:
    assert TextFeatures().inputs([]).vectors.shape == (0, 3082)
    assert TextFeatures().describe()["bits"] == "10"
