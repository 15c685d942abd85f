"""Positioned reads of a checkpoint's files into reused buffers, from a disk or by range requests to the Hub.

No mmap: an input that is truncated during a run must raise an error, not SIGBUS.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import TracebackType

from dami_merge.checkpoint.folder import Checkpoint, RemotePart
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import reading_is_clear


@dataclass(frozen=True, slots=True)
class Read:
    """One contiguous range of a file, and where its bytes go.

    Attributes:
        file: Name of the file in its folder.
        offset: Offset of the first byte in the file.
        position: Position of the first byte in the buffer.
        size_bytes: Number of bytes to read.
    """

    file: str
    offset: int
    position: int
    size_bytes: int


MAX_OPEN = 8
"""Files that stay open between reads: a model may have more shards than a process may open files."""


class Reader:
    """The files of one folder, of which few are open at once; several threads may read."""

    def __init__(
        self, root: Path, file_sizes: Mapping[str, int], remote_part: RemotePart | None = None
    ) -> None:
        """Remember the folder; no file is opened yet.

        Args:
            root: Folder of the checkpoint.
            file_sizes: Size of each file when its header was read; a file of another size is refused.
            remote_part: Reads parts of files that are not in the folder; None if all files must be there.
        """
        self._root = root
        self._sizes = file_sizes
        self._remote_part = remote_part
        self._stopped = Event()
        self._lock = Lock()
        self._handles: dict[str, int] = {}  # the one that was used last comes last
        self._readers: Counter[str] = Counter()

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Reader":
        """Create a reader of a checkpoint's weights, local or on the Hub; cached files are read locally."""
        sizes = {name: header.size_bytes for name, header in checkpoint.files.items()}
        return cls(Path(checkpoint.root), sizes, checkpoint.remote_part)

    def __enter__(self) -> "Reader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def read(self, read: Read, buffer: memoryview) -> memoryview:
        """Fill `buffer[position:position + size]` from the file and return that part.

        Raises:
            InputRefused: The file changed since its header was read, or cannot be read.
            HubError: A remote file changed, or cannot be read.
        """
        view = buffer[read.position : read.position + read.size_bytes]
        if self._remote_part is not None and not (self._root / read.file).is_file():
            self._remote_part(read.file, read.offset, view, self._stopped)
            return view
        with reading_is_clear(), self._opened(read.file) as handle:
            done = 0
            while done < read.size_bytes:
                count = os.preadv(handle, [view[done:]], read.offset + done)
                if count == 0:
                    raise _changed(self._root / read.file)
                done += count
        return view

    def stop(self) -> None:
        """Make the remote reads of other threads give up; their errors can be ignored."""
        self._stopped.set()

    @contextmanager
    def _opened(self, file: str) -> Iterator[int]:
        """Hold a file open; afterwards, close files that no thread reads, those unused for longest first."""
        with self._lock:
            handle = self._handles.pop(file, -1)
            self._handles[file] = handle if handle >= 0 else self._open(file)
            self._readers[file] += 1
        try:
            yield self._handles[file]
        finally:
            with self._lock:
                self._readers[file] -= 1
                idle = [name for name in self._handles if not self._readers[name]]
                for name in idle[: max(0, len(self._handles) - MAX_OPEN)]:
                    os.close(self._handles.pop(name))

    def _open(self, file: str) -> int:
        try:
            handle = os.open(self._root / file, os.O_RDONLY)
        except FileNotFoundError as error:
            raise _changed(self._root / file) from error
        if os.fstat(handle).st_size != self._sizes[file]:
            os.close(handle)
            raise _changed(self._root / file)
        return handle


def _changed(path: Path) -> InputRefused:
    return InputRefused(
        [
            Problem(
                "source-changed",
                f"{path} changed while it was read",
                "restore it and run the same command again",
            )
        ]
    )
