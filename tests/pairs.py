"""A check's parts, from names or opened checkpoints."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.source import open_both
from dami_merge.connectivity.path import PathReport, walk_pair
from dami_merge.connectivity.report import WeightsReport
from dami_merge.connectivity.texts import Text
from dami_merge.connectivity.weights import compare_weights
from dami_merge.dtypes import FLOATS

Named = str | Path | Checkpoint


def _opened(*sides: Named) -> tuple[Checkpoint, Checkpoint]:
    left, right = (str(side) if isinstance(side, Path) else side for side in sides)
    return open_both(left, right)


def float_bytes(instruct: Checkpoint, thinking: Checkpoint) -> int:
    """Bytes of the float tensors of both sides."""
    infos = [info for side in (instruct, thinking) for _, info in side.tensors().values()]
    return sum(info.size_bytes for info in infos if info.dtype in FLOATS)


def weights_of(instruct: Named, thinking: Named, **options: Any) -> WeightsReport:
    """The comparison of the weights."""
    return compare_weights(*_opened(instruct, thinking), **options)


def walked(
    instruct: Named, thinking: Named, texts: Sequence[Text], lambdas: Sequence[Fraction]
) -> PathReport:
    """The path between them, on the CPU."""
    return walk_pair(*_opened(instruct, thinking), texts, lambdas, device="cpu")
