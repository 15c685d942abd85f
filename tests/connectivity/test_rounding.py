"""What rounding leaves of a difference, on pairs whose answers are known, and what the advice says of it."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dami_merge.bundled import BUNDLED_INSTRUCT, BUNDLED_THINKING, bundled_questions
from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity import rounding as module
from dami_merge.connectivity.advice import next_steps
from dami_merge.connectivity.check import Check, Walk, check_lmc
from dami_merge.connectivity.dial import Dial, Start
from dami_merge.connectivity.path import PathPoint, PathReport, PathStep
from dami_merge.connectivity.report import WeightsReport
from dami_merge.connectivity.rounding import RoundingReport, Survival, examine_rounding
from dami_merge.connectivity.rounding_advice import grid_note, meaning_of, rounding_fact, rounding_steps
from dami_merge.connectivity.texts import read_texts
from dami_merge.lambdas import even_grid
from tests.checkpoints import write_checkpoint
from tests.eaten import eaten_pair
from tests.pairs import weights_of

NAME = "model.layers.0.mlp.up_proj.weight"
TENTH, HALF = Fraction(1, 10), Fraction(1, 2)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def examined(tmp_path: Path, left: Tensor, right: Tensor, **options: Any) -> RoundingReport:
    folders = write_checkpoint(tmp_path / "i", {NAME: left}), write_checkpoint(tmp_path / "t", {NAME: right})
    return examine_rounding(*open_both(*map(str, folders)), **options)


def test_a_large_difference_survives_and_one_of_a_unit_in_the_last_place_does_not(tmp_path: Path) -> None:
    left = (1 + normal(9, 60, 60).abs() * 0.2).to(torch.bfloat16)
    large = examined(tmp_path / "large", left, (left.float() * 3).to(torch.bfloat16))
    assert [each.lam for each in large.survival] == list(even_grid(10)[1:-1])
    assert all(each.kept == pytest.approx(1, abs=0.01) and each.noise < 0.05 for each in large.survival)
    assert (large.dtype, large.identical, large.drowned, large.eaten) == ("bfloat16", 0, (), False)
    small = examined(tmp_path / "small", left, (left.view(torch.int16) + 1).view(torch.bfloat16))
    tenth, half = small.at(TENTH), small.at(HALF)
    assert tenth is not None
    assert half is not None
    assert (tenth.kept, tenth.noise) == (0, 1), "a tenth of a step is rounded away"
    assert half.kept == pytest.approx(1, abs=0.1), "half of a step is a tie: up as often as down"
    assert half.noise == pytest.approx(1, abs=0.1)
    assert small.eaten
    assert small.at(Fraction(0)) is None


def test_the_share_of_equal_elements_is_counted(tmp_path: Path) -> None:
    left = normal(1, 40, 50)
    right = left.clone()
    right[:10] += 1
    report = examined(tmp_path, left, right)
    assert (report.sampled_elements, report.identical) == (2000, 0.75)


def test_a_model_and_itself_have_no_difference_to_round(tmp_path: Path) -> None:
    report = examined(tmp_path, normal(1, 9, 9), normal(1, 9, 9))
    assert (report.survival, report.identical, report.eaten) == ((), 1, False)
    assert rounding_steps(report) == []
    assert grid_note(report) == ""


def test_what_is_written_decides_not_what_is_stored(tmp_path: Path) -> None:
    left = 1 + normal(9, 60, 60).abs() * 0.2
    stored = examined(tmp_path, left, left + 1e-4)
    sides = open_both(str(tmp_path / "i"), str(tmp_path / "t"))
    written = examine_rounding(*sides, dtype="bfloat16")
    assert (stored.dtype, written.dtype) == ("float32", "bfloat16")
    assert not stored.drowned
    assert written.eaten


def test_of_many_matrices_a_fixed_sample_is_read_and_of_each_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MATRICES", 3)
    monkeypatch.setattr(module, "_ELEMENTS", 100)
    left = {f"model.layers.{n}.mlp.up_proj.weight": normal(n, 30, 30) for n in range(8)}
    right = {name: tensor + 0.1 for name, tensor in left.items()}
    folders = write_checkpoint(tmp_path / "i", left), write_checkpoint(tmp_path / "t", right)
    sides = open_both(*map(str, folders))
    report = examine_rounding(*sides)
    assert report.sampled_elements == 300
    assert report == examine_rounding(*sides)


@pytest.fixture(scope="module")
def eaten(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return eaten_pair(tmp_path_factory.mktemp("eaten"))


def test_a_pair_that_rounding_eats_fails_the_check_and_is_told_to_take_float32(
    eaten: tuple[Path, Path],
) -> None:
    check = check_lmc(*map(str, eaten))
    assert check.rounding is not None
    assert check.weights.verdict == "connected"
    assert check.passes is False
    assert check.rounding.identical > 0.4
    assert meaning_of(check) == "the weights are close, but rounding to bfloat16 leaves little between them"
    (step,) = next_steps(check)
    assert step.startswith("take float32 sources; if there are none, build with `grid --dtype float32`")
    assert "rounding to bfloat16 drowns the difference at every λ up to 0.60: at λ = 0.10" in step
    assert f"{check.rounding.identical:.0%} of the elements are equal in both models" in step


def test_the_same_difference_in_float32_passes(tmp_path: Path) -> None:
    check = check_lmc(*map(str, eaten_pair(tmp_path / "exact", dtype=torch.float32)))
    assert check.passes
    assert check.rounding is not None
    assert check.rounding.drowned == ()
    assert meaning_of(check) == "interpolation should work"
    assert not any("rounding" in step for step in next_steps(check))


def test_a_walk_measures_rounding_at_its_own_lambdas(eaten: tuple[Path, Path]) -> None:
    texts = read_texts(bundled_questions(), limit=4)
    check = check_lmc(*map(str, eaten), walk=Walk(texts, even_grid(4), "cpu"))
    assert check.rounding is not None
    assert [each.lam for each in check.rounding.survival] == [Fraction(1, 4), HALF, Fraction(3, 4)]
    assert not any("build a grid and" in step for step in next_steps(check))


def survivals(*noise: float) -> RoundingReport:
    lambdas = even_grid(len(noise) + 1)[1:-1]
    return RoundingReport(
        "bfloat16",
        100,
        0.41,
        tuple(Survival(lam, 0.2, each) for lam, each in zip(lambdas, noise, strict=True)),
    )


def test_a_larger_lambda_is_advised_only_where_one_is_below_its_limit() -> None:
    (step,) = rounding_steps(survivals(0.9, 0.4, 0.3, 0.1))
    assert step.startswith("use λ of 0.40 or more, or take float32 sources: rounding to bfloat16 drowns")
    assert "the difference at λ = 0.20: at λ = 0.20 it keeps 20% of it and adds noise worth 90%" in step
    for noise in ((0.9, 0.8, 0.7, 0.6), (0.9, 0.8, 0.4, 0.3), (0.4, 0.8, 0.4, 0.9)):
        (step,) = rounding_steps(survivals(*noise))
        assert step.startswith("take float32 sources; if there are none,"), noise


def test_noise_at_the_limit_drowns_nothing() -> None:
    assert rounding_steps(survivals(0.5, 0.2)) == rounding_steps(None) == []
    assert rounding_fact(survivals(0.5, 0.2)) == ""


@pytest.mark.parametrize(
    ("noise", "where"),
    [
        ((0.9, 0.9), "every λ between the ends"),
        ((0.9, 0.8, 0.4), "every λ up to 0.50"),
        ((0.9, 0.1, 0.9), "λ = 0.25, 0.75"),
    ],
)
def test_the_drowned_lambdas_are_named(noise: tuple[float, ...], where: str) -> None:
    assert f"drowns the difference at {where}: " in rounding_fact(survivals(*noise))


@pytest.fixture
def weights(tmp_path: Path) -> WeightsReport:
    return weights_of(BUNDLED_INSTRUCT, BUNDLED_THINKING)


def stepped(barrier: Fraction, jump: int) -> PathReport:
    """A path with a barrier at a λ and one large step."""
    lambdas = even_grid(5)
    steps = tuple(
        PathStep(start, stop, (0.5 if number == jump else 0.99,), (1.0,))
        for number, (start, stop) in enumerate(pairwise(lambdas))
    )
    points = tuple(PathPoint(lam, 2.0 + (lam == barrier)) for lam in lambdas)
    return PathReport(3, 30, points, steps, 0.5, 0.115, barrier)


def test_the_walk_names_rounding_where_it_is_the_cause(weights: WeightsReport) -> None:
    check = Check(weights, stepped(Fraction(1, 5), 1), rounding=survivals(0.9, 0.3, 0.2, 0.1))
    use, barrier, step, *_ = next_steps(check)
    assert use.startswith("use λ of 0.40 or more")
    assert barrier.startswith(
        "do not take the loss at λ = 0.20 for a barrier: there, rounding to bfloat16 keeps 20%"
    )
    assert step.startswith("do not take the step between λ = 0.20 and λ = 0.40 for a switch of the models")


def test_the_walk_does_not_blame_rounding_elsewhere(weights: WeightsReport) -> None:
    check = Check(weights, stepped(Fraction(3, 5), 3), rounding=survivals(0.9, 0.3, 0.2, 0.1))
    _, barrier, step, *others = next_steps(check)
    assert barrier.startswith("do not serve λ around 0.60")
    assert step.startswith("expect a sudden switch between λ = 0.60 and λ = 0.80")
    without = next_steps(replace(check, rounding=None))
    assert without == (barrier, step, *others)


def test_a_switch_in_how_answers_begin_is_blamed_on_rounding_only_where_it_drowns_the_difference(
    weights: WeightsReport,
) -> None:
    lambdas = even_grid(5)
    begins = (0.0, 0.0, 1.0, 1.0, 1.0, 1.0)
    start = Start(0, "", "a", "b", 1.0, begins, tuple(each > 0.5 for each in begins))
    path = replace(stepped(Fraction(0), 9), barrier_above_line=0.0, dial=Dial(lambdas, (start,) * 8, 1.0))
    drowned = Check(weights, path, rounding=survivals(0.9, 0.9, 0.2, 0.1))
    steps = next_steps(drowned)
    assert any(step.startswith("do not take the step between λ = 0.20 and λ = 0.40") for step in steps)
    assert not any("λ is a switch" in step for step in steps)
    kept = next_steps(replace(drowned, rounding=survivals(0.1, 0.1, 0.2, 0.9)))
    assert any("λ is a switch" in step for step in kept)
    assert not any("do not take the step" in step for step in kept)


def test_before_a_grid_is_written_its_own_lambdas_are_judged() -> None:
    assert grid_note(survivals(0.9, 0.4, 0.3)).startswith(
        "rounding to bfloat16 drowns the difference at λ = 0.25"
    )
    assert grid_note(survivals(0.4)) == ""
