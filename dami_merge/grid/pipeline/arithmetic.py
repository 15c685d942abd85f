"""Where the arithmetic of a block happens: on this machine's cores, or on an accelerator beside the copies.

Both take host tensors and write host tensors; neither knows files. An accelerator returns at once, and what
it was given must stay as it is until its answer has been asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from ctypes import addressof, c_char
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import torch
from torch import Tensor

from dami_merge.errors import DeviceUnfit
from dami_merge.tensors.interpolate import Interpolate

Finite = Callable[[], bool]
"""Waits until everything is written, and says whether all inputs were finite. May be asked again."""

_SHARE_ELEMENTS = 1 << 11
"""Threads divide a vector at multiples of this: no two write one cache line."""


@dataclass(frozen=True, slots=True)
class Work:
    """One stretch of float elements.

    Attributes:
        instruct: Host tensor of shape [n].
        thinking: Likewise.
        lambdas: Ascending.
        out: Host tensor of shape [len(lambdas), n], to be written.
    """

    instruct: Tensor
    thinking: Tensor
    lambdas: Sequence[Fraction]
    out: Tensor


class Arithmetic(Protocol):
    """Computes blocks."""

    def start(self, slot: int, work: Sequence[Work], *, look: bool) -> Finite:
        """Begin, or do, a block's work.

        Args:
            slot: Which of the buffers it lies in; the work of one slot is done in order.
            work: What to compute.
            look: Look for NaN and Inf; without, the answer is always True.
        """
        ...

    def close(self) -> None:
        """Wait for what was begun and give everything back."""
        ...


class OnCores:
    """Threads that share every vector; `start` returns when the work is done."""

    def __init__(self, interpolate: Interpolate, *, workers: int) -> None:
        """Start no thread yet; no result depends on `workers`."""
        self._interpolate = interpolate
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers)

    def start(self, slot: int, work: Sequence[Work], *, look: bool) -> Finite:  # noqa: ARG002
        """See `Arithmetic`."""
        parts = [(each, part) for each in work for part in self._parts(len(each.instruct))]

        def compute(job: tuple[Work, slice]) -> bool:
            each, part = job
            flag = torch.zeros(1, dtype=torch.int32) if look else None
            self._interpolate(each.instruct[part], each.thinking[part], each.lambdas, each.out[:, part], flag)
            return flag is None or not flag.item()

        finite = all(list(self._pool.map(compute, parts)))
        return lambda: finite

    def close(self) -> None:
        """See `Arithmetic`."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _parts(self, elements: int) -> Iterator[slice]:
        shares = -(-elements // (self._workers * _SHARE_ELEMENTS))
        share = max(shares, 1) * _SHARE_ELEMENTS
        return (slice(start, start + share) for start in range(0, elements, share))


class OnAccelerator:
    """Copies to the device, the kernel, and copies back, put on one stream for each slot.

    Streams of different slots overlap: while one block is computed, the next comes in and the last goes out.
    On CUDA the host buffers are page-locked, without which a copy would wait.
    """

    def __init__(
        self, interpolate: Interpolate, device: torch.device, buffers: Sequence[memoryview], *, slots: int
    ) -> None:
        """Take hold of the device.

        Args:
            interpolate: A form of the arithmetic that runs there.
            device: CUDA, mps, or the CPU, where everything happens at once.
            buffers: The memory that all work will lie in; must outlive this.
            slots: Number of streams.

        Raises:
            DeviceUnfit: CUDA may not lock the buffers' pages.
        """
        self._interpolate = interpolate
        self._device = device
        self._cuda = device.type == "cuda"
        self._streams = (
            [torch.cuda.Stream(device) for _ in range(slots)]  # type: ignore[no-untyped-call]  # in torch
            if self._cuda
            else []
        )
        self._flags = torch.zeros(slots, dtype=torch.int32, pin_memory=self._cuda)
        self._locked = [_lock_pages(buffer) for buffer in buffers] if self._cuda else []

    def start(self, slot: int, work: Sequence[Work], *, look: bool) -> Finite:
        """See `Arithmetic`."""
        with self._stream(slot):
            flag = torch.zeros(1, dtype=torch.int32, device=self._device) if look else None
            for each in work:
                left, right = (
                    side.to(self._device, non_blocking=self._cuda) for side in (each.instruct, each.thinking)
                )
                made = torch.empty(each.out.shape, dtype=each.out.dtype, device=self._device)
                self._interpolate(left, right, each.lambdas, made, flag)
                for row, target in zip(made, each.out, strict=True):  # rows, since they lie apart on the host
                    target.copy_(row, non_blocking=self._cuda)
            if flag is not None:
                self._flags[slot : slot + 1].copy_(flag, non_blocking=self._cuda)

        def answer() -> bool:
            if self._cuda:
                self._streams[slot].synchronize()
            elif self._device.type == "mps":
                torch.mps.synchronize()
            return not look or not int(self._flags[slot])

        return answer

    def close(self) -> None:
        """See `Arithmetic`."""
        for stream in self._streams:
            stream.synchronize()
        for address in self._locked:
            torch.cuda.cudart().cudaHostUnregister(address)  # type: ignore[no-untyped-call]  # in torch
        self._locked.clear()

    def _stream(self, slot: int) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._streams[slot]) if self._cuda else nullcontext()


def _lock_pages(buffer: memoryview) -> int:
    """Let the device read and write host memory by itself."""
    address = addressof(c_char.from_buffer(buffer))
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]  # in torch
    if runtime.cudaHostRegister(address, len(buffer), 0) != runtime.cudaError.success:
        raise DeviceUnfit(
            f"{len(buffer)} bytes of memory cannot be locked for the GPU",
            hint="raise the limit of locked memory (ulimit -l), take a smaller --block-size, or --device cpu",
        )
    return address
