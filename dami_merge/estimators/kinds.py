"""Every kind of estimator, and how one is restored from an artefact. Imports no torch."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dami_merge.estimators.boosted import restore_boosted
from dami_merge.estimators.conf import restore_conf
from dami_merge.estimators.curve import restore_curve
from dami_merge.estimators.fitted import FittedEstimator, Scalar
from dami_merge.estimators.pred import restore_pred
from dami_merge.estimators.pref import restore_pref
from dami_merge.estimators.tables import KINDS_OF_TABLES, restore_neighbours, restore_table

Restore = Callable[
    [Mapping[str, NDArray[np.generic]], tuple[Fraction, ...], Mapping[str, Scalar]], FittedEstimator
]
"""From arrays, λ and settings to a fitted estimator; raises KeyError where something is missing."""

RESTORE: Mapping[str, Restore] = MappingProxyType(
    {
        "curve": restore_curve,
        "boosted": restore_boosted,
        "pref": restore_pref,
        "pred": restore_pred,
        "conf": restore_conf,
        "knn": restore_neighbours,
        **{kind: partial(restore_table, kind) for kind in KINDS_OF_TABLES},
    }
)
"""How each kind is restored."""
