"""Shards to devices: one after the other on one, shared out among several."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from dami_merge.grid.output import Receipt
from dami_merge.grid.pipeline.materialize import Materializer
from dami_merge.grid.pipeline.slots import Waits
from dami_merge.grid.plan import GridPlan, ShardJob
from dami_merge.tensors.device import prove
from dami_merge.tensors.kernels import Kernel, becoming_fastest
from dami_merge.tensors.threads import cpu_workers, one_torch_thread

OnShardBytes = Callable[[ShardJob, int], None]


class Shards:
    """Makes the shards of one plan.

    Attributes:
        devices: Where.
        direct: Whether everything went past the page cache.
        shared: Files that are a source's, by a reflink or a hard link.
        waits: What the steps waited for, of all devices together.
    """

    def __init__(self, devices: Sequence[torch.device], *, output_bytes: int) -> None:
        """Choose the form of the arithmetic, and prove its bits.

        Args:
            devices: One, or several of one kind.
            output_bytes: What will be written in all.

        Raises:
            DeviceUnfit: A device gives other bits than the CPU.
        """
        self.devices = tuple(devices)
        self._kernel = becoming_fastest(devices[0], output_bytes=output_bytes)
        for device in devices:
            prove(device, self.kernel.interpolate)
        self.direct = True
        self.shared = 0
        self.waits = Waits()

    @property
    def kernel(self) -> Kernel:
        """The form of the arithmetic that is in use by now."""
        return self._kernel()

    def make(
        self,
        plan: GridPlan,
        shards: Sequence[ShardJob],
        folders: Sequence[Path],
        advance: OnShardBytes,
        keep: Callable[[Receipt], None],
    ) -> None:
        """Make shards; returns when all are durable and kept.

        Args:
            plan: The grid.
            shards: Which of its shards.
            folders: One existing folder per λ.
            advance: Told of progress, by one thread at a time.
            keep: Given the receipt of each shard once its files are durable, by one thread at a time, in any
                order; also of shards that were finished while another failed.

        Raises:
            InputRefused: NaN or Inf, integer tensors that differ, or a source that changed.
            DiskFull: The disk filled up.
        """
        left = _Shared(shards)
        if len(self.devices) == 1:
            self._count(self._work(plan, self.devices[0], left, folders, advance, keep))
            return
        lock = threading.Lock()

        def advance_alone(shard: ShardJob, count: int) -> None:
            with lock:
                advance(shard, count)

        def keep_alone(receipt: Receipt) -> None:
            with lock:
                keep(receipt)

        def work(device: torch.device) -> Materializer:
            try:
                return self._work(plan, device, left, folders, advance_alone, keep_alone)
            except BaseException:
                left.stop()
                raise

        with one_torch_thread(), ThreadPoolExecutor(len(self.devices)) as pool:
            for done in [pool.submit(work, device) for device in self.devices]:
                self._count(done.result())

    def _count(self, finished: Materializer) -> None:
        self.direct &= finished.direct
        self.shared += finished.shared
        self.waits += finished.waits

    def _work(
        self,
        plan: GridPlan,
        device: torch.device,
        left: "_Shared",
        folders: Sequence[Path],
        advance: OnShardBytes,
        keep: Callable[[Receipt], None],
    ) -> Materializer:
        """Take shards until none is left; while one is made durable the next is streamed."""
        with Materializer(plan, device, workers=cpu_workers(), kernel=self._kernel) as materializer:
            last: Future[Receipt] | None = None
            for shard in left:
                begun = materializer.start(shard, folders, partial(advance, shard), keep)
                if last is not None:
                    last.result()
                last = begun
            if last is not None:
                last.result()
        return materializer


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
