"""dami-merge: a λ-grid of checkpoints between an Instruct and a Thinking model, and a router over it.

Importing this package does not import torch; the first use of `build_grid` or `check_lmc` does.
"""

from typing import TYPE_CHECKING

from dami_merge._version import __version__
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
from dami_merge.router.route import Route, Router

if TYPE_CHECKING:
    from dami_merge.connectivity.check import check_lmc
    from dami_merge.grid.build import build_grid

__all__ = [
    "BackendError",
    "DamiMergeError",
    "DeviceUnfit",
    "DiskFull",
    "EstimatorError",
    "GridUnreadable",
    "HubError",
    "InputRefused",
    "LambdaError",
    "OutputRefused",
    "Problem",
    "RecipeError",
    "Route",
    "Router",
    "UsageError",
    "__version__",
    "build_grid",
    "check_lmc",
]

_WITH_TORCH = {"build_grid": "dami_merge.grid.build", "check_lmc": "dami_merge.connectivity.check"}


def __getattr__(name: str) -> object:
    """Import functions that need torch on first use."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_WITH_TORCH[name]), name)
