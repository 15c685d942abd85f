"""One output shard at every λ, streamed: read, compute, write and digest overlap over bounded buffers.

Peak memory is `SLOTS` blocks of both inputs and of every λ's output, whatever the size of shard and model.
The library neither prints nor logs; the caller passes a callback that is told the bytes as they are done.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from dami_merge.checkpoint.header import ITEM_BYTES
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import Digest
from dami_merge.grid.blocks import Block, Run, blocks
from dami_merge.grid.output import Receipt, Written
from dami_merge.grid.plan import SLOTS, GridPlan, ShardJob
from dami_merge.lambdas import folder_name
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.interpolate import interpolate
from dami_merge.tensors.stream import Read, Reader
from dami_merge.tensors.writer import ShardWriter

Advance = Callable[[int], None]
"""Told the output bytes of each block, all λ together, when it has been handed to the writers."""

_MAX_WRITERS = 4


@dataclass(slots=True)
class _Slot:
    """Reused buffers of one block, and what still uses them."""

    instruct: memoryview
    thinking: memoryview
    out: memoryview
    writes: list[Future[None]] = field(default_factory=list)

    def wait(self) -> None:
        """Block until nothing is written from this slot any more; a writer's error is raised here."""
        for write in self.writes:
            write.result()
        self.writes.clear()


class Materializer:
    """Makes shards of one plan; holds the buffers and threads between them. A context manager.

    Attributes:
        direct: Whether everything written so far went past the page cache.
    """

    def __init__(self, plan: GridPlan, device: torch.device, *, workers: int) -> None:
        """Allocate the buffers.

        Args:
            plan: The grid.
            device: Where the arithmetic runs.
            workers: Threads of arithmetic on a CPU; no result depends on it.
        """
        self._plan = plan
        self._device = device
        self._workers = workers if device.type == "cpu" else 1
        self._slots = [_slot(plan) for _ in range(SLOTS)]
        self._stack = ExitStack()
        self.direct = True

    def __enter__(self) -> "Materializer":
        plan, stack = self._plan, self._stack
        stack.enter_context(_one_torch_thread())
        self._readers = tuple(
            stack.enter_context(
                Reader(side.root, {name: header.size_bytes for name, header in side.files.items()})
            )
            for side in (plan.pair.instruct, plan.pair.thinking)
        )
        self._compute = _pool(stack, self._workers)
        self._read = _pool(stack, 1)
        self._write = [_pool(stack, 1) for _ in range(min(_MAX_WRITERS, len(plan.lambdas)))]
        self._finish = _pool(stack, len(self._write))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def make(self, shard: ShardJob, folders: Sequence[Path], advance: Advance) -> Receipt:
        """Write one shard of every λ, durable and digested.

        Args:
            shard: Which.
            folders: One existing folder per λ.
            advance: Told of progress.

        Raises:
            InputRefused: NaN or Inf, integer tensors that differ, or a source that changed.
            DiskFull: The disk filled up; what other shards finished stays.
        """
        with ExitStack() as stack:
            writers = []
            for folder in folders:
                (folder / shard.name).parent.mkdir(parents=True, exist_ok=True)
                writers.append(ShardWriter(folder / shard.name, expected_bytes=shard.size_bytes))
                stack.callback(writers[-1].close)
            digests = (Digest(), Digest())
            try:
                self._stream(shard, writers, digests, advance)
            finally:
                for slot in self._slots:
                    for write in slot.writes:
                        write.cancel()
                    _settle(slot)
            self.direct &= all(writer.direct for writer in writers)
            finished = list(self._finish.map(ShardWriter.finish, writers))
        names = [folder_name(lam) for lam in self._plan.lambdas]
        files = {name: Written(*facts) for name, facts in zip(names, finished, strict=True)}
        return Receipt(shard.name, files, digests[0].text(), digests[1].text())

    def _stream(
        self,
        shard: ShardJob,
        writers: Sequence[ShardWriter],
        digests: tuple[Digest, Digest],
        advance: Advance,
    ) -> None:
        for writer in writers:
            writer.write(shard.header)
        free = deque(self._slots)
        reading: deque[tuple[_Slot, Block, Future[None]]] = deque()
        source = blocks(shard, self._plan.block_bytes)
        block = next(source, None)
        while block is not None or reading:
            while block is not None and len(reading) < SLOTS - 1:
                slot = free.popleft()
                slot.wait()
                reading.append((slot, block, self._read.submit(self._fill, slot, block, digests)))
                block = next(source, None)
            slot, current, read = reading.popleft()
            read.result()
            self._compute_block(shard, slot, current)
            for number, writer in enumerate(writers):
                lane = self._write[number % len(self._write)]
                slot.writes.append(lane.submit(writer.write, self._result(slot, current, number)))
            free.append(slot)
            advance(current.out_bytes * len(writers))
        for slot in self._slots:
            slot.wait()

    def _fill(self, slot: _Slot, block: Block, digests: tuple[Digest, Digest]) -> None:
        sides: tuple[tuple[list[Read], memoryview], ...] = (
            (block.instruct, slot.instruct),
            (block.thinking, slot.thinking),
        )
        for reader, (reads, buffer), digest in zip(self._readers, sides, digests, strict=True):
            for read in reads:
                digest.update(reader.read(read, buffer))

    def _compute_block(self, shard: ShardJob, slot: _Slot, block: Block) -> None:
        for run in block.runs:
            if run.kind == "equal":
                self._copy_equal(shard, slot, block, run)
            else:
                self._interpolate(shard, slot, block, run)

    def _copy_equal(self, shard: ShardJob, slot: _Slot, block: Block, run: Run) -> None:
        size = run.elements * ITEM_BYTES[run.dtype]
        left = slot.instruct[run.instruct_at : run.instruct_at + size]
        if left != slot.thinking[run.thinking_at : run.thinking_at + size]:
            raise InputRefused([_unequal(shard, slot, block, run)])
        for number in range(len(self._plan.lambdas)):
            start = number * self._plan.block_bytes + run.out_at
            slot.out[start : start + size] = left

    def _interpolate(self, shard: ShardJob, slot: _Slot, block: Block, run: Run) -> None:
        left = _tensor(slot.instruct, run.instruct_at, run.instruct_dtype, run.elements)
        right = _tensor(slot.thinking, run.thinking_at, run.thinking_dtype, run.elements)
        lambdas, out = self._targets(slot, block, run)
        share = -(-run.elements // self._workers)
        parts = [slice(start, start + share) for start in range(0, run.elements, share)]

        def compute(part: slice) -> bool:
            return self._part(left[part], right[part], lambdas, out[:, part])

        if not all(list(self._compute.map(compute, parts))) and not self._plan.recipe.allow_nonfinite:
            raise InputRefused([_nonfinite(shard, block, run, left, right)])

    def _part(self, left: Tensor, right: Tensor, lambdas: Sequence[Fraction], out: Tensor) -> bool:
        if self._device.type == "cpu":
            return interpolate(left, right, lambdas, out)
        moved = torch.empty(out.shape, dtype=out.dtype, device=self._device)
        finite = interpolate(left.to(self._device), right.to(self._device), lambdas, moved)
        out.copy_(moved)
        return finite

    def _targets(self, slot: _Slot, block: Block, run: Run) -> tuple[Sequence[Fraction], Tensor]:
        """The λ that must be computed, and a tensor over their output rows; see `_result`."""
        lambdas = self._plan.lambdas
        first = int(lambdas[0] == 0 and block.instruct_is_output)
        last = len(lambdas) - int(lambdas[-1] == 1 and block.thinking_is_output)
        item = ITEM_BYTES[run.dtype]
        rows, stride = last - first, self._plan.block_bytes // item
        if not rows:
            return (), torch.empty(0, run.elements, dtype=FLOAT_DTYPES[run.dtype])
        start = first * self._plan.block_bytes + run.out_at
        flat = _tensor(slot.out, start, run.dtype, (rows - 1) * stride + run.elements)
        return lambdas[first:last], flat.as_strided((rows, run.elements), (stride, 1))

    def _result(self, slot: _Slot, block: Block, number: int) -> memoryview:
        """Where one λ's bytes of a block lie: an endpoint's where they were read, if nothing changes."""
        lam = self._plan.lambdas[number]
        if lam == 0 and block.instruct_is_output:
            return slot.instruct[: block.out_bytes]
        if lam == 1 and block.thinking_is_output:
            return slot.thinking[: block.out_bytes]
        start = number * self._plan.block_bytes
        return slot.out[start : start + block.out_bytes]


def _slot(plan: GridPlan) -> _Slot:
    return _Slot(
        _buffer(plan.block_bytes),
        _buffer(plan.block_bytes),
        _buffer(plan.block_bytes * len(plan.lambdas)),
    )


def _buffer(size_bytes: int) -> memoryview:
    """Page-aligned, zeroed memory that is given back to the system when the last view is gone."""
    memory = mmap.mmap(-1, size_bytes)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)  # fewer page faults; a wish, not a need
    return memoryview(memory)


