"""Rounding and rank of a difference, on pairs whose answers are known."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity import difference
from dami_merge.connectivity.difference import (
    RANKS,
    DifferenceReport,
    examine_difference,
    largest_singular_values,
)
from tests.checkpoints import write_checkpoint

NAME = "model.layers.0.mlp.up_proj.weight"


def examined(tmp_path: Path, left: dict[str, Tensor], right: dict[str, Tensor]) -> DifferenceReport:
    folders = write_checkpoint(tmp_path / "i", left), write_checkpoint(tmp_path / "t", right)
    return examine_difference(*open_both(*map(str, folders)))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_singular_values_are_those_of_the_full_decomposition_where_they_fall_off() -> None:
    left, _ = torch.linalg.qr(normal(0, 200, 60))
    right, _ = torch.linalg.qr(normal(1, 90, 60))
    exact = 0.7 ** torch.arange(60)
    found = largest_singular_values(left * exact @ right.T, 16)
    assert torch.allclose(found, exact[:16], rtol=1e-4)
    assert torch.equal(found, largest_singular_values(left * exact @ right.T, 16)), "seeded"


@pytest.mark.parametrize("shape", [(3, 50), (50, 3), (2, 2)])
def test_a_matrix_with_few_singular_values_gives_them_all(shape: tuple[int, int]) -> None:
    matrix = normal(2, *shape)
    assert torch.allclose(largest_singular_values(matrix, 16), torch.linalg.svdvals(matrix), rtol=1e-4)


def test_a_difference_of_four_directions_is_found_to_be_one(tmp_path: Path) -> None:
    left = normal(3, 120, 80)
    step = 0.01 * normal(4, 120, 4) @ normal(5, 4, 80)
    report = examined(tmp_path, {NAME: left}, {NAME: left + step})
    (spectrum,) = report.spectra
    assert (spectrum.tensor, spectrum.module, spectrum.shape) == (NAME, "mlp.up_proj", (120, 80))
    assert spectrum.rows == 120
    shares = dict(zip(RANKS, spectrum.energy, strict=True))
    assert shares[1] < 0.9
    assert shares[4] == pytest.approx(1, abs=1e-4)
    assert shares[16] == pytest.approx(1, abs=1e-4)


def test_a_difference_without_structure_has_the_energy_of_chance(tmp_path: Path) -> None:
    left = normal(6, 400, 300)
    report = examined(tmp_path, {NAME: left}, {NAME: left + 0.01 * normal(7, 400, 300)})
    chance = (math.sqrt(400) + math.sqrt(300)) ** 2 / (400 * 300)
    assert report.spectra[0].energy[0] == pytest.approx(chance, rel=0.15)


def test_of_a_larger_matrix_rows_of_the_middle_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(difference, "_SPECTRUM_ELEMENTS", 50 * 80)
    left = normal(3, 120, 80)
    step = normal(4, 120, 80)
    step[35:85] = normal(5, 50, 1) @ normal(6, 1, 80)
    (spectrum,) = examined(tmp_path, {NAME: left}, {NAME: left + step}).spectra
    assert (spectrum.shape, spectrum.rows) == ((120, 80), 50)
    assert spectrum.energy[0] == pytest.approx(1, abs=1e-4)


def test_one_matrix_of_each_kind_is_taken_from_the_middle(tmp_path: Path) -> None:
    names = [
        f"model.layers.{n}.{kind}.weight" for n in range(5) for kind in ("mlp.up_proj", "self_attn.q_proj")
    ]
    left = {name: normal(8, 8, 6) for name in names} | {"model.norm.weight": torch.ones(8)}
    right = {name: tensor + 0.1 for name, tensor in left.items()}
    report = examined(tmp_path, left, right)
    assert [each.tensor for each in report.spectra] == [
        "model.layers.2.mlp.up_proj.weight",
        "model.layers.2.self_attn.q_proj.weight",
    ]


def test_a_model_and_itself_have_no_directions(tmp_path: Path) -> None:
    report = examined(tmp_path, {NAME: normal(1, 9, 9)}, {NAME: normal(1, 9, 9)})
    assert report.spectra[0].energy == (0, 0, 0)
