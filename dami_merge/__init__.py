"""dami-merge: checkpoints along the line between an Instruct and a Thinking model, and what each is good for.

    plan = plan_grid(Recipe(instruct="org/instruct", thinking="org/thinking"), "grid")
    build_grid(plan); verify("grid")
    report = sweep("grid", "rollouts.jsonl", SweepRecipe(questions="questions.jsonl"))

Importing this package imports nothing heavy; the first use of a name imports what it needs, such as torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dami_merge._version import __version__

if TYPE_CHECKING:
    from dami_merge.connectivity.check import Check, Walk, check_lmc
    from dami_merge.connectivity.sample import Sample
    from dami_merge.connectivity.texts import read_texts
    from dami_merge.errors import (
        BackendError,
        DamiMergeError,
        DeviceUnfit,
        DiskFull,
        EstimatorError,
        GridUnreadable,
        HubError,
        InputRefused,
        LambdaError,
        OutputRefused,
        Problem,
        RecipeError,
        UsageError,
    )
    from dami_merge.estimators.deciding import QueryEstimator
    from dami_merge.estimators.goal import Goal, Risk
    from dami_merge.evaluation.rollouts import Rollouts
    from dami_merge.evaluation.rollouts_file import read_rollouts
    from dami_merge.evaluation.statistics.summary import SweepReport
    from dami_merge.evaluation.sweep_recipe import SweepRecipe
    from dami_merge.grid.build import build_grid
    from dami_merge.grid.planning import plan_grid
    from dami_merge.grid.recipe import Recipe
    from dami_merge.grid.verify import verify
    from dami_merge.router.route import Route, Router
    from dami_merge.sampling import Sampling
    from dami_merge.use_cases.engines import InProcess, Server
    from dami_merge.use_cases.report import report_sweep
    from dami_merge.use_cases.sweep import sweep
    from dami_merge.use_cases.swept import SweptGrid, SweptPair
    from dami_merge.use_cases.train import Training, train_estimator

__all__ = [
    "BackendError",
    "Check",
    "DamiMergeError",
    "DeviceUnfit",
    "DiskFull",
    "EstimatorError",
    "Goal",
    "GridUnreadable",
    "HubError",
    "InProcess",
    "InputRefused",
    "LambdaError",
    "OutputRefused",
    "Problem",
    "QueryEstimator",
    "Recipe",
    "RecipeError",
    "Risk",
    "Rollouts",
    "Route",
    "Router",
    "Sample",
    "Sampling",
    "Server",
    "SweepRecipe",
    "SweepReport",
    "SweptGrid",
    "SweptPair",
    "Training",
    "UsageError",
    "Walk",
    "__version__",
    "build_grid",
    "check_lmc",
    "plan_grid",
    "read_rollouts",
    "read_texts",
    "report_sweep",
    "sweep",
    "train_estimator",
    "verify",
]

_HOMES = {
    "BackendError": "errors",
    "Check": "connectivity.check",
    "DamiMergeError": "errors",
    "DeviceUnfit": "errors",
    "DiskFull": "errors",
    "EstimatorError": "errors",
    "Goal": "estimators.goal",
    "GridUnreadable": "errors",
    "HubError": "errors",
    "InProcess": "use_cases.engines",
    "InputRefused": "errors",
    "LambdaError": "errors",
    "OutputRefused": "errors",
    "Problem": "errors",
    "QueryEstimator": "estimators.deciding",
    "Recipe": "grid.recipe",
    "RecipeError": "errors",
    "Risk": "estimators.goal",
    "Rollouts": "evaluation.rollouts",
    "Route": "router.route",
    "Router": "router.route",
    "Sample": "connectivity.sample",
    "Sampling": "sampling",
    "Server": "use_cases.engines",
    "SweepRecipe": "evaluation.sweep_recipe",
    "SweepReport": "evaluation.statistics.summary",
    "SweptGrid": "use_cases.swept",
    "SweptPair": "use_cases.swept",
    "Training": "use_cases.train",
    "UsageError": "errors",
    "Walk": "connectivity.check",
    "build_grid": "grid.build",
    "check_lmc": "connectivity.check",
    "plan_grid": "grid.planning",
    "read_rollouts": "evaluation.rollouts_file",
    "read_texts": "connectivity.texts",
    "report_sweep": "use_cases.report",
    "sweep": "use_cases.sweep",
    "train_estimator": "use_cases.train",
    "verify": "grid.verify",
}
"""The module of each public name that is imported when it is first used."""


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Every public name, imported or not."""
    return sorted({*globals(), *__all__})
