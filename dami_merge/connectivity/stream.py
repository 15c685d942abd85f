"""Both sides of a pair read block by block, several blocks at once, and summed in their order."""

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import torch

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import FLOATS, ITEM_BYTES, TensorInfo
from dami_merge.connectivity.naming import natural_key
from dami_merge.grid.device import cpu_workers
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.kernels import fastest_compare
from dami_merge.tensors.similarity import Sums
from dami_merge.tensors.stream import Read, Reader

_BLOCK_ELEMENTS = 1 << 20


def weight_bytes(instruct: Checkpoint, thinking: Checkpoint) -> int:
    """Bytes that `check_lmc` will report to its callback when it is done."""
    return sum(
        info.size_bytes
        for side in (instruct, thinking)
        for _, info in side.tensors().values()
        if info.dtype in FLOATS
    )


@dataclass(frozen=True, slots=True)
class _Task:
    """Some elements of one tensor."""

    name: str
    first: int
    count: int


def stream(instruct: Checkpoint, thinking: Checkpoint, on_bytes: Callable[[int], None]) -> dict[str, Sums]:
    """Sums of every float tensor, in natural order of the names; blocks are added in their order."""
    left, right = instruct.tensors(), thinking.tensors()
    names = sorted((n for n in left if left[n][1].dtype in FLOATS), key=natural_key)
    batches = _batches(task for name in names for task in _tasks(left[name][1]))
    total = {name: Sums() for name in names}
    compare = fastest_compare(input_bytes=weight_bytes(instruct, thinking))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _reader(instruct) as left_reader, _reader(thinking) as right_reader:
            workers = cpu_workers()
            buffers: SimpleQueue[tuple[memoryview, memoryview]] = SimpleQueue()
            for _ in range(workers):
                buffers.put((_buffer(), _buffer()))

            def work(batch: Sequence[_Task]) -> tuple[list[tuple[str, Sums]], int]:
                mine = buffers.get()
                found, size_bytes = [], 0
                try:
                    for task in batch:
                        ours, our_bytes = _load(left_reader, left[task.name], task, mine[0])
                        theirs, their_bytes = _load(right_reader, right[task.name], task, mine[1])
                        found.append((task.name, compare(ours, theirs)))
                        size_bytes += our_bytes + their_bytes
                finally:
                    buffers.put(mine)
                return found, size_bytes

            pool = ThreadPoolExecutor(workers)
            try:
                for found, size_bytes in pool.map(work, batches):
                    for name, sums in found:
                        total[name] += sums
                    on_bytes(size_bytes)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    finally:
        torch.set_num_threads(before)
    return total


def _tasks(info: TensorInfo) -> Iterator[_Task]:
    for first in range(0, info.elements, _BLOCK_ELEMENTS):
        yield _Task(info.name, first, min(_BLOCK_ELEMENTS, info.elements - first))


def _batches(tasks: Iterable[_Task]) -> Iterator[list[_Task]]:
    """Small tensors together: handing one to a thread costs more than reading it."""
    batch: list[_Task] = []
    held = 0
    for task in tasks:
        if batch and held + task.count > _BLOCK_ELEMENTS:
            yield batch
            batch, held = [], 0
        batch.append(task)
        held += task.count
    if batch:
        yield batch


def _reader(side: Checkpoint) -> Reader:
    return Reader(Path(side.root), {name: header.size_bytes for name, header in side.files.items()})


def _buffer() -> memoryview:
    """Reused by all tasks of a thread: fresh memory costs a page fault for every page."""
    return memoryview(mmap.mmap(-1, _BLOCK_ELEMENTS * max(ITEM_BYTES[dtype] for dtype in FLOATS)))


def _load(
    reader: Reader, place: tuple[str, TensorInfo], task: _Task, buffer: memoryview
) -> tuple[torch.Tensor, int]:
    file, info = place
    item = ITEM_BYTES[info.dtype]
    size = task.count * item
    reader.read(Read(file, info.start + task.first * item, 0, size), buffer)
    return torch.frombuffer(buffer, dtype=FLOAT_DTYPES[info.dtype], count=task.count), size
