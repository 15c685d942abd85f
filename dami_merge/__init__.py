"""dami-merge: a λ-grid of checkpoints between an Instruct and a Thinking model, and a router over it.

Importing this package imports no torch. `build_grid` and `check_lmc` live in `dami_merge.grid.build` and
`dami_merge.connectivity.report`, whose import does.
"""

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
]
