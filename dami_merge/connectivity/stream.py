"""Read both sides of a pair piece by piece, several pieces at once, and compare them.

From a disk there are as many reads in flight as cores; from the Hub there are more, because a thread mostly
waits. Neither the number of reads nor the place of a piece in its batch changes a bit of the sums.
"""

import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue

import torch
from torch import Tensor

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.dtypes import ITEM_BYTES
from dami_merge.tensors.dtypes import FLOAT_DTYPES
from dami_merge.tensors.kernels import fastest_compare
from dami_merge.tensors.similarity import Sums
from dami_merge.tensors.sources import Piece, source_of
from dami_merge.tensors.threads import cpu_workers, one_torch_thread

REMOTE_READS = 16
"""Threads that read from the Hub, one request each: a thread mostly waits."""

_BLOCK_ELEMENTS = 1 << 20
_LOCAL_BATCH, _REMOTE_BATCH = 2 << 20, 8 << 20
"""Bytes of one side: enough to justify a task for a thread, and a request to the Hub."""

_ALIGNMENT = 8
_BUFFER_BYTES = _REMOTE_BATCH + mmap.PAGESIZE
_HEARTBEAT_S = 0.2


def pieces_of(name: str, first: int, elements: int) -> tuple[Piece, ...]:
    """Split consecutive elements of a tensor into pieces; none of them make no piece."""
    return tuple(
        Piece(name, first + start, min(_BLOCK_ELEMENTS, elements - start))
        for start in range(0, elements, _BLOCK_ELEMENTS)
    )


def piece_bytes(instruct: Checkpoint, thinking: Checkpoint, pieces: Iterable[Piece]) -> int:
    """Return the bytes of both sides that `stream` will report to its callback for these pieces."""
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
        instruct: Model at λ = 0; its weights may be on the Hub.
        thinking: Model at λ = 1; its weights may be on the Hub.
        pieces: The pieces to compare, in any order.
        take: Called with every piece and its sums, in the order of the pieces in Instruct's files.
        on_bytes: Called with the bytes of both sides compared since the last call; with 0 while waiting.

    Raises:
        InputRefused: A file changed since its header was read.
        HubError: A remote file changed, or the Hub became unreachable.

    Peak memory: two batches of 8 MiB and four float64 vectors of 2^17 elements per thread.
    """
    sides = _Side(instruct), _Side(thinking)
    in_order = sorted(pieces, key=lambda piece: (*sides[0].source.place(piece), piece.count))
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

    batches = _batches(in_order, sides, remote=remote)
    with one_torch_thread(), sides[0].source, sides[1].source:
        pool = ThreadPoolExecutor(workers)
        try:
            waiting = deque(pool.submit(work, batch) for batch in batches)
            while waiting:
                while not wait([waiting[0]], _HEARTBEAT_S).done:
                    on_bytes(0)
                found, size_bytes = waiting.popleft().result()
                for piece, sums in found:
                    take(piece, sums)
                on_bytes(size_bytes)
        finally:
            for side in sides:
                side.source.stop()
            pool.shutdown(wait=True, cancel_futures=True)


class _Side:
    """The tensors of one checkpoint, and their source."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.source = source_of(checkpoint)
        self._dtypes = {name: info.dtype for name, (_, info) in checkpoint.tensors().items()}

    def size(self, piece: Piece) -> int:
        return piece.count * ITEM_BYTES[self._dtypes[piece.name]]

    def load(self, batch: Sequence[Piece], buffer: memoryview) -> list[Tensor]:
        """Read the pieces into a buffer, one after another."""
        placed, tensors, position = [], [], 0
        for piece in batch:
            dtype = FLOAT_DTYPES[self._dtypes[piece.name]]
            if position % dtype.itemsize:
                position += -position % _ALIGNMENT
            placed.append((piece, position))
            tensors.append(torch.frombuffer(buffer, dtype=dtype, count=piece.count, offset=position))
            position += self.size(piece)
        for _ in self.source.fill(placed, buffer):
            pass
        return tensors


def _batches(pieces: Iterable[Piece], sides: tuple[_Side, _Side], *, remote: bool) -> Iterator[list[Piece]]:
    """Group small pieces into batches; from the Hub, only pieces that one request can fetch together."""
    limit = _REMOTE_BATCH if remote else _LOCAL_BATCH
    batch: list[Piece] = []
    held, follows = 0, ("", 0)
    for piece in pieces:
        size = max(side.size(piece) for side in sides) + _ALIGNMENT
        file, offset = sides[0].source.place(piece)
        if batch and (held + size > limit or (remote and (file, offset) != follows)):
            yield batch
            batch, held = [], 0
        batch.append(piece)
        held += size
        follows = file, offset + sides[0].size(piece)
    if batch:
        yield batch


def _buffer() -> memoryview:
    """Allocate a buffer that the batches reuse: fresh memory costs a page fault for every page."""
    return memoryview(mmap.mmap(-1, _BUFFER_BYTES))
