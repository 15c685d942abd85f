"""The router: nearest member, estimator, fallback; frozen results; no torch."""

import dataclasses
import json
import math
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge import EstimatorError, GridUnreadable, LambdaError, Route, Router
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import open_both
from dami_merge.grid.build import build_grid
from dami_merge.grid.planning import make_plan
from dami_merge.grid.recipe import Recipe
from dami_merge.lambdas import even_grid


@pytest.fixture
def grid(pair_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """A real grid of eleven checkpoints."""
    instruct, thinking = map(str, pair_folders)
    recipe = Recipe(instruct=instruct, thinking=thinking, name="toy")
    build_grid(make_plan(recipe, join(*open_both(instruct, thinking)), tmp_path / "grid"))
    return tmp_path / "grid"


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        (0.37, "4/10"),
        (0, "0"),
        (1, "1"),
        ("0.95", "9/10"),
        (Fraction(1, 3), "3/10"),
        (0.35, "3/10"),  # as a binary float it would lie nearer to 0.3 by luck; as typed it is a tie
        (0.45, "4/10"),  # as a binary float it lies nearer to 0.5; as typed it is a tie
        (0.4500001, "5/10"),
        (1e-300, "0"),
    ],
)
def test_the_nearest_checkpoint_is_chosen_and_ties_go_to_the_smaller_lambda(
    grid: Path, wanted: float | str | Fraction, chosen: str
) -> None:
    route = Router.from_grid(grid).nearest(wanted)
    assert route.lam == Fraction(chosen)
    assert route.source == "override"
    assert route.error == ""


def test_a_route_names_model_folder_and_reason(grid: Path) -> None:
    route = Router.from_grid(grid).nearest(0.37)
    assert route.model == "toy-lambda-0.40"
    assert route.path == grid / "lambda-0.40"
    assert (route.path / "config.json").is_file()
    assert route.wanted == Fraction(37, 100)
    assert route.reason == "λ = 0.37 requested; the nearest of 11 available is 0.40"


def test_a_route_cannot_be_changed(grid: Path) -> None:
    route = Router.from_grid(grid).nearest(0)
    with pytest.raises(dataclasses.FrozenInstanceError, match="lam"):
        route.lam = Fraction(1)  # type: ignore[misc]  # the error is the point


def test_only_available_lambdas_are_chosen(grid: Path) -> None:
    router = Router.from_grid(grid)
    assert router.nearest(0.9, available=[0, 0.5]).lam == Fraction(1, 2)
    assert router.nearest(0.25, available={"0", "1/2"}).lam == 0
    assert router.lambdas == even_grid(10)


def test_an_available_lambda_outside_the_grid_is_refused_with_the_grid(grid: Path) -> None:
    with pytest.raises(LambdaError, match=r"λ = 0\.55 is not in this grid") as caught:
        Router.from_grid(grid).nearest(0.5, available=[0.55, 0.5])
    assert caught.value.hint.startswith("available: 0.00, 0.10")


def test_an_empty_available_set_is_refused(grid: Path) -> None:
    with pytest.raises(LambdaError, match="no λ is available"):
        Router.from_grid(grid).nearest(0.5, available=[])


@pytest.mark.parametrize("lam", [math.nan, -0.1, 1.1, "x", None, True])
def test_what_is_not_a_lambda_is_refused(grid: Path, lam: object) -> None:
    with pytest.raises(LambdaError, match="λ = "):
        Router.from_grid(grid).nearest(lam)  # type: ignore[arg-type]  # as a careless caller would


def test_the_estimator_is_given_the_query_as_it_came(grid: Path) -> None:
    seen: list[object] = []

    def estimator(query: object) -> float:
        seen.append(query)
        return 0.81

    messages = [{"role": "user", "content": "Why?"}]
    route = Router.from_grid(grid, estimator=estimator).route(messages)
    assert seen == [messages]
    assert (route.lam, route.wanted, route.source) == (Fraction(4, 5), Fraction(81, 100), "estimator")


def _raises(_: object) -> float:
    raise ConnectionError("estimator is down")


@pytest.mark.parametrize(
    ("estimator", "error"),
    [
        (_raises, "ConnectionError: estimator is down"),
        (lambda _: math.nan, "LambdaError: λ = nan is not a number"),
        (lambda _: 1.2, "LambdaError: λ = 1.2 is outside [0, 1]"),
        (lambda _: None, "LambdaError: λ = None is not a number"),
    ],
)
def test_a_failing_estimator_leads_to_the_strongest_available_and_says_so(
    grid: Path, estimator: Callable[[object], float], error: str
) -> None:
    router = Router.from_grid(grid, estimator=estimator)
    route = router.route("Why?")
    assert (route.lam, route.wanted, route.source) == (Fraction(1), None, "fallback")
    assert route.error == error
    assert route.reason.startswith("the estimator failed")
    assert router.route("Why?", available=[0.2, 0.7]).lam == Fraction(7, 10)


def test_a_stated_fallback_is_taken(grid: Path) -> None:
    router = Router.from_grid(grid, estimator=_raises, fallback=0.6)
    assert router.route("Why?").lam == Fraction(3, 5)
    assert router.route("Why?", available=[0.1, 0.9]).lam == Fraction(9, 10)


def test_a_router_without_an_estimator_says_so(grid: Path) -> None:
    with pytest.raises(EstimatorError, match="has no estimator"):
        Router.from_grid(grid).route("Why?")


def test_a_folder_without_a_grid_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GridUnreadable, match=r"grid\.json: No such file"):
        Router.from_grid(tmp_path)


def test_importing_and_using_the_router_imports_no_torch(grid: Path) -> None:
    program = (
        "import sys, json\n"
        "from dami_merge import Router\n"
        f"route = Router.from_grid({str(grid)!r}, estimator=lambda q: 0.52).route('Why?')\n"
        "heavy = {'torch', 'numpy', 'transformers', 'click', 'rich', 'huggingface_hub'}\n"
        "print(json.dumps([route.model, sorted(heavy & set(sys.modules))]))\n"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(output.stdout) == ["toy-lambda-0.50", []]


def test_routes_of_equal_decisions_are_equal(grid: Path) -> None:
    router = Router.from_grid(grid)
    first: Route = router.nearest(0.2)
    assert first == router.nearest("1/5")
