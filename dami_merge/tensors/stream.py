"""Positioned reads of a checkpoint's files into reused buffers, from a disk or by ranges from the Hub.

No mmap: an input that is truncated under a running job must be an error, not a SIGBUS.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import TracebackType

from dami_merge.checkpoint.folder import Checkpoint, RemotePart
from dami_merge.errors import InputRefused, Problem


@dataclass(frozen=True, slots=True)
class Read:
    """One contiguous range of a file and where its bytes go.

    Attributes:
        file: Name of the file in its folder.
        offset: First byte in the file.
        position: First byte in the buffer.
        size_bytes: Bytes to read.
    """

    file: str
    offset: int
    position: int
    size_bytes: int


class Reader:
    """Open files of one folder; reads may come from several threads."""

    def __init__(
        self, root: Path, file_sizes: Mapping[str, int], remote_part: RemotePart | None = None
    ) -> None:
        """Remember the folder; nothing is opened yet.

        Args:
            root: The checkpoint's folder.
            file_sizes: Size of each file when its header was read; a file that changed is refused.
            remote_part: Reads files that are not in the folder; None if all must be there.
        """
        self._root = root
        self._sizes = file_sizes
        self._remote_part = remote_part
        self._stopped = Event()
        self._lock = Lock()
        self._handles: dict[str, int] = {}

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "Reader":
        """The reader of a checkpoint's weights, wherever they lie; a cached file is read from the cache."""
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
            InputRefused: The file changed since its header was read.
            HubError: A remote file did, or cannot be read.
        """
        view = buffer[read.position : read.position + read.size_bytes]
        if self._remote_part is not None and not (self._root / read.file).is_file():
            self._remote_part(read.file, read.offset, view, self._stopped)
            return view
        handle = self._handle(read.file)
        done = 0
        while done < read.size_bytes:
            count = os.preadv(handle, [view[done:]], read.offset + done)
            if count == 0:
                raise _changed(self._root / read.file)
            done += count
        return view

    def stop(self) -> None:
        """Have the remote reads of other threads give up; what they raise is of no interest."""
        self._stopped.set()

    def _handle(self, file: str) -> int:
        with self._lock:
            handle = self._handles.get(file)
            if handle is None:
                try:
                    handle = os.open(self._root / file, os.O_RDONLY)
                except FileNotFoundError as error:
                    raise _changed(self._root / file) from error
                self._handles[file] = handle
                if os.fstat(handle).st_size != self._sizes[file]:
                    raise _changed(self._root / file)
            return handle


def _changed(path: Path) -> InputRefused:
    return InputRefused(
        [
            Problem(
                "source-changed",
                f"{path} changed while it was read",
                "restore it and give the same command again",
            )
        ]
    )
