"""Both sides of a pair read piece by piece, several pieces at once, and compared.

From a disk as many reads are in flight as there are cores, from the Hub more: there a thread mostly waits.
Neither changes a bit of the sums, nor does where in a batch a piece lies.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import TensorInfo
from dami_merge.dtypes import ITEM_BYTES
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.kernels import fastest_compare
from dami_merge.tensors.similarity import Sums
from dami_merge.tensors.stream import Read, Reader
from dami_merge.tensors.threads import cpu_workers

REMOTE_READS = 16
"""Threads that read from the Hub, a request each: a thread mostly waits."""

_BLOCK_ELEMENTS = 1 << 20
_LOCAL_BATCH, _REMOTE_BATCH = 2 << 20, 8 << 20
"""Bytes of one side: enough to be worth a hand-over to a thread, and a request."""

_ALIGNMENT = 8
_BUFFER_BYTES = _REMOTE_BATCH + mmap.PAGESIZE
_HEARTBEAT_S = 0.2


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive elements of one tensor.

    Attributes:
        name: Of the tensor.
        first: Its first element.
        count: Elements, 2^20 at most.
    """

    name: str
    first: int
    count: int


def pieces_of(info: TensorInfo) -> tuple[Piece, ...]:
    """A whole tensor in pieces; none where it is empty."""
    return tuple(
        Piece(info.name, first, min(_BLOCK_ELEMENTS, info.elements - first))
        for first in range(0, info.elements, _BLOCK_ELEMENTS)
    )


def piece_bytes(instruct: Checkpoint, thinking: Checkpoint, pieces: Iterable[Piece]) -> int:
    """Bytes of both sides that `stream` will report to its callback for these pieces."""
    items = [
        {name: ITEM_BYTES[info.dtype] for name, (_, info) in side.tensors().items()}
        for side in (instruct, thinking)
    ]
    return sum(piece.count * (items[0][piece.name] + items[1][piece.name]) for piece in pieces)


def stream(
    instruct: Checkpoint,
    thinking: Checkpoint,
    pieces: Iterable[Piece],
    *,
    take: Callable[[Piece, Sums], None],
    on_bytes: Callable[[int], None] = lambda _: None,
) -> None:
    """Compare pieces of float tensors that both sides have in the same shape.

    Args:
        instruct: Its weights may be on the Hub.
        thinking: Likewise.
        pieces: In any order.
        take: Given every piece with its sums, in the order in which they lie in instruct's files.
        on_bytes: Told the bytes of both sides that were compared since; also 0, while there is only waiting.

    Raises:
        InputRefused: A file changed since its header was read.
        HubError: A remote file did, or the Hub cannot be reached any more.

    Peak memory: for each thread two batches of 8 MiB and four float64 vectors of 2^17.
    """
    sides = _Side(instruct), _Side(thinking)
    in_order = sorted(pieces, key=lambda piece: (*sides[0].place(piece), piece.count))
    remote = instruct.remote or thinking.remote
    workers = max(cpu_workers(), REMOTE_READS) if remote else cpu_workers()
    compare = fastest_compare(input_bytes=piece_bytes(instruct, thinking, in_order))
    buffers: SimpleQueue[tuple[memoryview, memoryview]] = SimpleQueue()
    for _ in range(workers):
        buffers.put((_buffer(), _buffer()))

    def work(batch: Sequence[Piece]) -> tuple[list[tuple[Piece, Sums]], int]:
        mine = buffers.get()
        try:
            left, right = (side.load(batch, buffer) for side, buffer in zip(sides, mine, strict=True))
            found = [(piece, compare(a, b)) for piece, a, b in zip(batch, left, right, strict=True)]
            return found, sum(tensor.nbytes for tensor in (*left, *right))
        finally:
            buffers.put(mine)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with sides[0].reader, sides[1].reader:
            pool = ThreadPoolExecutor(workers)
            try:
                waiting = deque(
                    pool.submit(work, batch) for batch in _batches(in_order, sides, remote=remote)
                )
                while waiting:
                    while not wait([waiting[0]], _HEARTBEAT_S).done:
                        on_bytes(0)
                    found, size_bytes = waiting.popleft().result()
                    for piece, sums in found:
                        take(piece, sums)
                    on_bytes(size_bytes)
            finally:
                for side in sides:
                    side.reader.stop()
                pool.shutdown(wait=True, cancel_futures=True)
    finally:
        torch.set_num_threads(before)


class _Side:
    """The tensors of one checkpoint, and a reader of its files."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.reader = Reader.of(checkpoint)
        self._tensors: Mapping[str, tuple[str, TensorInfo]] = checkpoint.tensors()

    def place(self, piece: Piece) -> tuple[str, int]:
        """File and offset of the first byte."""
        file, info = self._tensors[piece.name]
        return file, info.start + piece.first * ITEM_BYTES[info.dtype]

    def size(self, piece: Piece) -> int:
        return piece.count * ITEM_BYTES[self._tensors[piece.name][1].dtype]

    def load(self, batch: Sequence[Piece], buffer: memoryview) -> list[Tensor]:
        """Read the pieces into a buffer; those that follow each other in the file in one read."""
        reads: list[Read] = []
        tensors = []
        for piece in batch:
            file, offset = self.place(piece)
            size = self.size(piece)
            dtype = FLOAT_DTYPES[self._tensors[piece.name][1].dtype]
            last = reads[-1] if reads else Read(file, 0, 0, 0)
            position = last.position + last.size_bytes
            if (file, offset) == (last.file, last.offset + last.size_bytes) and not position % dtype.itemsize:
                reads[-1:] = [Read(file, last.offset, last.position, last.size_bytes + size)]
            else:
                position += -position % _ALIGNMENT
                reads.append(Read(file, offset, position, size))
            tensors.append(torch.frombuffer(buffer, dtype=dtype, count=piece.count, offset=position))
        for read in reads:
            self.reader.read(read, buffer)
        return tensors


def _batches(pieces: Iterable[Piece], sides: tuple[_Side, _Side], *, remote: bool) -> Iterator[list[Piece]]:
    """Small pieces together; from the Hub those alone that one request can fetch."""
    limit = _REMOTE_BATCH if remote else _LOCAL_BATCH
    batch: list[Piece] = []
    held, follows = 0, ("", 0)
    for piece in pieces:
        size = max(side.size(piece) for side in sides) + _ALIGNMENT
        file, offset = sides[0].place(piece)
        if batch and (held + size > limit or (remote and (file, offset) != follows)):
            yield batch
            batch, held = [], 0
        batch.append(piece)
        held += size
        follows = file, offset + sides[0].size(piece)
    if batch:
        yield batch


def _buffer() -> memoryview:
    """Reused by all batches of a thread: fresh memory costs a page fault for every page."""
    return memoryview(mmap.mmap(-1, _BUFFER_BYTES))
