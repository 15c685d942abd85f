"""The estimator of a grid: opened by name or folder, and checked against the grid's weights."""

from importlib import import_module
from pathlib import Path

from dami_merge.bundled import BUNDLED_PREFIX, bundled_estimator
from dami_merge.errors import InputRefused, Problem
from dami_merge.estimators.artefact import load_estimator
from dami_merge.estimators.deciding import QueryEstimator
from dami_merge.estimators.goal import Goal
from dami_merge.estimators.probing import Prober
from dami_merge.grid.manifest import Grid, weights_digest

BUNDLED_NAME = "bundled"

_PROBED = {"conf", "state"}


def estimator_for(
    grid: Grid, root: Path, estimator: str | Path, *, goal: Goal | None = None, any_weights: bool = False
) -> QueryEstimator:
    """Open the estimator for a grid.

    Args:
        grid: Contents of grid.json.
        root: Folder of the grid.
        estimator: A folder, `bundled` for the default of the bundled pair, or `bundled:pref`,
            `bundled:conf`.
        goal: What is asked; None means what it was trained for.
        any_weights: Accept an estimator of other weights.

    Raises:
        InputRefused: It cannot be read, has changed, or was trained on answers of other weights.
        UsageError: The goal cannot be met.
    """
    name = str(estimator)
    folder = Path(estimator)
    if name == BUNDLED_NAME:
        folder = bundled_estimator("default")
    elif name.startswith(BUNDLED_PREFIX):
        folder = bundled_estimator(name.removeprefix(BUNDLED_PREFIX))
    trained = load_estimator(folder)
    own, origin = weights_digest(grid), trained.origin.weights
    if origin and origin != own and not any_weights:
        fact = f"{folder} was trained on answers of the weights {origin[:19]}…; {root} has {own[:19]}…"
        hint = "train one on a sweep of this grid, or accept it with --any-weights (any_weights=True)"
        raise InputRefused([Problem("other-weights", fact, hint)])
    prober = prober_of(root) if asks_models(trained.features_name) else None
    return QueryEstimator.of(trained, folder, goal=goal, prober=prober)


def asks_models(features: str) -> bool:
    """Whether features of this name ask the models of the grid."""
    return bool(_PROBED & set(features.split("+")))


def prober_of(grid: Path) -> Prober:
    """What asks the models of a grid in this process.

    This is the only door from here to the models, and to torch: the module is imported by its name, so that
    everything that needs no model stays without them.
    """
    probing = import_module("dami_merge.backends.probing")
    prober: Prober = probing.HfProber.from_grid(grid)
    return prober
