"""The five answers and the next steps, from reports of real, tiny pairs and of paths made for the purpose."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge.connectivity.advice import answers, next_steps
from dami_merge.connectivity.bounds import SampleReport
from dami_merge.connectivity.check import Check
from dami_merge.connectivity.dial import Dial, Start
from dami_merge.connectivity.path import PathPoint, PathReport, PathStep
from dami_merge.connectivity.report import CellReport, GroupReport, TensorReport, WeightsReport
from dami_merge.connectivity.rounding import RoundingReport, Survival
from dami_merge.connectivity.rounding_advice import meaning_of
from dami_merge.tensors.similarity import Similarity
from tests.checkpoints import CONFIG, near, random_tensors, write_checkpoint
from tests.pairs import weights_of


def _path(losses: tuple[float, ...], moves: tuple[float, ...], above: float = 0.0) -> PathReport:
    lambdas = [Fraction(number, len(losses) - 1) for number in range(len(losses))]
    steps = [
        PathStep(start, stop, (1 - move,), (1.0,))
        for start, stop, move in zip(lambdas, lambdas[1:], moves, strict=False)
    ]
    points = [PathPoint(lam, loss) for lam, loss in zip(lambdas, losses, strict=True)]
    share = tuple(float(lam) for lam in lambdas)
    start = Start(0, "", "4", "<think>", 1.0, share, tuple(each > 0.5 for each in share))
    dial = Dial(tuple(lambdas), (start,) * 8, 1.0)
    return PathReport(3, 30, tuple(points), tuple(steps), above + 0.5, above, Fraction(1, 2), dial)


GOOD = _path((2.0, 1.8, 1.6, 1.4, 1.2), (0.01, 0.01, 0.01, 0.01))


def _report(tmp_path: Path, noise: float, **config: object) -> WeightsReport:
    tensors = random_tensors(seed=0)
    write_checkpoint(tmp_path / "a", tensors)
    write_checkpoint(tmp_path / "b", near(tensors, noise=noise), config={**CONFIG, **config})
    return weights_of(str(tmp_path / "a"), str(tmp_path / "b"))


def test_questions_that_were_not_asked_say_how_to_ask(tmp_path: Path) -> None:
    found = answers(Check(_report(tmp_path, 0.01), None))
    assert [answer.holds for answer in found] == [True, None, None, None, None]
    assert {answer.fact for answer in found[1:]} == {"add --texts FILE to find out"}


def test_every_answer_states_what_it_rests_on(tmp_path: Path) -> None:
    wall = _path((2.0, 4.0, 6.0, 4.0, 1.2), (0.01, 0.01, 0.2, 0.01), above=4.4)
    found = answers(Check(_report(tmp_path, 0.01), wall))
    assert [answer.holds for answer in found] == [True, False, False, False, True]
    assert "4.400 nats above the line between the ends at λ = 0.50 (4.900 above their mean)" in found[1].fact
    assert "20.0 times the median step" in found[2].fact
    assert found[3].fact == "the loss is 2.000 at λ = 0 and 1.200 at λ = 1"


def test_a_connected_pair_is_sent_on_to_the_path_and_then_to_the_grid(tmp_path: Path) -> None:
    report = _report(tmp_path, 0.01)
    assert next_steps(Check(report)) == (
        "test the path before you trust it: run `check-lmc … --texts FILE` with your own questions",
    )
    assert next_steps(Check(report, GOOD)) == (
        "build a grid and `sweep` it: the loss does not show what accuracy each λ buys, and for how many"
        " tokens",
    )


def test_a_wall_and_a_switch_are_each_told_with_their_place(tmp_path: Path) -> None:
    report = _report(tmp_path, 0.01)
    wall, switch = next_steps(Check(report, _path((2.0, 4, 6, 4, 1.2), (0.01, 0.01, 0.2, 0.01), above=4.4)))
    assert "do not serve λ around 0.50: " in wall
    assert "a sudden switch between λ = 0.50 and λ = 0.75" in switch


def test_a_switch_of_the_answers_fails_a_path_that_is_good_otherwise(report: WeightsReport) -> None:
    assert GOOD.dial is not None
    steep = replace(
        GOOD.dial, starts=tuple(replace(each, shares=(0, 0, 0, 1, 1)) for each in GOOD.dial.starts)
    )
    check = Check(report, replace(GOOD, dial=steep))
    assert not check.passes
    assert [answer.said for answer in answers(check)] == ["yes", "yes", "yes", "yes", "no"]
    assert meaning_of(check).startswith("the weights are close, but the models between them fail")
    assert meaning_of(Check(report, GOOD)) == "interpolation should work"
    assert next_steps(check)[0].startswith("serve the two models themselves and route between them")
    assert not any("build a grid and" in step for step in next_steps(check))


def test_a_switch_that_rounding_makes_is_not_taken_for_one_of_the_models(report: WeightsReport) -> None:
    assert GOOD.dial is not None
    steep = replace(
        GOOD.dial, starts=tuple(replace(each, shares=(0, 0, 0, 1, 1)) for each in GOOD.dial.starts)
    )
    drowned = RoundingReport(
        "bfloat16", 10, 0.4, tuple(Survival(Fraction(each, 4), 0.1, 0.9 / each) for each in (1, 2, 3))
    )
    check = Check(report, replace(GOOD, dial=steep), rounding=drowned)
    assert "serve the two models themselves" in "".join(next_steps(check)), "from λ = 0.50 on nothing drowns"
    worse = replace(drowned, survival=tuple(replace(each, noise=0.9) for each in drowned.survival))
    said = next_steps(replace(check, rounding=worse))
    assert (
        sum("do not take the step between λ = 0.50 and λ = 0.75 for a switch" in each for each in said) == 1
    )
    assert not any("serve the two models themselves" in each for each in said)


def test_a_path_without_prompts_passes_and_says_that_only_a_sweep_can_tell(report: WeightsReport) -> None:
    check = Check(report, replace(GOOD, dial=None))
    assert check.passes
    assert answers(check)[4].said == "not asked"
    assert any(step.startswith("only a `sweep` can tell") for step in next_steps(check))
    assert GOOD.dial is not None
    open_ended = Check(report, replace(GOOD, dial=replace(GOOD.dial, starts=GOOD.dial.starts[:3])))
    assert open_ended.passes
    assert answers(open_ended)[4].said == "unclear"


@pytest.mark.parametrize(
    ("noise", "begins"),
    [(0.02, "try three λ before you build a grid"), (1.0, "do not interpolate: ")],
)
def test_far_weights_come_first(tmp_path: Path, noise: float, begins: str) -> None:
    report = _report(tmp_path, noise)
    assert not report.connected
    assert next_steps(Check(report))[0].startswith(begins)
    assert not any("test the path" in step for step in next_steps(Check(report)))


def test_what_grid_would_refuse_is_a_step_of_its_own(tmp_path: Path) -> None:
    assert any("would refuse" in step for step in next_steps(Check(_report(tmp_path, 0.01, rope_theta=5.0))))


@pytest.fixture
def report(tmp_path: Path) -> WeightsReport:
    """Of a real pair, to be changed."""
    return _report(tmp_path, 0.01)


def _layered(report: WeightsReport, layers: list[dict[str, float]]) -> WeightsReport:
    """A report that is not connected, of layers whose modules have these cosines."""

    def alike(cosine: float) -> Similarity:
        return Similarity(1, cosine, 0.1, 1.0, 0.0, 1.0, 0.1)

    cells = [
        CellReport(f"layers.{number}", module, alike(cosine))
        for number, modules in enumerate(layers)
        for module, cosine in modules.items()
    ]
    tensors = [
        TensorReport(f"{cell.layer}.{cell.module}", cell.layer, cell.module, True, cell.similarity)
        for cell in cells
    ]
    lowest = [min(modules.values()) for modules in layers]
    groups = [GroupReport(f"layers.{number}", alike(cosine), None) for number, cosine in enumerate(lowest)]
    worst = min(cells, key=lambda cell: cell.similarity.cosine)
    return replace(
        report,
        verdict="not connected",
        worst_layer=worst.layer,
        worst_cosine=worst.similarity.cosine,
        worst_matrix=f"{worst.layer}.{worst.module}",
        worst_matrix_cosine=worst.similarity.cosine,
        layers=tuple(groups),
        cells=tuple(cells),
        tensors=tuple(tensors),
    )


CLOSE, FAR = {"q": 0.999, "up": 0.999}, {"q": 0.1, "up": 0.1}


def test_one_far_layer_of_many_is_a_broken_layer(report: WeightsReport) -> None:
    (step,) = next_steps(Check(_layered(report, [CLOSE, FAR, CLOSE, CLOSE])))
    assert step.startswith("inspect layers.1: the other layers are close")


def test_a_far_layer_without_others_is_not_said_to_have_close_ones(report: WeightsReport) -> None:
    assert next_steps(Check(_layered(report, [FAR]))) == (
        "do not interpolate: the weights point in different directions in the only layer, as in models"
        " with different bases",
    )


def test_a_quarter_of_the_layers_is_a_damage_and_more_is_another_base(report: WeightsReport) -> None:
    (step,) = next_steps(Check(_layered(report, [FAR, FAR, *[CLOSE] * 6])))
    assert step.startswith("inspect layers.0, layers.1: ")
    assert next_steps(Check(_layered(report, [FAR, FAR, FAR, *[CLOSE] * 6]))) == (
        "do not interpolate: the weights point in different directions in 3 of 9 layers, as in models with"
        " different bases",
    )


def test_of_many_broken_layers_and_modules_five_are_named_and_the_others_counted(
    report: WeightsReport,
) -> None:
    (step,) = next_steps(Check(_layered(report, [*[FAR] * 7, *[CLOSE] * 21])))
    assert step.startswith("inspect layers.0, layers.1, layers.2, layers.3, layers.4 and 2 more: ")
    modules = {f"m{number}": 0.1 if number < 6 else 0.999 for number in range(12)}
    (step,) = next_steps(Check(_layered(report, [modules] * 4)))
    assert step.startswith(
        "do not interpolate: the models are far apart only in m0, m1, m2, m3, m4 and 1 more, so they"
    )


def test_modules_that_are_far_by_the_half_are_named_and_more_are_another_base(report: WeightsReport) -> None:
    (step,) = next_steps(Check(_layered(report, [{"q": 0.999, "up": 0.1}] * 4)))
    assert step.startswith("do not interpolate: the models are far apart only in up, so they")
    (step,) = next_steps(Check(_layered(report, [{"q": 0.999, "k": 0.1, "up": 0.1}] * 4)))
    assert step.endswith("in 4 of 4 layers, as in models with different bases")


def test_of_a_doubtful_pair_the_layers_below_the_threshold_are_counted(report: WeightsReport) -> None:
    doubtful = replace(_layered(report, [CLOSE, {"q": 0.97}, {"q": 0.99}]), verdict="doubtful")
    assert next_steps(Check(doubtful)) == (
        "try three λ before you build a grid: the cosine is below 0.99 in 1 of 3 layers, and lowest in"
        " layers.1",
    )


def test_a_loss_that_turns_back_answers_the_fourth_question_alone(report: WeightsReport) -> None:
    found = answers(Check(report, _path((2.0, 1.5, 1.6, 1.3, 1.2), (0.01,) * 4)))
    assert [answer.holds for answer in found] == [True, True, True, False, True]


@pytest.mark.parametrize(
    ("losses", "step"),
    [
        ((2.0, 1.5, 1.6, 1.3, 1.2),
         "do not choose λ by this loss: it turns back, but leaves the range of both models by at most 0.000"
         " nats; let a `sweep` decide"),
        ((2.0, 1.5, 1.0, 1.1, 1.2),
         "sweep λ around 0.50 first: there, these texts have the lowest loss, 0.200 nats below both models"),
        ((2.0, 2.08, 1.9, 1.3, 1.2),
         "sweep λ around 0.25 before you serve it: there, these texts have the highest loss, 0.080 nats above"
         " both models"),
    ],
)  # fmt: skip
def test_a_loss_that_turns_back_has_a_next_step(
    report: WeightsReport, losses: tuple[float, ...], step: str
) -> None:
    first, last = next_steps(Check(report, _path(losses, (0.01,) * 4)))
    assert first == step
    assert last.startswith("build a grid and `sweep` it")


def _sampled(report: WeightsReport, read: int) -> WeightsReport:
    return replace(report, sample=SampleReport(0.05, 0, 0.95, read, 1000, 0.98, 0.995, 0.97, 0.99, ()))


def test_a_sample_is_told_with_its_bounds_and_sent_on_to_all_of_it(report: WeightsReport) -> None:
    sampled = _sampled(report, 50)
    assert answers(Check(sampled, None))[0].fact.endswith(
        " in a sample; 0.980000 to 0.995000 at 95% confidence"
    )
    assert next_steps(Check(sampled))[0] == (
        "read all weights before you build a grid: a sample can miss a few broken rows"
    )
    assert next_steps(Check(_sampled(report, 1000))) == next_steps(Check(report))


def test_a_sample_that_leaves_it_open_says_unclear_and_asks_for_a_larger_one(report: WeightsReport) -> None:
    undecided = replace(_sampled(report, 50), verdict="undecided")
    first = answers(Check(undecided, None))[0]
    assert (first.said, first.holds) == ("unclear", None)
    assert next_steps(Check(undecided)) == (
        "use a larger --sample, or read all weights: this sample fits more than one verdict",
    )


def test_one_model_twice_is_not_sent_on_to_a_grid(report: WeightsReport) -> None:
    same = replace(report, identical_tensors=len(report.tensors))
    assert len(next_steps(Check(same, GOOD))) == 1
    assert "all tensors are identical" in next_steps(Check(same, GOOD))[0]


def test_a_path_that_never_rises_above_the_line_names_no_place(tmp_path: Path) -> None:
    found = answers(Check(_report(tmp_path, 0.01), _path((2.0, 1.5, 1.4, 1.3, 1.2), (0.01,) * 4, above=-0.2)))
    assert (
        found[1].fact
        == "the loss rises at most 0.000 nats above the line between the ends (0.300 above their mean)"
    )
    assert found[1].holds is True
    assert [answer.said for answer in found] == ["yes"] * 5


def test_a_pair_that_is_far_apart_is_not_sent_to_a_grid_by_a_good_path(tmp_path: Path) -> None:
    assert not any("build a grid and" in step for step in next_steps(Check(_report(tmp_path, 0.02), GOOD)))
