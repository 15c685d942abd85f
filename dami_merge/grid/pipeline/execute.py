"""Distribute shards over devices: one after another on a single device, shared among several."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from dami_merge.grid.output import Receipt
from dami_merge.grid.pipeline.materialize import Materializer
from dami_merge.grid.pipeline.slots import Tally
from dami_merge.grid.plan import GridPlan, ShardJob
from dami_merge.tensors.device import prove
from dami_merge.tensors.kernels import Kernel, becoming_fastest
from dami_merge.tensors.threads import cpu_workers, one_torch_thread


@dataclass(frozen=True, slots=True)
class Hooks:
    """Callbacks of a run for its shards.

    Attributes:
        claimed: Takes a shard's name and returns a context manager that holds the lock of the shard.
        advance: Called with a shard and the output bytes of each block, summed over all λ, by one thread at
            a time.
        keep: Called with the receipt of each shard once its files are durable, by one thread at a time, in
            any order; also for shards that are finished after another shard has failed.
    """

    claimed: Callable[[str], AbstractContextManager[None]]
    advance: Callable[[ShardJob, int], None]
    keep: Callable[[Receipt], None]


class Shards:
    """Makes shards on the devices of a run.

    Attributes:
        devices: Devices that the arithmetic runs on.
    """

    def __init__(self, devices: Sequence[torch.device], *, output_bytes: int) -> None:
        """Choose the kernel, and prove that it gives the same bits as the CPU.

        Args:
            devices: One device, or several of one kind.
            output_bytes: Total bytes to be written.

        Raises:
            DeviceUnfit: A device rounds differently from the CPU.
        """
        self.devices = tuple(devices)
        self._kernel = becoming_fastest(devices[0], output_bytes=output_bytes)
        for device in devices:
            prove(device, self.kernel.interpolate)

    @property
    def kernel(self) -> Kernel:
        """The kernel in use; a compiled one replaces torch as soon as it is loaded."""
        return self._kernel()

    def make(
        self, plan: GridPlan, shards: Sequence[ShardJob], folders: Sequence[Path], hooks: Hooks
    ) -> Tally:
        """Make shards; return when all files are durable and all receipts are kept.

        Args:
            plan: Plan of the grid.
            shards: The shards to make.
            folders: One existing folder per member, in the order of the plan.
            hooks: See `Hooks`.

        Raises:
            InputRefused: Weights hold NaN or Inf, integer tensors differ, or a source changed.
            DiskFull: The disk is full.
        """
        left = _Shared(shards)
        if len(self.devices) == 1:
            return self._work(plan, self.devices[0], left, folders, hooks)
        alone = _one_at_a_time(hooks)

        def work(device: torch.device) -> Tally:
            try:
                return self._work(plan, device, left, folders, alone)
            except BaseException:
                left.stop()
                raise

        with one_torch_thread(), ThreadPoolExecutor(len(self.devices)) as pool:
            done = [pool.submit(work, device) for device in self.devices]
            return sum((each.result() for each in done), Tally())

    def _work(
        self, plan: GridPlan, device: torch.device, left: "_Shared", folders: Sequence[Path], hooks: Hooks
    ) -> Tally:
        """Take shards until none is left; while one is made durable, stream the next."""
        with (
            ExitStack() as claims,
            Materializer(plan, device, workers=cpu_workers(), kernel=self._kernel) as materializer,
        ):
            last: tuple[Future[Receipt], ExitStack] | None = None
            for shard in left:
                claim = claims.enter_context(ExitStack())
                claim.enter_context(hooks.claimed(shard.name))
                begun = materializer.start(shard, folders, partial(hooks.advance, shard), hooks.keep)
                _conclude(last)
                last = begun, claim
            _conclude(last)
            return materializer.tally


def _conclude(last: tuple[Future[Receipt], ExitStack] | None) -> None:
    """Wait until a shard is kept, then release its lock."""
    if last is not None:
        durable, claim = last
        durable.result()
        claim.close()


def _one_at_a_time(hooks: Hooks) -> Hooks:
    lock = threading.Lock()

    def advance(shard: ShardJob, count: int) -> None:
        with lock:
            hooks.advance(shard, count)

    def keep(receipt: Receipt) -> None:
        with lock:
            hooks.keep(receipt)

    return Hooks(hooks.claimed, advance, keep)


class _Shared:
    """A queue of shards, shared by several threads."""

    def __init__(self, shards: Sequence[ShardJob]) -> None:
        self._left = deque(shards)

    def __iter__(self) -> Iterator[ShardJob]:
        while self._left:
            try:
                yield self._left.popleft()
            except IndexError:  # another thread took the last one
                return

    def stop(self) -> None:
        """Hand out no more shards; those already handed out are finished."""
        self._left.clear()
