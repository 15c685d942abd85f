"""A fitted estimator as a folder: declared JSON beside safetensors, with examples that are checked at load.

    est/
    ├── estimator.json          what it is, what it was fitted on, its goal, its versions
    └── estimator.safetensors   everything learned, the table of prices, the vectors of the examples

Never a pickle. Both files are read strictly: an unknown field, a missing array, a shape that does not fit
or a number that is not finite is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np

from dami_merge._version import __version__
from dami_merge.declared import encode
from dami_merge.errors import InputRefused, LambdaError, OutputRefused, Problem, UsageError
from dami_merge.estimators.declaration import (
    DECLARED,
    FORMAT_OF_ESTIMATORS,
    LEARNED,
    Conformance,
    Declared,
    Origin,
)
from dami_merge.estimators.examples import Numbers
from dami_merge.estimators.fitted import Conversation, Features, FittedEstimator, Inputs
from dami_merge.estimators.goal import Goal, Setting, policy_of
from dami_merge.estimators.kinds import RESTORE
from dami_merge.estimators.policy import Policy, choose
from dami_merge.estimators.stored_arrays import arrays_of
from dami_merge.estimators.tradeoff import GUARDS, Tradeoff, restore_tradeoff
from dami_merge.files import digest_bytes, is_special, write_durable
from dami_merge.lambdas import fraction_text, parse_lambda

MOST_BYTES_DECLARED = 4 << 20
MOST_BYTES_LEARNED = 1 << 28

_TOLERANCE = 2e-3
_VECTORS = "conformance.vectors"
_VALUES = "conformance.values"
_MISFITS = (ValueError, IndexError, TypeError, AttributeError, OverflowError)
"""What arrays and settings raise that are there but do not fit each other."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A fitted estimator with all that is needed to decide.

    Attributes:
        fitted: The estimator.
        features_name: Name of its features.
        described: What the features were.
        tradeoff: What it does at every price.
        goal: Default goal.
        setting: How that is met.
        origin: What it was fitted on.
        checked: Queries that are checked at load.
        vectors: Their features, shape [n, D].
    """

    fitted: FittedEstimator
    features_name: str
    described: Mapping[str, str]
    tradeoff: Tradeoff
    goal: Goal
    setting: Setting
    origin: Origin
    checked: tuple[list[dict[str, str]], ...]
    vectors: Numbers


def save_estimator(folder: Path, trained: Trained) -> None:
    """Write an estimator; the folder is created if it is missing.

    Args:
        folder: Where to; files of an earlier estimator are replaced.
        trained: The estimator.

    Raises:
        OutputRefused: The folder holds something else.
    """
    from safetensors.numpy import save

    refuse_other_content(folder)
    arrays = {name: np.ascontiguousarray(each) for name, each in trained.fitted.arrays().items()}
    arrays |= {name: np.ascontiguousarray(each) for name, each in trained.tradeoff.arrays().items()}
    vectors = trained.vectors.astype(np.float32)
    # what a reader will have: the numbers as they are stored
    stored = RESTORE[trained.fitted.kind](arrays, trained.fitted.lambdas, trained.fitted.settings())
    read = vectors.astype(np.float64)
    arrays |= {_VECTORS: vectors, _VALUES: stored.estimate(_inputs(read)).value.astype(np.float64)}
    chosen = _chosen(stored, read, policy_of(trained.setting, trained.tradeoff))
    learned = save(arrays)
    declared = Declared(
        version=FORMAT_OF_ESTIMATORS,
        kind=trained.fitted.kind,
        features=trained.features_name,
        described=dict(trained.described),
        lambdas=[fraction_text(lam) for lam in trained.fitted.lambdas],
        settings=trained.fitted.settings(),
        goal=trained.goal,
        setting=trained.setting,
        origin=trained.origin,
        made_with={"dami-merge": __version__, "numpy": np.__version__},
        learned=digest_bytes(learned),
        conformance=[Conformance(each, lam) for each, lam in zip(trained.checked, chosen, strict=True)],
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_durable(folder / LEARNED, learned)
    write_durable(folder / DECLARED, encode(declared))


def refuse_other_content(folder: Path) -> None:
    """Refuse to write an estimator into a folder that holds anything else.

    Raises:
        OutputRefused: It does, or it is a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise OutputRefused(f"{folder} is a file", hint="give a folder")
    others = sorted({each.name for each in folder.iterdir()} - {DECLARED, LEARNED})
    if others:
        fact = f"{folder} holds {others[0]!r}, which is not part of an estimator"
        raise OutputRefused(fact, hint="give an empty or a new folder")


def load_estimator(folder: Path) -> Trained:
    """Read an estimator and check it.

    Raises:
        InputRefused: A file is missing, unreadable, malformed or does not belong to the other, or the
            estimator does not say what it said when it was fitted.
    """
    declared = _declared(folder)
    raw = _content(folder / LEARNED, MOST_BYTES_LEARNED)
    if digest_bytes(raw) != declared.learned:
        fact = f"{folder / LEARNED} is not the file that {DECLARED} was written with"
        raise _refused(fact, "keep both files together, or train it again")
    arrays = arrays_of(folder / LEARNED, raw)
    lambdas = _lambdas(folder, declared)
    try:
        fitted = RESTORE[declared.kind](arrays, lambdas, declared.settings)
        tradeoff = restore_tradeoff(arrays)
        vectors, values = arrays[_VECTORS].astype(np.float64), arrays[_VALUES].astype(np.float64)
    except KeyError as error:
        raise _refused(f"{folder} lacks {error}", "train it again") from error
    except _MISFITS as error:
        raise _misfit(folder) from error
    _check_shapes(folder, tradeoff, vectors, declared)
    _check_values(folder, fitted, vectors, values)
    _check_choices(folder, policy_of(declared.setting, tradeoff), fitted, vectors, declared.conformance)
    return Trained(
        fitted=fitted,
        features_name=declared.features,
        described=declared.described,
        tradeoff=tradeoff,
        goal=declared.goal,
        setting=declared.setting,
        origin=declared.origin,
        checked=tuple(each.messages for each in declared.conformance),
        vectors=vectors,
    )


