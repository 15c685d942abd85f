"""A benchmark that is not mathematics: puzzles of knights and knaves, from questions to the judge.

The pair is simulated; the puzzles, their grading, the file, the features, the fit and the judge are real.
"""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from dami_merge.estimators.examples import Examples, Numbers, Places, examples_of
from dami_merge.estimators.features.opening import open_features
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.fitting.fits import FITS
from dami_merge.estimators.judge.resampled import Figure95, gain_over_hull, resample_queries
from dami_merge.estimators.judge.routing import routed
from dami_merge.estimators.policy import Policy, choose
from dami_merge.evaluation.generation import all_requests
from dami_merge.evaluation.grading.grader import Grader
from dami_merge.evaluation.questions.importers import read_questions
from dami_merge.evaluation.rollouts_file import open_rollouts, read_rollouts, read_sidecar, settings_of
from dami_merge.evaluation.sweep import fill_rollouts
from dami_merge.lambdas import parse_lambda
from dami_merge.router.route import Router
from dami_merge.sampling import SamplingSettings
from dami_merge.use_cases.evaluate import evaluate_estimators
from dami_merge.use_cases.evaluation import Evaluation
from dami_merge.use_cases.train import Training, train_estimator
from tests.estimators.encoders import save_reader
from tests.estimators.logic import LEVELS, SimulatedPair, write_puzzles
from tests.tiny import LAMBDAS

pytestmark = pytest.mark.slow


ALL = tuple(parse_lambda(step / 10) for step in range(11))


def measured(
    folder: Path, each: int, seed: int, lambdas: Sequence[Fraction] = ALL
) -> tuple[Examples, Numbers]:
    """Puzzles after a sweep of the simulated pair, read back from the rollouts file, and their levels."""
    levels = write_puzzles(folder / f"puzzles-{seed}.jsonl", each, seed)
    questions = read_questions(str(folder / f"puzzles-{seed}.jsonl"))
    backend, sampling = SimulatedPair(levels), SamplingSettings(max_tokens=4096)
    path = folder / f"rollouts-{seed}.jsonl"
    settings = settings_of(backend.describe(), "default", sampling)
    with Grader() as grader, open_rollouts(path, settings, questions) as file:
        fill_rollouts(all_requests(questions, lambdas, 4), backend, sampling, grader, file)
    examples = examples_of(read_rollouts(path), read_sidecar(path))
    return examples, np.array([float(levels[question.id]) for question in examples.questions])


def seen(spec: str, examples: Examples) -> Inputs:
    prompts = [[{"role": m.role, "content": m.content} for m in q.messages] for q in examples.questions]
    return replace(open_features(spec).inputs(prompts), groups=examples.groups)


def chosen(train: Examples, test: Examples) -> Places:
    """Places of the λ that `curve` on the text chooses for unseen puzzles, at one price of tokens."""
    estimate = FITS["curve"](train, seen("text", train), {"ridge": 0.003}, 0).estimate(seen("text", test))
    policy = Policy(0.1, float(train.tokens.mean(axis=0)[-1]), np.zeros(len(train.lambdas)), None)
    return choose(estimate, policy).places


def judged(places: Places, test: Examples) -> Figure95:
    """Accuracy above the best blind mixture of static λ at the same tokens."""
    draws = resample_queries(test, seed=0, resamples=300)
    return draws.figure(gain_over_hull(draws, routed(places, len(test.lambdas)), test))


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examples, Examples, Numbers]:
    folder = tmp_path_factory.mktemp("logic")
    return (measured(folder, 80, seed=0)[0], *measured(folder, 60, seed=1000))


def test_a_curve_on_the_text_of_puzzles_beats_every_static_mixture(
    splits: tuple[Examples, Examples, Numbers],
) -> None:
    train, test, levels = splits
    assert {question.kind for question in test.questions} == {"exact"}
    assert set(test.groups) == {"knights_knaves"}
    places = chosen(train, test)
    figure = judged(places, test)
    assert figure.interval is not None
    assert figure.interval.low > 0.05
    means = [float(places[levels == level].mean()) for level in LEVELS]
    assert means == sorted(means)
    assert means[-1] - means[0] > 4


def test_with_shuffled_answers_the_same_curve_beats_none(splits: tuple[Examples, Examples, Numbers]) -> None:
    train, test, _ = splits
    order = np.random.default_rng(0).permutation(len(train))
    shuffled = replace(train.part(order), questions=train.questions)
    figure = judged(chosen(shuffled, test), test)
    assert figure.interval is not None
    assert figure.interval.low < 0


def test_a_trained_estimator_routes_unseen_puzzles_and_the_judge_finds_that_it_pays(
    tiny_grid: Path, tmp_path: Path
) -> None:
    measured(tmp_path, 60, 0, LAMBDAS)
    measured(tmp_path, 40, 1000, LAMBDAS)
    training = Training("curve", "text", {"ridge": 0.003, "draws": 4})
    train_estimator(training, tiny_grid, tmp_path / "rollouts-0.jsonl", tmp_path / "est")
    router = Router.from_grid(tiny_grid, estimator=tmp_path / "est")
    puzzles = read_questions(str(tmp_path / "puzzles-1000.jsonl"))
    routes = router.route_batch([each.messages[0].content for each in puzzles])
    means = [float(np.mean([r.lam for r in routes[start : start + 40]])) for start in range(0, 200, 40)]
    assert means == sorted(means)
    assert means[0] < 0.5
    assert means[-1] > 0.9
    judged_on = Evaluation(tmp_path / "rollouts-1000.jsonl", estimators=(str(tmp_path / "est"),))
    (row,) = evaluate_estimators(judged_on, tiny_grid).rows
    assert row.judgement.over_hull.interval is not None
    assert row.judgement.over_hull.interval.low > 0


def test_a_backbone_is_tuned_on_the_rollouts_from_the_command_line(tmp_path: Path) -> None:
    measured(tmp_path, 6, 0, LAMBDAS)
    named = [str(save_reader(tmp_path / "reader")), "--rollouts", str(tmp_path / "rollouts-0.jsonl")]
    output = tmp_path / "backbone"
    done = subprocess.run(
        [sys.executable, "-m", "dami_merge", "backbone", *named, "-o", str(output), "--epochs", "2",
         "--rate", "0.01"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith(f"{output}: pass ")
    assert done.stderr.count("held-out loss") == 2
    assert open_features(f"backbone:{output}").describe()["labels"] == "0.00 0.40 1.00"
