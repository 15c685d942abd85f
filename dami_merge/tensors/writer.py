"""Writing one shard: bytes in their order, digested on the way, durable at the end."""

import os
from pathlib import Path

from dami_merge.files import Digest, disk_full_is_clear


class ShardWriter:
    """A file that is written front to back; use from one thread at a time.

    The name it is written under is final, so the folder that holds it must not be: see `grid.output`.
    """

    def __init__(self, path: Path) -> None:
        """Create the file, or empty the remains of a killed run."""
        self._path = path
        self._digest = Digest()
        self._position = 0
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes.

        Raises:
            DiskFull: The disk has no room.
        """
        view = memoryview(data)
        with disk_full_is_clear(self._path.parent):
            done = 0
            while done < len(view):
                done += os.pwrite(self._handle, view[done:], self._position + done)
        self._position += len(view)
        self._digest.update(view)

    def finish(self) -> tuple[int, str, int]:
        """Make the file durable and close it.

        Returns:
            `(size in bytes, digest, modification time in ns)`.
        """
        with disk_full_is_clear(self._path.parent):
            os.fsync(self._handle)
        facts = os.fstat(self._handle)
        self.close()
        return facts.st_size, self._digest.text(), facts.st_mtime_ns

    def close(self) -> None:
        """Give the file up; what it holds counts for nothing unless `finish` ran."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
