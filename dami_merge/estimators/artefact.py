"""A fitted estimator as a folder: declared JSON beside safetensors, with examples that are checked at load.

    est/
    ├── estimator.json          what it is, what it was fitted on, its goal, its versions
    └── estimator.safetensors   everything learned, the table of prices, the vectors of the examples

Never a pickle. Both files are read strictly: an unknown field, a missing array, a shape that does not fit
or a number that is not finite is refused.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dami_merge._version import __version__
from dami_merge.declared import encode
from dami_merge.errors import InputRefused, OutputRefused, Problem
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
from dami_merge.estimators.goal import Goal, Setting
from dami_merge.estimators.kinds import RESTORE
from dami_merge.estimators.tradeoff import Tradeoff, restore_tradeoff
from dami_merge.files import digest_bytes, is_special, write_durable
from dami_merge.lambdas import fraction_text, parse_lambda

MOST_BYTES_DECLARED = 4 << 20
MOST_BYTES_LEARNED = 1 << 31

_TOLERANCE = 2e-3
_VECTORS = "conformance.vectors"
_VALUES = "conformance.values"


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

    refuse_foreign(folder)
    expected = trained.fitted.estimate(_inputs(trained.vectors))
    arrays = {name: np.ascontiguousarray(each) for name, each in trained.fitted.arrays().items()}
    arrays |= {name: np.ascontiguousarray(each) for name, each in trained.tradeoff.arrays().items()}
    arrays |= {_VECTORS: trained.vectors.astype(np.float32), _VALUES: expected.value.astype(np.float64)}
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
        conformance=[Conformance(messages) for messages in trained.checked],
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_durable(folder / LEARNED, learned)
    write_durable(folder / DECLARED, encode(declared))


def refuse_foreign(folder: Path) -> None:
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
    arrays = _arrays(folder / LEARNED, raw)
    lambdas = _lambdas(folder, declared)
    try:
        fitted = RESTORE[declared.kind](arrays, lambdas, declared.settings)
        tradeoff = restore_tradeoff(arrays)
        vectors, values = arrays[_VECTORS].astype(np.float64), arrays[_VALUES].astype(np.float64)
    except KeyError as error:
        raise _refused(f"{folder / LEARNED} lacks the array {error}", "train it again") from error
    _check_values(folder, fitted, vectors, values)
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


def _check_values(folder: Path, fitted: FittedEstimator, vectors: Numbers, values: Numbers) -> None:
    try:
        found = fitted.estimate(_inputs(vectors)).value
    except (ValueError, IndexError, TypeError) as error:
        raise _refused(
            f"{folder / LEARNED} holds arrays of shapes that do not fit", "train it again"
        ) from error
    scale = max(1.0, float(np.abs(values).max(initial=0.0)))
    if found.shape != values.shape or not np.abs(found - values).max(initial=0.0) <= _TOLERANCE * scale:
        fact = f"{folder} does not estimate what it estimated when it was fitted"
        raise _refused(fact, "a library has changed, or the files; train it again")


def _inputs(vectors: Numbers) -> Inputs:
    return Inputs(vectors, np.zeros(len(vectors)), ("",) * len(vectors))


def _declared(folder: Path) -> Declared:
    file = folder / DECLARED
    raw = _content(file, MOST_BYTES_DECLARED)
    try:
        declared = msgspec.json.decode(raw, type=Declared)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(f"{file}: {error}", "it may have been written by another release") from error
    if declared.version != FORMAT_OF_ESTIMATORS:
        fact = f"{file} has format {declared.version}, this release reads {FORMAT_OF_ESTIMATORS}"
        raise _refused(fact, "use the release that wrote it, or train it again")
    if declared.kind not in RESTORE:
        raise _refused(f"{file} is of the unknown kind {declared.kind!r}", f"known are {', '.join(RESTORE)}")
    return declared


def _lambdas(folder: Path, declared: Declared) -> tuple[Fraction, ...]:
    lambdas = tuple(map(parse_lambda, declared.lambdas))
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


_DTYPES: Mapping[str, type[np.generic]] = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def _arrays(file: Path, raw: bytes) -> dict[str, NDArray[np.generic]]:
    """Read the arrays of a safetensors file; the header is checked before anything is allocated."""
    try:
        size = int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8 : 8 + size])
        found: dict[str, NDArray[np.generic]] = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            data = raw[8 + size + start : 8 + size + end]
            found[name] = np.frombuffer(data, dtype=_DTYPES[entry["dtype"]]).reshape(entry["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _refused(f"{file} is not a safetensors file of an estimator", "train it again") from error
    for name, each in found.items():
        if name != "reduction.limits" and not np.isfinite(each.astype(np.float64)).all():
            raise _refused(f"{file}: {name} holds a number that is not finite", "train it again")
    return found


def _refused(fact: str, hint: str) -> InputRefused:
    return InputRefused([Problem("estimator", fact, hint)])
