"""The router with a trained estimator: one of the served λ, reasons, failures, weights, no torch."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pytest

from dami_merge import EstimatorError, InputRefused, LambdaError, Router, UsageError
from dami_merge.checkpoint.pair import join
from dami_merge.checkpoint.source import open_both
from dami_merge.estimators.artefact import Trained, save_estimator
from dami_merge.estimators.deciding import QueryEstimator, as_conversation
from dami_merge.estimators.declaration import Origin
from dami_merge.estimators.features.text import TextFeatures
from dami_merge.estimators.fitted import Conversation, Inputs
from dami_merge.estimators.goal import Goal
from dami_merge.estimators.training import Plan, train
from dami_merge.grid.build import build_grid
from dami_merge.grid.manifest import read_grid, weights_digest
from dami_merge.grid.planning import make_plan
from dami_merge.grid.recipe import Recipe
from tests.estimators.world import world

EASY, HARD = "aba pqrstu", "efe pqrstu"


@pytest.fixture(scope="module")
def trained() -> Trained:
    """Fitted at 0, 0.25, 0.5, 0.75 and 1."""
    plan = Plan("curve", {"draws": 8, "parts": 16, "ridge": 0.0003}, Goal(mu=0.2, guard=0.5), 2)
    return train(plan, world(120, 4, 0), TextFeatures())


@pytest.fixture
def grid(pair_folders: tuple[Path, Path], tmp_path: Path) -> Path:
    """A real grid of eleven checkpoints: it lacks 0.25 and 0.75."""
    instruct, thinking = map(str, pair_folders)
    recipe = Recipe(instruct=instruct, thinking=thinking, name="toy")
    build_grid(make_plan(recipe, join(*open_both(instruct, thinking)), tmp_path / "grid"))
    return tmp_path / "grid"


@pytest.fixture
def folder(trained: Trained, tmp_path: Path) -> Path:
    save_estimator(tmp_path / "est", trained)
    return tmp_path / "est"


def test_easy_queries_get_a_small_lambda_and_hard_ones_a_large_one_with_the_reason(
    grid: Path, folder: Path
) -> None:
    router = Router.from_grid(grid, estimator=folder)
    easy, hard = router.route_batch([EASY, [{"role": "user", "content": HARD}]])
    assert (easy.lam, hard.lam) == (Fraction(0), Fraction(1))
    assert easy.source == "estimator"
    assert easy.spent == 0
    assert easy.reason == "curve at μ = 0.2: λ = 0 requested; the nearest of 11 available is 0.00"
    assert router.route(EASY) == easy


def test_the_choice_is_among_the_served_lambdas_and_not_the_nearest_to_the_best(
    grid: Path, trained: Trained
) -> None:
    """Of 0, 0.5 and 1, hard queries need 1: from 0.75, which nobody serves, 0.5 would be as near."""
    router = Router(read_grid(grid), grid, estimator=QueryEstimator(trained, TextFeatures()))
    hard = router.route(HARD, available=[0, 0.5, 0.7, 1])
    assert hard.lam == 1
    middle = router.route("cdc pqrstu", available=[0, 0.5, 1])
    assert (middle.lam, middle.wanted) == (Fraction(1, 2), Fraction(1, 2))
    unknown = router.route(HARD, available=[0.1, 0.9])
    assert (unknown.lam, unknown.wanted) == (Fraction(9, 10), Fraction(1))


def test_a_held_guard_is_named(grid: Path, folder: Path) -> None:
    strange = "aba " * 200
    held = Router.from_grid(grid, estimator=folder, goal=Goal(mu=0.2, guard=0.5)).route(strange)
    free = Router.from_grid(grid, estimator=folder, goal=Goal(mu=0.2, guard=0.0)).route(strange)
    assert (held.source, free.source) == ("guard", "estimator")
    assert held.lam != free.lam
    assert held.reason.startswith("curve at μ = 0.2 is not sure enough to leave the best λ for all queries: ")


def test_a_goal_changes_the_choice_without_a_new_fit(grid: Path, folder: Path) -> None:
    dear = Router.from_grid(grid, estimator=folder, goal=Goal(mu=4.0, guard=0.0))
    assert dear.route(HARD).lam == 0
    with pytest.raises(UsageError, match="no setting stays within 1 tokens"):
        Router.from_grid(grid, estimator=folder, goal=Goal(tokens=1.0))
    with pytest.raises(UsageError, match="a goal was given without a trained estimator"):
        Router.from_grid(grid, estimator=lambda _: 0.5, goal=Goal(mu=1.0))


def test_a_batch_shares_a_budget(grid: Path, folder: Path) -> None:
    router = Router.from_grid(grid, estimator=folder, goal=Goal(mu=0.02, guard=0.0))
    queries = [EASY, HARD] * 10
    free, bound = router.route_batch(queries), router.route_batch(queries, budget=20)
    assert sum(route.lam for route in bound) < sum(route.lam for route in free)
    assert bound[0].lam == free[0].lam == 0
    assert router.route_batch([], budget=20) == []
    opened = QueryEstimator.open(folder, goal=Goal(mu=0.02, guard=0.0))
    found = opened.decide(queries, budget=20)
    spent = [
        cost[opened.lambdas.index(each.lam)]
        for cost, each in zip(found.estimate.cost, found.decisions, strict=True)
    ]
    assert np.mean(spent) <= 20
    with pytest.raises(UsageError, match="predicts no tokens"):
        Router.from_grid(grid, estimator=lambda _: 0.5).route_batch(queries, budget=20)


class Failing(TextFeatures):
    """Features that fail for some queries."""

    def inputs(self, queries: Sequence[Conversation]) -> Inputs:
        found = super().inputs(queries)
        texts = [query[0]["content"] for query in queries]
        if "raise" in texts:
            raise ConnectionError("no encoder")
        bad = np.array([text == "nan" for text in texts])
        return replace(found, vectors=np.where(bad[:, None], np.nan, found.vectors))


def test_a_query_that_fails_falls_back_upwards_and_spoils_no_other(grid: Path, trained: Trained) -> None:
    router = Router(read_grid(grid), grid, estimator=QueryEstimator(trained, Failing()))
    easy, raised, unfinite = router.route_batch([EASY, "raise", "nan"])
    assert (easy.lam, easy.source) == (Fraction(0), "estimator")
    assert (raised.lam, raised.source, raised.error) == (
        Fraction(1),
        "fallback",
        "ConnectionError: no encoder",
    )
    assert (unfinite.lam, unfinite.source) == (Fraction(1), "fallback")
    assert unfinite.error == "EstimatorError: an estimate is not a finite number"
    with pytest.raises(EstimatorError, match="not a finite number"):
        QueryEstimator(trained, Failing()).decide(["nan"])
    with pytest.raises(LambdaError, match="none of the available λ is known"):
        QueryEstimator(trained, Failing()).decide([EASY], available=[Fraction(1, 3)])


def test_an_estimator_of_other_weights_is_refused_unless_asked(
    grid: Path, trained: Trained, tmp_path: Path
) -> None:
    other = replace(trained, origin=_with_weights(trained, "blake3:" + "0" * 64))
    save_estimator(tmp_path / "other", other)
    with pytest.raises(InputRefused, match="was trained on answers of the weights blake3:000000000000…"):
        Router.from_grid(grid, estimator=tmp_path / "other")
    assert Router.from_grid(grid, estimator=tmp_path / "other", any_weights=True).route(EASY).lam == 0
    own = replace(trained, origin=_with_weights(trained, weights_digest(read_grid(grid))))
    save_estimator(tmp_path / "own", own)
    assert Router.from_grid(grid, estimator=str(tmp_path / "own")).route(EASY).lam == 0


def _with_weights(trained: Trained, digest: str) -> Origin:
    return msgspec.structs.replace(trained.origin, weights=digest)


def test_a_bundled_estimator_that_does_not_exist_is_refused(grid: Path) -> None:
    with pytest.raises(InputRefused, match="bundled:oracle is not a bundled estimator"):
        Router.from_grid(grid, estimator="bundled:oracle")


def test_parts_of_a_message_that_are_not_text_are_left_out() -> None:
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    content = [{"type": "text", "text": "a"}, picture, {"type": "text", "text": "b"}, "c"]
    assert as_conversation([{"role": "user", "content": content}, {"content": None}, {"content": 7}]) == [
        {"role": "user", "content": "a\nb"},
        {"role": "user", "content": ""},
        {"role": "user", "content": "7"},
    ]


def test_routing_with_a_trained_estimator_imports_no_torch(grid: Path, folder: Path) -> None:
    program = (
        "import sys, json\n"
        "from dami_merge import Router\n"
        f"route = Router.from_grid({str(grid)!r}, estimator={str(folder)!r}).route({HARD!r})\n"
        "heavy = {'torch', 'transformers', 'click', 'rich', 'huggingface_hub', 'filelock', 'yaml', 'scipy'}\n"
        "print(json.dumps([route.model, sorted(heavy & set(sys.modules))]))\n"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(output.stdout) == ["toy-lambda-1.00", []]
