"""Positioned reads of a checkpoint's files into reused buffers.

No mmap: an input that is truncated under a running job must be an error, not a SIGBUS.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

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

    def __init__(self, root: Path, file_sizes: Mapping[str, int]) -> None:
        """Remember the folder; nothing is opened yet.

        Args:
            root: The checkpoint's folder.
            file_sizes: Size of each file when its header was read; a file that changed is refused.
        """
        self._root = root
        self._sizes = file_sizes
        self._handles: dict[str, int] = {}

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
        """
        handle = self._handle(read.file)
        view = buffer[read.position : read.position + read.size_bytes]
        done = 0
        while done < read.size_bytes:
            count = os.preadv(handle, [view[done:]], read.offset + done)
            if count == 0:
                raise _changed(self._root / read.file)
            done += count
        return view

    def _handle(self, file: str) -> int:
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
