"""Every kind of estimator, and how it is fitted from measured queries. Imports torch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec

from dami_merge.errors import UsageError
from dami_merge.estimators.averaging import (
    AverageOptions,
    fit_category,
    fit_constant,
    fit_kmeans,
    fit_knn,
)
from dami_merge.estimators.calibrating import ConfOptions, fit_conf
from dami_merge.estimators.examples import Examples
from dami_merge.estimators.fitted import FittedEstimator, Inputs, Scalar
from dami_merge.estimators.fitting.boosting import BoostedOptions, fit_boosted
from dami_merge.estimators.fitting.curves import CurveOptions, fit_curve
from dami_merge.estimators.fitting.preds import PredOptions, fit_pred
from dami_merge.estimators.fitting.prefs import PrefOptions, fit_pref

Options = TypeVar("Options", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Fit(Generic[Options]):
    """How one kind is fitted.

    Attributes:
        options: The struct that declares its options.
        run: Fits it: measured queries, their features, options, seed.
    """

    options: type[Options]
    run: Callable[[Examples, Inputs, Options, int], FittedEstimator]

    def __call__(
        self, examples: Examples, inputs: Inputs, options: Mapping[str, Scalar], seed: int
    ) -> FittedEstimator:
        """Fit with options by name.

        Raises:
            UsageError: An option is unknown or out of its range.
            InputRefused: The queries do not allow a fit.
        """
        try:
            declared = msgspec.convert(dict(options), self.options)
        except msgspec.ValidationError as error:
            known = ", ".join(self.options.__struct_encode_fields__)
            raise UsageError(f"{error}", hint=f"the options are {known}") from error
        return self.run(examples, inputs, declared, seed)


FITS: Mapping[str, Callable[[Examples, Inputs, Mapping[str, Scalar], int], FittedEstimator]] = (
    MappingProxyType(
        {
            "curve": Fit(CurveOptions, fit_curve),
            "boosted": Fit(BoostedOptions, fit_boosted),
            "pref": Fit(PrefOptions, fit_pref),
            "pred": Fit(PredOptions, fit_pred),
            "conf": Fit(ConfOptions, fit_conf),
            "constant": Fit(AverageOptions, fit_constant),
            "category": Fit(AverageOptions, fit_category),
            "kmeans": Fit(AverageOptions, fit_kmeans),
            "knn": Fit(AverageOptions, fit_knn),
        }
    )
)
"""How each kind is fitted."""
