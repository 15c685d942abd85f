"""Which form of the arithmetic runs: torch everywhere, numba or Triton where they are installed and pay.

All forms of `interpolate` give the same bits. Those of `compare` give the same sums but for the order of
addition, 1e-12 relative; one report uses one of them, whatever the number of threads.
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
"""Importing numba and loading what it compiled costs half a second, as much as torch needs for 2 GB."""

_TRITON_CAPABILITY = (7, 5)


class ManyWeights(Protocol):
    """Tensors that are written together; see `tensors.fused.FusedWeights`."""

    @staticmethod
    def takes(instruct: Tensor, thinking: Tensor, target: Tensor) -> bool:
        """Whether three flat tensors can be among them."""
        ...

    @classmethod
    def of(cls, tensors: Sequence[tuple[Tensor, Tensor, Tensor]]) -> "ManyWeights":
        """Note where everything lies."""
        ...

    def write(self, lam: Fraction) -> None:
        """Write all of them for one 0 < λ < 1."""
        ...


@dataclass(frozen=True, slots=True)
class Kernel:
    """One form of the interpolation.

    Attributes:
        name: `torch`, `numba` or `triton`.
        interpolate: The function.
        many: Its form for very many tensors at one λ; None where single calls are as good.
        one_core: A call uses one core, and leaves the others to calls from other threads.
    """

    name: str
    interpolate: Interpolate
    many: type[ManyWeights] | None = None
    one_core: bool = False


TORCH = Kernel("torch", interpolate)


def fastest(device: torch.device, *, output_bytes: int) -> Kernel:
    """The fastest form for a device.

    Args:
        device: Where the tensors will be.
        output_bytes: What will be written in all; little of it does not pay for starting a compiler.
    """
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= _TRITON_CAPABILITY:
        return _triton() or TORCH
    if device.type == "cpu" and output_bytes >= COMPILED_FROM_BYTES:
        return _numba() or TORCH
    return TORCH


def becoming_fastest(device: torch.device, *, output_bytes: int) -> Callable[[], Kernel]:
    """Like `fastest`, but at once: torch's form until a compiler is ready, which is started beside the work.

    Returns:
        What gives the fastest form that is ready by now.
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
    """The fastest form of `tensors.similarity.compare` on a CPU."""
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
