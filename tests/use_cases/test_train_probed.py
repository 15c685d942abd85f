"""An estimator on probes, from rollouts to a route; trained in this process, it also routes by a server."""

from fractions import Fraction
from pathlib import Path

import pytest

from dami_merge import Router, SweepRecipe, sweep
from dami_merge.backends.conversation import Connection
from dami_merge.backends.probing import HfProber
from dami_merge.backends.served_probing import OpenAIProber
from dami_merge.errors import InputRefused
from dami_merge.estimators.deciding import QueryEstimator
from dami_merge.estimators.features.opening import open_features
from dami_merge.estimators.fitting.layers import chosen_blocks, validated_layers
from dami_merge.estimators.probing import AT_ONCE
from dami_merge.router.endpoint import Endpoints
from dami_merge.use_cases.train import Training, read_examples, train_estimator
from tests.backends.plainly import ENDS, Plain, completion
from tests.openai_server import running_server
from tests.tiny import questions

QUERIES = [question.messages[0].content for question in questions(6)]


@pytest.fixture(scope="module")
def rollouts(tiny_grid: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("swept") / "r.jsonl"
    sweep(tiny_grid, path, SweepRecipe(questions="bundled:train", limit=24, samples=1, max_tokens=96))
    return path


@pytest.mark.parametrize(
    "training",
    [
        Training("conf", options={"draws": 2}, folds=2),
        Training("conf", options={"labelled": False}, folds=2),
        Training("curve", features="state", options={"draws": 2, "ridge": 0.01}, folds=2, layers=(2,)),
    ],
)
def test_a_trained_estimator_routes_and_says_what_its_probes_spent(
    tiny_grid: Path, rollouts: Path, tmp_path: Path, training: Training
) -> None:
    train_estimator(training, tiny_grid, rollouts, tmp_path / "est")
    routes = Router.from_grid(tiny_grid, estimator=tmp_path / "est").route_batch(QUERIES)
    assert [route.error for route in routes] == [""] * len(QUERIES)
    assert {route.lam for route in routes} <= {Fraction(0), Fraction(2, 5), Fraction(1)}
    assert all((route.spent >= 2) == (training.kind == "conf") for route in routes)


def test_layers_are_chosen_among_those_given_by_what_their_states_say(
    tiny_grid: Path, rollouts: Path
) -> None:
    examples, prober = read_examples(rollouts), HfProber.from_grid(tiny_grid, device="cpu")
    queries = [[{"role": "user", "content": each.messages[0].content}] for each in examples.questions]
    layers = (0, 1, 2)
    places = chosen_blocks(examples, open_features("state", prober=prober, layers=layers).inputs(queries), 0)
    assert validated_layers(examples, prober, 0, layers=layers) == tuple(layers[place] for place in places)
    assert validated_layers(examples, prober, 0, layers=[2]) == (2,)


def test_a_conf_that_was_trained_in_this_process_asks_a_server_too(
    tiny_grid: Path, rollouts: Path, tmp_path: Path
) -> None:
    training = Training("conf", options={"draws": 2}, folds=2, probe=AT_ONCE)
    train_estimator(training, tiny_grid, rollouts, tmp_path / "est")
    local = Router.from_grid(tiny_grid, estimator=tmp_path / "est").route_batch(QUERIES)
    models = {f"tiny-{float(lam):.2f}": Plain(folder) for lam, folder in ENDS.items()}
    with running_server() as server:
        server.reply = lambda body, _: completion(models[body["model"]], body, raw=True, cut_end=False)
        endpoints = Endpoints(server.url, "tiny-{lambda}", grid=tiny_grid)
        prober = OpenAIProber(endpoints, Connection(retries=0, concurrency=4), grid=tiny_grid)
        opened = QueryEstimator.open(tmp_path / "est", prober=prober)
        served = Router.from_grid(tiny_grid, estimator=opened).route_batch(QUERIES)
        assert len(server.bodies) > 2 * len(QUERIES)
        assert [(each.lam, each.spent) for each in served] == [(each.lam, each.spent) for each in local]
        unknown = OpenAIProber(Endpoints(server.url, "tiny-{lambda}"), grid=tiny_grid)
        with pytest.raises(InputRefused, match="whose weights was"):
            QueryEstimator.open(tmp_path / "est", prober=unknown)
