"""Shards to devices: one after the other on one, shared out among several."""

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
    """What a run does around its shards.

    Attributes:
        claimed: From a shard's name to a context that holds its lock.
        advance: Called with a shard and the output bytes of each block, all λ together; by one thread at a
            time.
        keep: Called with the receipt of each shard once its files are durable, by one thread at a time, in
            any order; also for shards that were finished while another failed.
    """

    claimed: Callable[[str], AbstractContextManager[None]]
    advance: Callable[[ShardJob, int], None]
    keep: Callable[[Receipt], None]


class Shards:
    """Makes shards on the devices of a run.

    Attributes:
        devices: Where the arithmetic runs.
    """

    def __init__(self, devices: Sequence[torch.device], *, output_bytes: int) -> None:
        """Choose the kernel, and prove its bits.

        Args:
            devices: One, or several of one kind.
            output_bytes: Bytes to be written in all.

        Raises:
            DeviceUnfit: A device gives other bits than the CPU.
        """
        self.devices = tuple(devices)
        self._kernel = becoming_fastest(devices[0], output_bytes=output_bytes)
        for device in devices:
            prove(device, self.kernel.interpolate)

    @property
    def kernel(self) -> Kernel:
        """The kernel that is in use by now."""
        return self._kernel()

    def make(
        self, plan: GridPlan, shards: Sequence[ShardJob], folders: Sequence[Path], hooks: Hooks
    ) -> Tally:
        """Make shards; returns when all are durable and kept.

        Args:
            plan: The grid.
            shards: The shards to make.
            folders: One existing folder per member.
            hooks: See `Hooks`.

        Raises:
            InputRefused: NaN or Inf, integer tensors that differ, or a source that changed.
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
        """Take shards until none is left; while one is made durable, the next is streamed."""
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
    """Shards that several threads take from."""

    def __init__(self, shards: Sequence[ShardJob]) -> None:
        self._left = deque(shards)

    def __iter__(self) -> Iterator[ShardJob]:
        while self._left:
            try:
                yield self._left.popleft()
            except IndexError:  # another thread took the last one
                return

    def stop(self) -> None:
        """Nothing more is handed out; what was is finished."""
        self._left.clear()
