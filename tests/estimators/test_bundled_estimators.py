"""The estimators that ship with the bundled pair belong to it and route without training."""

from pathlib import Path

import pytest

from dami_merge import Router, build_grid, plan_grid
from dami_merge.bundled import BUNDLED_ESTIMATORS, bundled_estimator
from dami_merge.evaluation.questions.importers import read_questions
from dami_merge.grid.recipe import bundled_recipe


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundled") / "grid"
    return build_grid(plan_grid(bundled_recipe(), folder)).path


@pytest.mark.parametrize("name", BUNDLED_ESTIMATORS)
def test_a_fresh_clone_routes_without_training(grid: Path, name: str) -> None:
    queries = [question.messages[-1].content for question in read_questions("bundled:validation")[:40]]
    spec = "bundled" if name == "default" else f"bundled:{name}"
    routes = Router.from_grid(grid, estimator=spec).route_batch(queries)
    assert [route.error for route in routes if route.error] == []
    assert len({route.lam for route in routes}) > 1
    assert all((route.spent > 0) == (name == "conf") for route in routes)


@pytest.mark.parametrize("name", BUNDLED_ESTIMATORS)
def test_a_shipped_estimator_is_small(name: str) -> None:
    assert sum(file.stat().st_size for file in bundled_estimator(name).iterdir()) < 1_100_000
