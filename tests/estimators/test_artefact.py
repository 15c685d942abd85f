"""An estimator survives its folder; files that are damaged, hostile or of another estimator are refused."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from dami_merge.errors import InputRefused, OutputRefused
from dami_merge.estimators.artefact import Trained, check_features, load_estimator, save_estimator
from dami_merge.estimators.deciding import QueryEstimator
from dami_merge.estimators.features.length import LengthFeatures
from dami_merge.estimators.features.text import TextFeatures
from dami_merge.estimators.fitted import Scalar
from dami_merge.estimators.goal import Goal
from dami_merge.estimators.training import Plan, train
from dami_merge.files import digest_bytes
from tests.estimators.world import texts_of, world

MEASURED = world(80, 3, 0)
OPTIONS: dict[str, dict[str, Scalar]] = {
    "curve": {"draws": 4, "parts": 16, "ridge": 0.001},
    "pref": {"draws": 4, "parts": 16, "ridge": 0.001},
    "pred": {"draws": 4, "parts": 16, "ridge": 0.001},
    "knn": {"draws": 4, "parts": 16},
    "kmeans": {"draws": 4, "parts": 16},
    "category": {"draws": 4},
    "constant": {"draws": 4},
}

Arrays = dict[str, NDArray[np.generic]]


def trained_as(kind: str, goal: Goal | None = None) -> Trained:
    plan = Plan(kind=kind, options=OPTIONS[kind], goal=goal or Goal(mu=0.2, guard=0.0), folds=2, seed=1)
    return train(plan, MEASURED, TextFeatures(), weights="blake3:0", rollouts="blake3:1")


@pytest.fixture(scope="module")
def curve() -> Trained:
    return trained_as("curve")


@pytest.fixture
def folder(curve: Trained, tmp_path: Path) -> Path:
    save_estimator(tmp_path / "est", curve)
    return tmp_path / "est"


def rewrite(folder: Path, change: Callable[[Arrays], None]) -> None:
    """Change the arrays as somebody would who also knows how to make the digest fit."""
    file = folder / "estimator.safetensors"
    arrays: Arrays = dict(load_file(file))
    change(arrays)
    put(folder, save({name: np.ascontiguousarray(each) for name, each in arrays.items()}))


def put(folder: Path, raw: bytes) -> None:
    (folder / "estimator.safetensors").write_bytes(raw)
    redeclare(folder, learned=digest_bytes(raw))


def redeclare(folder: Path, **changed: object) -> None:
    file = folder / "estimator.json"
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **changed}), encoding="utf-8")


@pytest.mark.parametrize("kind", list(OPTIONS))
def test_an_estimator_of_every_kind_survives_its_folder(kind: str, tmp_path: Path) -> None:
    before = trained_as(kind)
    save_estimator(tmp_path / "est", before)
    after = load_estimator(tmp_path / "est")
    inputs = texts_of(MEASURED)
    assert np.allclose(before.fitted.estimate(inputs).value, after.fitted.estimate(inputs).value, atol=2e-3)
    assert (after.fitted.kind, after.goal, after.setting, after.origin) == (
        kind, before.goal, before.setting, before.origin,
    )  # fmt: skip
    assert np.allclose(after.tradeoff.accuracy, before.tradeoff.accuracy)
    assert sorted(each.name for each in (tmp_path / "est").iterdir()) == [
        "estimator.json",
        "estimator.safetensors",
    ]


def test_the_same_estimator_is_the_same_bytes_and_names_what_it_was_fitted_on(
    curve: Trained, folder: Path, tmp_path: Path
) -> None:
    save_estimator(tmp_path / "again", curve)
    for name in ("estimator.json", "estimator.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    declared = json.loads((folder / "estimator.json").read_text(encoding="utf-8"))
    assert declared["origin"] == {
        "weights": "blake3:0", "rollouts": "blake3:1", "settings": "settings", "queries": 80,
        "samples": 80 * 5 * 3, "seed": 1,
    }  # fmt: skip
    assert declared["described"]["text"] == "1"
    assert set(declared["made_with"]) == {"dami-merge", "numpy"}
    assert len(declared["conformance"]) == 8


def test_an_estimator_is_replaced_but_nothing_else_is(curve: Trained, folder: Path, tmp_path: Path) -> None:
    save_estimator(folder, trained_as("constant"))
    assert load_estimator(folder).fitted.kind == "constant"
    (folder / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputRefused, match=r"holds 'notes\.txt', which is not part of an estimator"):
        save_estimator(folder, curve)
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputRefused, match="is a file"):
        save_estimator(tmp_path / "file", curve)


def test_a_file_that_is_missing_special_or_too_large_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="No such file"):
        load_estimator(tmp_path / "nothing")
    (folder / "estimator.safetensors").unlink()
    with pytest.raises(InputRefused, match=r"estimator\.safetensors: No such file"):
        load_estimator(folder)
    os.mkfifo(folder / "estimator.safetensors")
    with pytest.raises(InputRefused, match="is not a regular file"):
        load_estimator(folder)
    with (folder / "estimator.json").open("ab") as file:
        file.truncate(5 << 20)
    with pytest.raises(InputRefused, match="has more than 4,194,304 bytes"):
        load_estimator(folder)


def test_files_of_two_estimators_do_not_mix(folder: Path, tmp_path: Path) -> None:
    save_estimator(tmp_path / "other", trained_as("constant"))
    (folder / "estimator.safetensors").write_bytes((tmp_path / "other/estimator.safetensors").read_bytes())
    with pytest.raises(InputRefused, match=r"is not the file that estimator\.json was written with"):
        load_estimator(folder)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bogus": 1}, "unknown field"),
        ({"version": 2}, "has format 2, this release reads 1"),
        ({"kind": "oracle"}, "unknown kind 'oracle'"),
        ({"lambdas": ["0/1", "2/1"]}, "outside"),
        ({"lambdas": ["1/1", "0/1"]}, "ascending"),
        ({"lambdas": []}, "ascending"),
        ({"lambdas": ["0/1", "1/2", "1/1"]}, "do not fit each other"),
        ({"goal": {"guard": 7.0}}, "guard of 7 was not measured"),
        ({"goal": {"mu": 1, "tokens": 2}}, "two goals"),
        ({"conformance": []}, "do not fit each other"),
        ({"conformance": [{"messages": [{"role": "user"}], "lambda": "0/1"}]}, "a turn has other fields"),
    ],
)
def test_a_declaration_that_is_not_one_is_refused(
    folder: Path, changed: dict[str, object], said: str
) -> None:
    redeclare(folder, **changed)
    with pytest.raises(InputRefused, match=said):
        load_estimator(folder)


def _set(name: str, value: object) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        arrays[name] = np.asarray(value)

    return change


def _drop(name: str) -> Callable[[Arrays], None]:
    def change(arrays: Arrays) -> None:
        del arrays[name]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop("success.bias"), "lacks 'success.bias'"),
        (_drop("tradeoff.prices"), "lacks 'tradeoff.prices'"),
        (_drop("conformance.vectors"), "lacks 'conformance.vectors'"),
        (_set("smearing", np.full(5, np.nan)), "'smearing' holds a number that is not finite"),
        (_set("reduction.limits", np.full(2, np.nan)), "'reduction.limits' holds a number"),
        (_set("smearing", np.ones(5, dtype=np.int64)), "of the dtype I64"),
        (_set("smearing", np.ones(4)), "do not fit each other"),
        (_set("success.weights", np.ones((2, 2, 2))), "do not fit each other"),
        (_set("tradeoff.accuracy", np.ones((4, 3))), "do not fit each other"),
        (_set("tradeoff.queries", np.zeros(0)), "do not fit each other"),
        (_set("tradeoff.static_accuracy", np.ones(4)), "do not fit each other"),
        (_set("conformance.vectors", np.zeros((8, 3))), "do not fit each other"),
        (_set("success.bias", np.ones((5, 5))), "does not estimate what it estimated"),
    ],
)
def test_arrays_that_are_not_those_of_an_estimator_are_refused(
    folder: Path, change: Callable[[Arrays], None], said: str
) -> None:
    rewrite(folder, change)
    with pytest.raises(InputRefused, match=said):
        load_estimator(folder)


def test_a_header_that_lies_is_refused(folder: Path) -> None:
    raw = (folder / "estimator.safetensors").read_bytes()
    put(folder, b"\xff" * 8 + raw[8:])
    with pytest.raises(InputRefused, match="the header claims 18446744073709551615 bytes"):
        load_estimator(folder)
    put(folder, raw[:-8])
    with pytest.raises(InputRefused, match="truncated"):
        load_estimator(folder)
    long = b"{" + b" " * (1 << 20) + b"}"
    put(folder, len(long).to_bytes(8, "little") + long)
    with pytest.raises(InputRefused, match="has a header of 1,048,578 bytes"):
        load_estimator(folder)


def test_another_lambda_for_a_checked_query_is_refused(folder: Path) -> None:
    declared = json.loads((folder / "estimator.json").read_text(encoding="utf-8"))
    first = declared["conformance"][0]
    first["lambda"] = "1/1" if first["lambda"] != "1/1" else "0/1"
    redeclare(folder, conformance=declared["conformance"])
    with pytest.raises(InputRefused, match=r"chooses λ = .* for 'aba .*, and chose"):
        load_estimator(folder)


def test_features_that_changed_are_refused(curve: Trained, folder: Path) -> None:
    check_features(folder, TextFeatures(), curve)
    with pytest.raises(InputRefused, match="fitted with features whose bits was '10'; here it is None"):
        check_features(folder, LengthFeatures(), curve)
    other = replace(curve, vectors=curve.vectors + 0.1)
    with pytest.raises(InputRefused, match=r"the features text of the queries in .* have changed"):
        check_features(folder, TextFeatures(), other)


def test_a_folder_is_opened_with_its_features_and_chooses_as_it_was_checked(folder: Path) -> None:
    opened = QueryEstimator.open(folder)
    found = opened.decide(["aba pqrs", [{"role": "user", "content": [{"type": "text", "text": "efe pqr"}]}]])
    assert [each.lam for each in found.decisions] == [Fraction(0), Fraction(1)]
    assert [each.spent for each in found.decisions] == [0, 0]
