"""The four answers and the next steps, from reports of real, tiny pairs and of paths made for the purpose."""

from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge import check_lmc
from dami_merge.connectivity.advice import answers, next_steps
from dami_merge.connectivity.difference import DifferenceReport, Survival
from dami_merge.connectivity.path import PathReport, Point, Step
from dami_merge.connectivity.report import LmcReport
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint


def _path(losses: tuple[float, ...], moves: tuple[float, ...], above: float = 0.0) -> PathReport:
    lambdas = [Fraction(number, len(losses) - 1) for number in range(len(losses))]
    steps = [
        Step(start, stop, (1 - move,), (1.0,))
        for start, stop, move in zip(lambdas, lambdas[1:], moves, strict=False)
    ]
    points = [Point(lam, loss) for lam, loss in zip(lambdas, losses, strict=True)]
    return PathReport(3, 30, tuple(points), tuple(steps), above + 0.5, above, Fraction(1, 2))


GOOD = _path((2.0, 1.8, 1.6, 1.4, 1.2), (0.01, 0.01, 0.01, 0.01))


def _report(tmp_path: Path, noise: float, **config: object) -> LmcReport:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors, noise=noise), config={**CONFIG, **config})
    return check_lmc(str(tmp_path / "a"), str(tmp_path / "b"))


def test_questions_that_were_not_asked_say_how_to_ask(tmp_path: Path) -> None:
    found = answers(_report(tmp_path, 0.01), None)
    assert [answer.holds for answer in found] == [True, None, None, None]
    assert {answer.fact for answer in found[1:]} == {"--texts FILE asks it"}


def test_every_answer_states_what_it_rests_on(tmp_path: Path) -> None:
    wall = _path((2.0, 4.0, 6.0, 4.0, 1.2), (0.01, 0.01, 0.2, 0.01), above=4.4)
    found = answers(_report(tmp_path, 0.01), wall)
    assert [answer.holds for answer in found] == [True, False, False, False]
    assert "4.400 nats above the line between the ends at λ = 0.50 (4.900 above their mean)" in found[1].fact
    assert "20.0 times the usual one" in found[2].fact
    assert found[3].fact == "loss 2.000 at λ = 0, 1.200 at λ = 1"


def test_a_connected_pair_is_sent_on_to_the_path_and_then_to_the_grid(tmp_path: Path) -> None:
    report = _report(tmp_path, 0.01)
    assert next_steps(report) == (
        "walk the path before you trust it: `check-lmc … --texts FILE` with questions of yours",
    )
    assert next_steps(report, GOOD) == (
        "build the grid, and measure accuracy and tokens at every λ: a loss cannot tell them",
    )


def test_a_wall_and_a_switch_are_each_told_with_their_place(tmp_path: Path) -> None:
    report = _report(tmp_path, 0.01)
    wall, switch = next_steps(report, _path((2.0, 4, 6, 4, 1.2), (0.01, 0.01, 0.2, 0.01), above=4.4))
    assert "do not serve the middle: around λ = 0.50" in wall
    assert "a switch between λ = 0.50 and 0.75" in switch


@pytest.mark.parametrize(
    ("noise", "begins"),
    [(0.02, "try three λ before you build a grid"), (1.0, "do not interpolate: ")],
)
def test_far_weights_come_first(tmp_path: Path, noise: float, begins: str) -> None:
    report = _report(tmp_path, noise)
    assert not report.connected
    assert next_steps(report)[0].startswith(begins)
    assert not any("walk the path" in step for step in next_steps(report))


def test_what_grid_would_refuse_is_a_step_of_its_own(tmp_path: Path) -> None:
    assert any("would refuse" in step for step in next_steps(_report(tmp_path, 0.01, rope_theta=5.0)))


@pytest.mark.parametrize(("noise", "told"), [(0.4, False), (0.6, True)])
def test_rounding_that_drowns_the_difference_is_told(tmp_path: Path, noise: float, told: bool) -> None:
    difference = DifferenceReport(10, (Survival(Fraction(1, 10), 0.4, noise),), (1,), ())
    steps = next_steps(_report(tmp_path, 0.01), GOOD, difference)
    assert any("at λ = 0.10 rounding adds 60%" in step for step in steps) is told
