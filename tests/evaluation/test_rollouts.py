"""The rows of a sweep as a sequence, as columns, as CSV, and as DataFrames of both libraries."""

import csv
import io
import sys

import pytest

from dami_merge.errors import DamiMergeError
from dami_merge.evaluation.rollout import Rollout
from dami_merge.evaluation.rollouts import Rollouts
from tests.evaluation.simulated import rollout


@pytest.fixture
def rollouts() -> Rollouts:
    rows = [
        rollout("a", "0/1", 0, tokens=3, correct=False),
        rollout("a", "1/3", 0, tokens=5, correct=True),
        rollout('say "1,2"\nλ', "1/1", 1, tokens=9, correct=True),
    ]
    return Rollouts(rows)


def test_they_are_a_sequence_of_rows(rollouts: Rollouts) -> None:
    assert len(rollouts) == 3
    assert all(isinstance(row, Rollout) for row in rollouts)
    assert rollouts[0].fraction == "0/1"
    assert rollouts[1:] == list(rollouts)[1:]
    assert isinstance(rollouts[1:], Rollouts)
    assert rollouts == tuple(rollouts)
    assert rollouts != rollouts[:2]
    assert hash(rollouts) == hash(Rollouts(list(rollouts)))
    assert repr(rollouts) == "Rollouts of 3 samples"


def test_columns_have_lambda_as_a_number_and_exactly(rollouts: Rollouts) -> None:
    columns = rollouts.columns()
    assert columns["lambda"] == [0.0, 1 / 3, 1.0]
    assert columns["fraction"] == ["0/1", "1/3", "1/1"]
    assert columns["correct"] == [False, True, True]
    assert set(columns) == {"lambda", *Rollout.__struct_fields__}
    assert {len(values) for values in columns.values()} == {3}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_of_either_library_has_the_columns_and_their_types(
    rollouts: Rollouts, library: str
) -> None:
    frame = rollouts.to_pandas() if library == "pandas" else rollouts.to_polars()
    assert type(frame).__module__.startswith(library)
    assert list(frame.columns) == list(rollouts.columns())
    assert frame["tokens"].sum() == 17
    assert frame["correct"].sum() == 2
    assert list(frame["lambda"]) == [0.0, 1 / 3, 1.0]


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_without_the_library_the_error_says_what_to_do(
    rollouts: Rollouts, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(DamiMergeError, match=f"needs {library}, which is not installed") as caught:
        rollouts.to_pandas() if library == "pandas" else rollouts.to_polars()
    assert caught.value.hint == f"pip install {library}"


def test_csv_reads_back_whatever_the_texts_hold(rollouts: Rollouts) -> None:
    rows = list(csv.DictReader(io.StringIO(rollouts.to_csv(), newline="")))
    assert [row["question"] for row in rows] == ["a", "a", 'say "1,2"\nλ']
    assert [row["correct"] for row in rows] == ["0", "1", "1"]
    assert [float(row["lambda"]) for row in rows] == [0.0, 1 / 3, 1.0]
    assert Rollouts([]).to_csv().count("\n") == 1
