"""Fit `boosted` with LightGBM (the extra `boosted`); the number of trees by cross-validation over queries.

One thread: LightGBM's threads spin while they wait, and beside other work a second one makes a fit many times
slower.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from dami_merge.estimators.boosted import Boosted, Forest
from dami_merge.estimators.examples import Examples, Numbers, Places, folds
from dami_merge.estimators.fitted import Inputs
from dami_merge.estimators.reduction import MOST_COMPONENTS, fit_reduction
from dami_merge.estimators.resampling import query_weights
from dami_merge.optional import needed

_MOST_TREES = 800
_PATIENCE = 30
_FOLDS = 5
_FOLDS_USED = 3
_MORE_QUERIES = 1.1
"""Trees for all queries, against those for the share of them that a fold leaves."""


class BoostedOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of `boosted`.

    Attributes:
        trees: Trees of one ensemble; 0 means by cross-validation.
        leaves: Most leaves of a tree.
        rate: Learning rate.
        least: Fewest cells (query and λ) in a leaf.
        draws: Resamples for standard errors; each is a fit.
        parts: Most principal components by which a query is compared with those of the fit.
    """

    trees: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 0
    leaves: Annotated[int, msgspec.Meta(ge=2, le=256)] = 8
    rate: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.05
    least: Annotated[int, msgspec.Meta(ge=1)] = 40
    draws: Annotated[int, msgspec.Meta(ge=0, le=100)] = 4
    parts: Annotated[int, msgspec.Meta(ge=1, le=4096)] = MOST_COMPONENTS


def fit_boosted(examples: Examples, inputs: Inputs, options: BoostedOptions, seed: int) -> Boosted:
    """Fit success and tokens of every λ.

    Args:
        examples: N measured queries.
        inputs: Their features.
        options: Options.
        seed: Seed of folds, resamples and of what LightGBM draws.

    Raises:
        DamiMergeError: LightGBM is not installed.
    """
    library = needed("lightgbm", "the estimator boosted", extra="boosted")
    cells = _Cells(library, examples, inputs.vectors, options, seed)
    every = np.arange(len(examples))
    trees = options.trees or cells.best_trees()
    weights = query_weights(len(examples), options.draws, seed)
    success = [cells.fitted("cross_entropy", examples.accuracy, every, own, trees) for own in weights]
    logs = np.log(np.maximum(examples.tokens, 1.0))
    length = _forest([cells.fitted("regression", logs, every, weights[0], trees)])
    said = np.exp(length.outputs(inputs.vectors, [float(lam) for lam in examples.lambdas])[0])
    found = np.where(examples.lengths < 0, np.nan, examples.lengths.astype(np.float64))
    return Boosted(
        lambdas=examples.lambdas,
        reduction=fit_reduction(inputs, most=options.parts, seed=seed),
        success=_forest(success),
        length=length,
        smearing=(examples.tokens / said).mean(axis=0),
        bounds=np.stack([np.nanmin(found, axis=(0, 2)), np.nanmax(found, axis=(0, 2))]),
        options=msgspec.structs.asdict(options) | {"trees": trees, "seed": seed},
    )


class _Cells:
    """Cells of queries and λ as LightGBM takes them: features and λ, an aim and a weight for each."""

    def __init__(
        self, library: Any, examples: Examples, vectors: Numbers, options: BoostedOptions, seed: int
    ) -> None:
        self._library = library
        self._examples = examples
        self._vectors = vectors
        self._path = np.array([float(lam) for lam in examples.lambdas])
        self._named = {
            "num_leaves": options.leaves, "learning_rate": options.rate, "min_data_in_leaf": options.least,
            "feature_fraction": 0.3, "bagging_fraction": 0.7, "bagging_freq": 1, "lambda_l2": 5.0,
            "max_bin": 63, "seed": seed, "deterministic": True, "force_col_wise": True, "use_missing": False,
            "num_threads": 1, "verbose": -1,
        }  # fmt: skip
        self._seed = seed

    def best_trees(self) -> int:
        """The number of trees with the lowest log loss on queries that were left out."""
        count = len(self._examples)
        if count < 2 * _FOLDS:
            return 1
        found = []
        for kept, out in list(folds(count, _FOLDS, self._seed))[:_FOLDS_USED]:
            stop = self._library.early_stopping(_PATIENCE, verbose=False)
            judged = self._data(self._examples.accuracy, out, np.ones(count))
            data = self._data(self._examples.accuracy, kept, np.ones(count))
            named = self._named | {"objective": "cross_entropy"}
            booster = self._library.train(named, data, _MOST_TREES, valid_sets=[judged], callbacks=[stop])
            found.append(int(booster.best_iteration))
        return max(1, round(_MORE_QUERIES * float(np.mean(found))))

    def fitted(self, objective: str, aims: Numbers, rows: Places, weights: Numbers, trees: int) -> str:
        """Trees of one fit, as LightGBM's text."""
        named = self._named | {"objective": objective}
        text: str = self._library.train(named, self._data(aims, rows, weights), trees).model_to_string()
        return text

    def _data(self, aims: Numbers, rows: Places, weights: Numbers) -> Any:
        count = len(self._path)
        wide = np.column_stack(
            [np.repeat(self._vectors[rows], count, axis=0), np.tile(self._path, len(rows))]
        )
        own = (weights[:, None] * self._examples.samples)[rows].ravel()
        return self._library.Dataset(wide, aims[rows].ravel(), weight=own, params=self._named)


def _forest(fits: Sequence[str]) -> Forest:
    """The arrays of LightGBM's trees, from its text."""
    trees = [[_fields(block) for block in text.split("\nTree=")[1:]] for text in fits]
    flat = [tree for each in trees for tree in each]
    nodes = max([1, *(len(tree.get("split_feature", [])) for tree in flat)])
    table = {
        name: np.array([_padded(tree.get(field, alone), nodes) for tree in flat])
        for name, field, alone in (
            ("feature", "split_feature", [0.0]),
            ("threshold", "threshold", [0.0]),
            ("left", "left_child", [-1.0]),
            ("right", "right_child", [-1.0]),
        )
    }
    return Forest(
        feature=table["feature"].astype(np.int32),
        threshold=table["threshold"],
        left=table["left"].astype(np.int32),
        right=table["right"].astype(np.int32),
        leaf=np.array([_padded(tree["leaf_value"], nodes + 1) for tree in flat]),
        sizes=np.array([len(each) for each in trees], dtype=np.int64),
    )


_FIELDS = ("split_feature", "threshold", "left_child", "right_child", "leaf_value")


def _fields(block: str) -> dict[str, list[float]]:
    """The numbers of one tree by field; a tree of one leaf has no nodes."""
    pairs = (line.partition("=") for line in block.split("\n\n", 1)[0].splitlines())
    return {
        name: [float(word) for word in value.split()] for name, _, value in pairs if name in _FIELDS and value
    }


def _padded(values: Sequence[float], width: int) -> list[float]:
    return [*values, *[0.0] * (width - len(values))]
