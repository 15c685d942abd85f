"""Stream one output shard at every λ: reads, arithmetic, writes and digests overlap, with bounded buffers.

Peak memory is `SLOTS` blocks of both inputs and of every λ's output, whatever the size of shard and model.
The library neither prints nor logs; it reports progress in bytes to a callback.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from dami_merge.dtypes import ITEM_BYTES
from dami_merge.errors import InputRefused
from dami_merge.files import Digest
from dami_merge.grid.output import Receipt
from dami_merge.grid.pipeline.arithmetic import Arithmetic, OnAccelerator, OnCores, Work
from dami_merge.grid.pipeline.blocks import Block, Segment, cut_blocks
from dami_merge.grid.pipeline.refusals import require_finite, unequal
from dami_merge.grid.pipeline.slots import Slot, Tally, Waits, new_slot, nothing
from dami_merge.grid.plan import SLOTS, GridPlan, ShardJob
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.kernels import TORCH, Kernel
from dami_merge.tensors.sources import source_of
from dami_merge.tensors.threads import one_torch_thread
from dami_merge.tensors.writer import PAGE_BYTES, ShardWriter, Writer, same_file

OnBytes = Callable[[int], None]
"""Called with the output bytes of each block, summed over all λ, once the writers have received the block."""

_MAX_WRITERS = 4


class Materializer:
    """Makes shards of one plan and reuses buffers and threads between them. A context manager."""

    def __init__(
        self,
        plan: GridPlan,
        device: torch.device,
        *,
        workers: int,
        kernel: Callable[[], Kernel] = lambda: TORCH,
    ) -> None:
        """Allocate the buffers.

        Args:
            plan: Plan of the grid.
            device: Device that the arithmetic runs on.
            workers: Number of arithmetic threads on a CPU; results do not depend on it.
            kernel: Returns the kernel to use now; on a CPU it is called for every block. Results do not
                depend on it.
        """
        self._plan = plan
        self._device = device
        self._workers = workers
        self._kernel = kernel
        self._slots = [
            new_slot(number, block_bytes=plan.block_bytes, lambdas=len(plan.lambdas))
            for number in range(SLOTS)
        ]
        self._stack = ExitStack()
        self._direct = True
        self._shared = 0
        self._waits = Waits()

    def __enter__(self) -> "Materializer":
        plan, stack = self._plan, self._stack
        stack.enter_context(one_torch_thread())
        self._sources = tuple(
            stack.enter_context(source_of(side)) for side in (plan.pair.instruct, plan.pair.thinking)
        )
        self._arithmetic = self._start_arithmetic()
        stack.callback(self._arithmetic.close)
        lanes = min(_MAX_WRITERS, len(plan.lambdas))
        self._finish = _pool(stack, lanes)
        self._conclude = stack.enter_context(ThreadPoolExecutor(1))
        self._read = _pool(stack, 1)
        self._write = [_pool(stack, 1) for _ in range(lanes)]
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def tally(self) -> Tally:
        """Tally of the shards made so far."""
        return Tally(self._direct, self._shared, self._waits)

    def _start_arithmetic(self) -> Arithmetic:
        if self._device.type == "cpu":
            return OnCores(lambda *work: self._kernel().interpolate(*work), workers=self._workers)
        buffers = [view for slot in self._slots for view in (slot.instruct, slot.thinking, slot.out)]
        return OnAccelerator(self._kernel().interpolate, self._device, buffers, slots=SLOTS)

    def start(
        self, shard: ShardJob, folders: Sequence[Path], advance: OnBytes, keep: Callable[[Receipt], None]
    ) -> Future[Receipt]:
        """Write one shard at every λ; its files become durable in the background, during the next shard.

        Args:
            shard: The shard to write.
            folders: One existing folder per member, in the order of the plan.
            advance: Progress callback; see `OnBytes`.
            keep: Called in another thread with the receipt, once all files are durable.

        Returns:
            The receipt. Closing the materializer waits for it, even after an error.

        Raises:
            InputRefused: Weights hold NaN or Inf, integer tensors differ, or a source changed.
            DiskFull: The disk filled up; other shards that are finished stay.
        """
        with ExitStack() as stack:
            writers: list[Writer] = []
            for member, folder in zip(self._plan.members, folders, strict=True):
                writers.append(self._writer(shard, member.lam, folder / shard.name))
                stack.callback(writers[-1].close)
            digests = (Digest(), Digest())
            try:
                self._stream(shard, writers, digests, advance)
            finally:
                self._settle()
            stack.pop_all()
        return self._conclude.submit(self._concluded, shard, writers, digests, keep)

    def _writer(self, shard: ShardJob, lam: Fraction, path: Path) -> Writer:
        path.parent.mkdir(parents=True, exist_ok=True)
        source = self._plan.source_file(shard, lam)
        if source is not None and self._plan.endpoints != "write":
            copy = same_file(source, path, link=self._plan.endpoints == "link")
            if copy is not None:
                self._shared += 1
                return copy
        return ShardWriter(path, expected_bytes=shard.size_bytes)

    def _concluded(
        self,
        shard: ShardJob,
        writers: Sequence[Writer],
        digests: tuple[Digest, Digest],
        keep: Callable[[Receipt], None],
    ) -> Receipt:
        try:
            finished = list(self._finish.map(lambda writer: writer.finish(), writers))
        finally:
            for writer in writers:
                writer.close()
        self._direct &= all(writer.direct for writer in writers)
        files = {member.name: written for member, written in zip(self._plan.members, finished, strict=True)}
        receipt = Receipt(shard.name, files, digests[0].text(), digests[1].text())
        keep(receipt)
        return receipt

    def _settle(self) -> None:
        """Wait for running work before its files are closed; its errors are raised elsewhere."""
        for slot in self._slots:
            for write in slot.writes:
                write.cancel()
            for write in slot.writes:
                if not write.cancelled():
                    write.exception()
            slot.writes.clear()
            slot.computed = nothing

    def _stream(
        self,
        shard: ShardJob,
        writers: Sequence[Writer],
        digests: tuple[Digest, Digest],
        advance: OnBytes,
    ) -> None:
        pages = len(shard.header) // PAGE_BYTES * PAGE_BYTES
        for writer in writers:
            writer.write(shard.header[:pages])
        advance(pages * len(writers))
        free = deque(self._slots)
        reading: deque[tuple[Slot, Block, Future[None]]] = deque()
        source = cut_blocks(shard, self._plan.block_bytes)
        block = next(source, None)
        while block is not None or reading:
            while block is not None and len(reading) < SLOTS - 1:
                slot = free.popleft()
                slot.wait(self._waits)
                reading.append((slot, block, self._read.submit(self._fill, slot, block, digests)))
                block = next(source, None)
            slot, current, read = reading.popleft()
            with self._waits.counted("reading_s"):
                read.result()
            with self._waits.counted("computing_s"):
                self._compute_block(shard, slot, current)
            for number, writer in enumerate(writers):
                lane = self._write[number % len(self._write)]
                slot.writes.append(
                    lane.submit(_write, slot.computed, writer, self._result(slot, current, number))
                )
            free.append(slot)
            advance(current.out_bytes * len(writers))
        for slot in self._slots:
            slot.wait(self._waits)

    def _fill(self, slot: Slot, block: Block, digests: tuple[Digest, Digest]) -> None:
        sides = (block.instruct, slot.instruct), (block.thinking, slot.thinking)
        for source, (pieces, buffer), digest in zip(self._sources, sides, digests, strict=True):
            buffer[: len(block.lead)] = block.lead
            for filled in source.fill(pieces, buffer):
                digest.update(filled)

    def _compute_block(self, shard: ShardJob, slot: Slot, block: Block) -> None:
        for number in range(len(self._plan.lambdas) if block.lead else 0):
            start = number * self._plan.block_bytes
            slot.out[start : start + len(block.lead)] = block.lead
        work: list[tuple[Segment, Work]] = []
        for segment in block.segments:
            if segment.kind == "equal":
                self._copy_equal(shard, slot, block, segment)
            else:
                work.append((segment, self._work(slot, block, segment)))
        look = not self._plan.recipe.allow_nonfinite
        finite = self._arithmetic.start(slot.number, [each for _, each in work], look=look)
        slot.computed = partial(require_finite, finite, shard, block, work)

    def _copy_equal(self, shard: ShardJob, slot: Slot, block: Block, segment: Segment) -> None:
        size = segment.elements * ITEM_BYTES[segment.dtype]
        left = slot.instruct[segment.instruct_at : segment.instruct_at + size]
        if left != slot.thinking[segment.thinking_at : segment.thinking_at + size]:
            raise InputRefused([unequal(shard, slot, block, segment)])
        for number in range(len(self._plan.lambdas)):
            start = number * self._plan.block_bytes + segment.out_at
            slot.out[start : start + size] = left

    def _work(self, slot: Slot, block: Block, segment: Segment) -> Work:
        left = _tensor(slot.instruct, segment.instruct_at, segment.instruct_dtype, segment.elements)
        right = _tensor(slot.thinking, segment.thinking_at, segment.thinking_dtype, segment.elements)
        return Work(left, right, *self._targets(slot, block, segment))

    def _targets(self, slot: Slot, block: Block, segment: Segment) -> tuple[Sequence[Fraction], Tensor]:
        """Return the λ to compute, and a tensor over their output rows; see `_result`."""
        lambdas = self._plan.lambdas
        first = int(lambdas[0] == 0 and block.instruct_is_output)
        last = len(lambdas) - int(lambdas[-1] == 1 and block.thinking_is_output)
        item = ITEM_BYTES[segment.dtype]
        rows, stride = last - first, self._plan.block_bytes // item
        if not rows:
            return (), torch.empty(0, segment.elements, dtype=FLOAT_DTYPES[segment.dtype])
        start = first * self._plan.block_bytes + segment.out_at
        flat = _tensor(slot.out, start, segment.dtype, (rows - 1) * stride + segment.elements)
        return lambdas[first:last], flat.as_strided((rows, segment.elements), (stride, 1))

    def _result(self, slot: Slot, block: Block, number: int) -> memoryview:
        """Return a block's bytes at one λ; an unchanged endpoint's are in the buffer they were read into."""
        lam = self._plan.lambdas[number]
        if lam == 0 and block.instruct_is_output:
            return slot.instruct[: block.out_bytes]
        if lam == 1 and block.thinking_is_output:
            return slot.thinking[: block.out_bytes]
        start = number * self._plan.block_bytes
        return slot.out[start : start + block.out_bytes]


def _write(computed: Callable[[], None], writer: Writer, data: memoryview) -> None:
    computed()
    writer.write(data)


def _tensor(buffer: memoryview, position: int, dtype: str, elements: int) -> Tensor:
    return torch.frombuffer(buffer, dtype=FLOAT_DTYPES[dtype], count=elements, offset=position)


def _pool(stack: ExitStack, threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads)
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool
