"""Choose the implementation of the arithmetic: torch everywhere, numba or Triton if installed and worthwhile.

All implementations of `interpolate` give the same bits. Those of `compare` give the same sums up to the order
of addition (1e-12 relative); one report uses only one of them, whatever the number of threads.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from dami_merge.tensors.interpolate import Interpolate, interpolate
from dami_merge.tensors.similarity import Sums, compare

COMPILED_FROM_BYTES = 256 << 20
"""Importing numba and loading its compiled code takes half a second, in which torch processes 2 GB."""

_TRITON_CAPABILITY = (7, 5)


class ManyWeights(Protocol):
    """Tensors written together in one launch; see `tensors.fused.FusedWeights`."""

    @staticmethod
    def takes(instruct: Tensor, thinking: Tensor, target: Tensor) -> bool:
        """Return whether three flat tensors can be included."""
        ...

    @classmethod
    def of(cls, tensors: Sequence[tuple[Tensor, Tensor, Tensor]]) -> "ManyWeights":
        """Record where the tensors lie in memory."""
        ...

    def write(self, lam: Fraction) -> None:
        """Write all tensors for one 0 < λ < 1."""
        ...


@dataclass(frozen=True, slots=True)
class Kernel:
    """One implementation of the interpolation.

    Attributes:
        name: `torch`, `numba` or `triton`.
        interpolate: The function.
        many: Variant for very many tensors at one λ; None if single calls are equally fast.
        one_core: Whether a call uses only one core, so that calls from several threads run in parallel.
    """

    name: str
    interpolate: Interpolate
    many: type[ManyWeights] | None = None
    one_core: bool = False


TORCH = Kernel("torch", interpolate)


def fastest(device: torch.device, *, output_bytes: int) -> Kernel:
    """Return the fastest implementation for a device.

    Args:
        device: Device of the tensors.
        output_bytes: Total bytes to be written; small outputs do not justify starting a compiler.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TRITON_CAPABILITY:
        return _triton() or TORCH
    if device.type == "cpu" and output_bytes >= COMPILED_FROM_BYTES:
        return _numba() or TORCH
    return TORCH


def becoming_fastest(device: torch.device, *, output_bytes: int) -> Callable[[], Kernel]:
    """Like `fastest`, without waiting: torch until the compiled kernel, loaded in a thread, is ready.

    Returns:
        A function that returns the fastest implementation that is ready when it is called.
    """
    if device.type != "cpu" or output_bytes < COMPILED_FROM_BYTES:
        chosen = fastest(device, output_bytes=output_bytes)
        return lambda: chosen
    ready = [TORCH]

    def load() -> None:
        kernel = _numba()
        if kernel is not None:
            one = torch.zeros(1, dtype=torch.bfloat16)
            kernel.interpolate(one, one, [Fraction(1, 2)], torch.empty_like(one)[None])
            ready.append(kernel)

    threading.Thread(target=load, name="load the compiled kernel").start()
    return lambda: ready[-1]


def fastest_compare(*, input_bytes: int) -> Callable[[Tensor, Tensor], Sums]:
    """Return the fastest implementation of `tensors.similarity.compare` on a CPU."""
    if input_bytes < COMPILED_FROM_BYTES:
        return compare
    try:
        from dami_merge.tensors.compiled import compiled_compare
    except ImportError:
        return compare
    return compiled_compare


def _numba() -> Kernel | None:
    try:
        from dami_merge.tensors.compiled import compiled_interpolate
    except ImportError:
        return None
    return Kernel("numba", compiled_interpolate, one_core=True)


def _triton() -> Kernel | None:
    try:
        from dami_merge.tensors.fused import FusedWeights, fused_interpolate
    except ImportError:
        return None
    return Kernel("triton", fused_interpolate, FusedWeights)