def check_features(folder: Path, features: Features, trained: Trained) -> None:
    """Check that features give what they gave when the estimator was fitted.

    Raises:
        InputRefused: They describe themselves differently, or the vector of a checked query differs.
    """
    own = features.describe()
    for name in sorted(set(own) | set(trained.described)):
        if own.get(name) != trained.described.get(name):
            fact = (
                f"{folder} was fitted with features whose {name} was {trained.described.get(name)!r};"
                f" here it is {own.get(name)!r}"
            )
            raise _refused(fact, "use the same features, or train it again")
    queries: list[Conversation] = list(trained.checked)
    found, stored = features.inputs(queries).vectors, trained.vectors
    if found.shape != stored.shape or not np.allclose(found, stored, rtol=_TOLERANCE, atol=_TOLERANCE):
        fact = f"the features {trained.features_name} of the queries in {folder / DECLARED} have changed"
        raise _refused(fact, "a library has changed, or the files; train it again")


def _check_shapes(folder: Path, table: Tradeoff, vectors: Numbers, declared: Declared) -> None:
    prices, lambdas = table.prices.shape, (len(declared.lambdas),)
    cells = (len(GUARDS), *prices)
    measured = (table.accuracy, table.tokens, table.drop, table.drop_spread)
    fits = (
        len(prices) == 1
        and prices[0] > 0
        and table.guards.tolist() == list(GUARDS)
        and all(each.shape == cells for each in measured)
        and table.static_accuracy.shape == table.static_tokens.shape == lambdas
        and table.queries > 0
        and vectors.ndim == 2
        and len(vectors) == len(declared.conformance) > 0
    )
    if not fits:
        raise _misfit(folder)


def _check_values(folder: Path, fitted: FittedEstimator, vectors: Numbers, values: Numbers) -> None:
    try:
        found = fitted.estimate(_inputs(vectors))
    except (KeyError, *_MISFITS) as error:
        raise _misfit(folder) from error
    shape = (len(vectors), len(fitted.lambdas))
    if not found.value.shape == found.cost.shape == found.draws.shape[1:] == values.shape == shape:
        raise _misfit(folder)
    scale = max(1.0, float(np.abs(values).max(initial=0.0)))
    if not np.abs(found.value - values).max(initial=0.0) <= _TOLERANCE * scale:
        fact = f"{folder} does not estimate what it estimated when it was fitted"
        raise _refused(fact, "a library has changed, or the files; train it again")


def _check_choices(
    folder: Path,
    policy: Policy,
    fitted: FittedEstimator,
    vectors: Numbers,
    checked: Sequence[Conformance],
) -> None:
    chosen = _chosen(fitted, vectors, policy)
    for was, now in zip(checked, chosen, strict=True):
        if was.lam != now:
            text = " ".join(was.messages[-1]["content"].split())[:40] if was.messages else ""
            fact = f"{folder} chooses λ = {now} for {text!r}, and chose {was.lam} when it was fitted"
            raise _refused(fact, "a library has changed, or the files; train it again")


def _chosen(fitted: FittedEstimator, vectors: Numbers, policy: Policy) -> list[str]:
    places = choose(fitted.estimate(_inputs(vectors)), policy).places
    return [fraction_text(fitted.lambdas[place]) for place in places.tolist()]


def _inputs(vectors: Numbers) -> Inputs:
    return Inputs(vectors, np.zeros(len(vectors)), ("",) * len(vectors))


def _declared(folder: Path) -> Declared:
    file = folder / DECLARED
    raw = _content(file, MOST_BYTES_DECLARED)
    try:
        declared = msgspec.json.decode(raw, type=Declared)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, UsageError) as error:
        raise _refused(f"{file}: {error}", "it may have been written by another release") from error
    if declared.version != FORMAT_OF_ESTIMATORS:
        fact = f"{file} has format {declared.version}, this release reads {FORMAT_OF_ESTIMATORS}"
        raise _refused(fact, "use the release that wrote it, or train it again")
    if declared.kind not in RESTORE:
        raise _refused(f"{file} is of the unknown kind {declared.kind!r}", f"known are {', '.join(RESTORE)}")
    return declared


def _lambdas(folder: Path, declared: Declared) -> tuple[Fraction, ...]:
    try:
        lambdas = tuple(map(parse_lambda, declared.lambdas))
    except LambdaError as error:
        raise _refused(f"{folder / DECLARED}: {error}", "train it again") from error
    if not lambdas or list(lambdas) != sorted(set(lambdas)):
        raise _refused(f"{folder / DECLARED} does not list its λ in ascending order", "train it again")
    return lambdas


def _content(file: Path, most: int) -> bytes:
    try:
        if is_special(file):
            raise _refused(f"{file} is not a regular file", "give the folder of an estimator")
        if file.stat().st_size > most:
            raise _refused(f"{file} has more than {most:,} bytes", "it is probably another file")
        return file.read_bytes()
    except OSError as error:
        hint = "give the folder that `dami-merge train` wrote"
        raise _refused(f"{file}: {error.strerror}", hint) from error


def _misfit(folder: Path) -> InputRefused:
    fact = f"{folder} holds arrays or settings that do not fit each other"
    return _refused(fact, "train it again")


def _refused(fact: str, hint: str) -> InputRefused:
    return InputRefused([Problem("estimator", fact, hint)])