def _tensor(buffer: memoryview, position: int, dtype: str, elements: int) -> Tensor:
    return torch.frombuffer(buffer, dtype=FLOAT_DTYPES[dtype], count=elements, offset=position)


def _pool(stack: ExitStack, threads: int) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads)
    stack.callback(pool.shutdown, wait=True, cancel_futures=True)
    return pool


def _settle(slot: _Slot) -> None:
    """Let running writes end before their files are closed; their errors were, or will be, raised."""
    for write in slot.writes:
        if not write.cancelled():
            write.exception()
    slot.writes.clear()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Parallelism is ours, by threads over blocks; torch's own would only contend with it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _name_at(shard: ShardJob, position: int) -> str:
    """The tensor that holds a byte of the output file."""
    return next(job.name for job in reversed(shard.tensors) if job.start <= position)


def _unequal(shard: ShardJob, slot: _Slot, block: Block, run: Run) -> Problem:
    item = ITEM_BYTES[run.dtype]
    for element in range(run.elements):
        left = slot.instruct[run.instruct_at + element * item :][:item]
        if left != slot.thinking[run.thinking_at + element * item :][:item]:
            name = _name_at(shard, block.start + run.out_at + element * item)
            return Problem(
                "integer-differs",
                f"the {run.dtype} tensor {name!r} is not equal in both models",
                "integers are not weights: interpolate checkpoints that share them",
            )
    raise AssertionError("called for equal bytes")


def _nonfinite(shard: ShardJob, block: Block, run: Run, left: Tensor, right: Tensor) -> Problem:
    side, values = ("instruct", left) if not bool(torch.isfinite(left).all()) else ("thinking", right)
    element = int((~torch.isfinite(values)).nonzero()[0])
    name = _name_at(shard, block.start + run.out_at + element * ITEM_BYTES[run.dtype])
    return Problem(
        "nonfinite",
        f"{name!r} holds {float(values[element])} in {side}",
        "the checkpoint is damaged; --allow-nonfinite interpolates it all the same",
    )
