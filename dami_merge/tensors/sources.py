"""Read elements of a checkpoint's tensors, wherever their bytes come from.

Everything that streams a pair (the grid, check-lmc, the sample of the difference) requests elements of a
tensor and gets them in the tensor's dtype. Supporting another kind of side, such as an adapter merged on the
fly or weights dequantised on the fly, takes another `TensorSource` and a branch in `source_of`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.dtypes import ITEM_BYTES
from dami_merge.tensors.stream import Read, Reader


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive elements of one tensor.

    Attributes:
        name: Name of the tensor.
        first: Index of the first element.
        count: Number of elements.
    """

    name: str
    first: int
    count: int


Placed = tuple[Piece, int]
"""A piece, and the byte position of its first element in a buffer."""


class TensorSource(Protocol):
    """The tensors of one checkpoint; several threads may read at once. A context manager."""

    def fill(self, pieces: Sequence[Placed], buffer: memoryview) -> Iterator[memoryview]:
        """Write pieces into a buffer, in the dtype that the checkpoint's `TensorInfo` states.

        Yields:
            The filled parts of the buffer, in the order of the pieces; one part may hold several pieces.

        Raises:
            InputRefused: A file changed since its header was read.
            HubError: A remote file changed, or cannot be read.
        """
        ...

    def place(self, piece: Piece) -> tuple[str, int]:
        """Return the file and byte offset of a piece; reading in this order is sequential."""
        ...

    def stop(self) -> None:
        """Make the remote reads of other threads give up; their errors can be ignored."""
        ...

    def __enter__(self) -> "TensorSource":
        """Open the source."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        ...


def source_of(checkpoint: Checkpoint) -> TensorSource:
    """Return the source of a checkpoint's tensors; no file is opened yet."""
    return FileSource(checkpoint)


class FileSource:
    """Tensors in safetensors files, on a disk or on the Hub; their elements are byte ranges of the files."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Remember where each tensor lies."""
        self._reader = Reader.of(checkpoint)
        self._tensors = checkpoint.tensors()

    def __enter__(self) -> "FileSource":
        self._reader.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.__exit__(kind, error, trace)

    def fill(self, pieces: Sequence[Placed], buffer: memoryview) -> Iterator[memoryview]:
        """See `TensorSource`; pieces that are adjacent in file and buffer take one read."""
        return (self._reader.read(read, buffer) for read in self.reads(pieces))

    def place(self, piece: Piece) -> tuple[str, int]:
        """See `TensorSource`."""
        file, info = self._tensors[piece.name]
        return file, info.start + piece.first * ITEM_BYTES[info.dtype]

    def stop(self) -> None:
        """See `TensorSource`."""
        self._reader.stop()

    def reads(self, pieces: Iterable[Placed]) -> Iterator[Read]:
        """Yield the byte ranges of pieces; pieces that are adjacent in file and buffer are joined."""
        held: Read | None = None
        for piece, position in pieces:
            file, info = self._tensors[piece.name]
            item = ITEM_BYTES[info.dtype]
            offset, size = info.start + piece.first * item, piece.count * item
            if (
                held is not None
                and (held.file, held.offset + held.size_bytes) == (file, offset)
                and held.position + held.size_bytes == position
            ):
                held = Read(file, held.offset, held.position, held.size_bytes + size)
                continue
            if held is not None:
                yield held
            held = Read(file, offset, position, size)
        if held is not None:
            yield held
