"""The arithmetic of a block: on the CPU's cores, or on an accelerator, where it overlaps with the copies.

Both read and write host tensors; neither knows about files. An accelerator returns at once, and the tensors
passed to it must not change until the returned function has been called.
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
"""Waits until all results are written, and returns whether all inputs were finite. May be called again."""

_SHARE_ELEMENTS = 1 << 11
"""Threads divide a vector at multiples of this, so that no two write to the same cache line."""


@dataclass(frozen=True, slots=True)
class Work:
    """Consecutive float elements, and where their results go.

    Attributes:
        instruct: Host tensor, shape [n].
        thinking: Host tensor, shape [n].
        lambdas: The λ to compute, ascending.
        out: Host tensor, shape [len(lambdas), n], written in place.
    """

    instruct: Tensor
    thinking: Tensor
    lambdas: Sequence[Fraction]
    out: Tensor


class Arithmetic(Protocol):
    """Computes the blocks of a shard."""

    def start(self, slot: int, work: Sequence[Work], *, look: bool) -> Finite:
        """Start the work of a block; it may already be complete when this returns.

        Args:
            slot: Number of the slot whose buffers hold the block; work in one slot runs in order.
            work: What to compute.
            look: Check for NaN and Inf; if False, the answer is always True.
        """
        ...

    def close(self) -> None:
        """Wait for all work that was started, and release all resources."""
        ...


class OnCores:
    """Threads that divide every vector among them; `start` returns when the work is complete."""

    def __init__(self, interpolate: Interpolate, *, workers: int) -> None:
        """Create the pool without starting a thread; results do not depend on `workers`."""
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
    """Copies to the device, the kernel, and copies back, on one stream per slot.

    The streams of different slots overlap: while one block is computed, the next is copied in and the last is
    copied out. On CUDA the host buffers are page-locked, because copies would block otherwise.
    """

    def __init__(
        self, interpolate: Interpolate, device: torch.device, buffers: Sequence[memoryview], *, slots: int
    ) -> None:
        """Create the streams and page-lock the buffers.

        Args:
            interpolate: Implementation of the arithmetic that runs on the device.
            device: CUDA, mps, or the CPU, on which everything is synchronous.
            buffers: Memory that holds the tensors of all work; must outlive this object.
            slots: Number of streams.

        Raises:
            DeviceUnfit: CUDA cannot lock the pages of the buffers.
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
                for row, target in zip(made, each.out, strict=True):  # rows are not adjacent on the host
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
    """Page-lock a buffer, so that the device accesses it directly; return its address."""
    address = addressof(c_char.from_buffer(buffer))
    runtime = torch.cuda.cudart()  # type: ignore[no-untyped-call]  # in torch
    if runtime.cudaHostRegister(address, len(buffer), 0) != runtime.cudaError.success:
        raise DeviceUnfit(
            f"cannot lock {len(buffer)} bytes of memory for the GPU",
            hint="raise the locked-memory limit (ulimit -l), or use a smaller --block-size or --device cpu",
        )
    return address
