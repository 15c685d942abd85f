"""Arrays of a safetensors file whose bytes are untrusted: a strict header, float dtypes, finite numbers."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dami_merge.checkpoint.header import header_length, parse_header
from dami_merge.errors import InputRefused, Problem

MOST_BYTES_OF_NAMES = 1 << 20
"""An estimator has some ten arrays; a longer header is that of another file."""

MAY_BE_INFINITE = frozenset({"reduction.limits"})

_DTYPES: Mapping[str, type[np.generic]] = MappingProxyType(
    {"F64": np.float64, "F32": np.float32, "F16": np.float16}
)


def arrays_of(file: Path, raw: bytes) -> dict[str, NDArray[np.generic]]:
    """Read the arrays; they are views of the bytes, and nothing is allocated for them.

    Args:
        file: Where the bytes are from, for messages.
        raw: Content of the file.

    Raises:
        InputRefused: The header is malformed or does not fit the bytes, or an array has another dtype than
            float16, float32 or float64, or holds a number that is not finite.
    """
    length = header_length(raw[:8], len(raw), str(file))
    if length > MOST_BYTES_OF_NAMES:
        raise _unusable(f"{file} has a header of {length:,} bytes")
    header = parse_header(raw[: 8 + length], len(raw), str(file))
    found: dict[str, NDArray[np.generic]] = {}
    for each in header.tensors:
        if each.dtype not in _DTYPES:
            raise _unusable(
                f"{file}: {each.name[:80]!r} is of the dtype {each.dtype}, which no estimator has"
            )
        data = raw[each.start : each.start + each.size_bytes]
        array: NDArray[np.generic] = np.frombuffer(data, dtype=_DTYPES[each.dtype]).reshape(each.shape)
        unfit = np.isnan if each.name in MAY_BE_INFINITE else _not_finite
        if unfit(array).any():
            raise _unusable(f"{file}: {each.name[:80]!r} holds a number that is not finite")
        found[each.name] = array
    return found


def _not_finite(array: NDArray[np.generic]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = ~np.isfinite(array)
    return found


def _unusable(fact: str) -> InputRefused:
    return InputRefused([Problem("estimator", fact, "give a file that `dami-merge train` wrote")])
