"""Write one shard: sequentially, digested while written, durable at the end.

Writes bypass the page cache (O_DIRECT) if the file system supports it: buffered writes copy every byte and
evict the data of other programs. Direct writes need addresses, offsets and lengths in multiples of a page;
page-aligned blocks are written without a copy, all others are gathered in a buffer first.
"""

import ctypes
import errno
import fcntl
import mmap
import os
from pathlib import Path
from typing import Protocol

from dami_merge.errors import DiskFull, InputRefused, Problem
from dami_merge.files import Digest, Written, disk_full, disk_full_is_clear, free_bytes

_FICLONE = 0x40049409
"""Linux ioctl that shares all blocks of a file; other systems refuse it, like a disk without support."""

_CANNOT_SHARE = frozenset({
    errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.EPERM, errno.EMLINK, errno.ENOSYS,
    errno.EACCES, errno.ENOENT,
})  # fmt: skip

PAGE_BYTES = 4096
GATHER_BYTES = 64 << 10


class Writer(Protocol):
    """A writer of one file: `ShardWriter`, or `SameFile` if the bytes are already on the disk."""

    direct: bool

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See `ShardWriter`."""
        ...

    def finish(self) -> Written:
        """See `ShardWriter`."""
        ...

    def close(self) -> None:
        """See `ShardWriter`."""
        ...


class ShardWriter:
    """Write a file from front to back; use from one thread at a time.

    The file gets its final name at once, so its folder must still have a temporary one: see `grid.output`.

    Attributes:
        direct: Whether writes bypass the page cache.
    """

    def __init__(self, path: Path, *, expected_bytes: int = 0, direct: bool = True) -> None:
        """Create the file, or truncate the remains of a killed run.

        Args:
            path: The file; its folder must exist.
            expected_bytes: Bytes to reserve on the disk; 0 reserves nothing. Only direct writes reserve.
            direct: Bypass the page cache if the file system supports it.

        Raises:
            DiskFull: The disk cannot hold `expected_bytes`.
        """
        self._path = path
        self._digest = Digest()
        self._written = 0  # bytes in the file
        self._gathered = 0  # bytes pending in the buffer
        self._handle, self.direct = _open(path, direct=direct)
        self._in_pages = self.direct
        self._gather = memoryview(mmap.mmap(-1, GATHER_BYTES if self._in_pages else 1))
        if self._in_pages and expected_bytes:
            self._reserve(expected_bytes)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes; the caller may reuse `data` when this returns.

        Raises:
            DiskFull: The disk is full.
        """
        view = memoryview(data)
        self._digest.update(view)
        with disk_full_is_clear(self._path.parent):
            if not self._in_pages:
                self._put(view)
                return
            if self._gathered % PAGE_BYTES == 0 and _on_page(view):
                self._flush(self._gathered)
                whole = len(view) - len(view) % PAGE_BYTES
                self._put(view[:whole])
                view = view[whole:]
            self._collect(view)

    def finish(self) -> Written:
        """Make the file durable and close it.

        Raises:
            DiskFull: The disk is full.
        """
        with disk_full_is_clear(self._path.parent):
            if self._in_pages:
                size = self._written + self._gathered
                padded = -(-self._gathered // PAGE_BYTES) * PAGE_BYTES
                self._gather[self._gathered : padded] = bytes(padded - self._gathered)
                self._flush(padded)
                os.ftruncate(self._handle, size)
            os.fsync(self._handle)
        facts = os.fstat(self._handle)
        self.close()
        return Written(facts.st_size, self._digest.text(), facts.st_mtime_ns)

    def close(self) -> None:
        """Close the file; unless `finish` ran, its content is incomplete."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _reserve(self, size_bytes: int) -> None:
        """Reserve space; if there is too little, raise without using up the rest for other programs."""
        needed = -(-size_bytes // PAGE_BYTES) * PAGE_BYTES
        try:
            if needed > free_bytes(self._path.parent):
                raise disk_full(self._path.parent)
            with disk_full_is_clear(self._path.parent):
                os.posix_fallocate(self._handle, 0, needed)
        except DiskFull:
            self._give_up()
            raise
        except OSError as error:
            if error.errno not in {errno.EINVAL, errno.EOPNOTSUPP}:
                self._give_up()
                raise

    def _give_up(self) -> None:
        os.ftruncate(self._handle, 0)
        self.close()

    def _collect(self, view: memoryview) -> None:
        """Copy bytes into the buffer, and write the buffer to the file whenever it is full."""
        while len(view):
            count = min(len(view), len(self._gather) - self._gathered)
            self._gather[self._gathered : self._gathered + count] = view[:count]
            self._gathered += count
            view = view[count:]
            if self._gathered == len(self._gather):
                self._flush(self._gathered)

    def _flush(self, size_bytes: int) -> None:
        self._put(self._gather[:size_bytes])
        self._gathered = 0

    def _put(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            try:
                done += os.pwrite(self._handle, view[done:], self._written + done)
            except OSError as error:
                if error.errno != errno.EINVAL or not _clear_direct(self._handle):
                    raise
                self.direct = False
        self._written += len(view)


class SameFile:
    """A file that already equals its source, byte for byte; bytes written to it are only digested.

    Attributes:
        direct: Always True: no writes go through the page cache.
    """

    def __init__(self, path: Path) -> None:
        """Take the complete file; see `same_file`."""
        self._path = path
        self._digest = Digest()
        self._size = 0
        self.direct = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Digest the next bytes, which the file already contains."""
        self._digest.update(data)
        self._size += len(data)

    def finish(self) -> Written:
        """Make the file durable; return the same as `ShardWriter.finish`.

        Raises:
            InputRefused: The source changed size in the meantime.
        """
        with self._path.open("rb") as file:
            os.fsync(file.fileno())
            facts = os.fstat(file.fileno())
        if facts.st_size != self._size:
            hint = "restore it and run the same command again"
            raise InputRefused([Problem("source-changed", f"{self._path} changed while it was read", hint)])
        return Written(facts.st_size, self._digest.text(), facts.st_mtime_ns)

    def close(self) -> None:
        """Do nothing: no file is open."""


def same_file(source: Path, path: Path, *, link: bool) -> SameFile | None:
    """Create a copy of a file without writing its bytes.

    Args:
        source: The file; a symbolic link is followed.
        path: The file to create; the remains of an earlier run are replaced.
        link: Use a hard link, which is the same file under two names, so that a change to one changes both.
            Otherwise use a reflink (btrfs, XFS, bcachefs), which is an independent file.

    Returns:
        The new file; None if the file system does not support it.
    """
    path.unlink(missing_ok=True)
    try:
        if link:
            path.hardlink_to(source.resolve())
        else:
            _reflink(source, path)
    except OSError as error:
        path.unlink(missing_ok=True)
        if error.errno in _CANNOT_SHARE:
            return None
        raise
    return SameFile(path)


def _reflink(source: Path, path: Path) -> None:
    with source.open("rb") as old, path.open("xb") as new:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())


def _open(path: Path, *, direct: bool) -> tuple[int, bool]:
    """Open an empty file for writing; return the handle and whether it bypasses the page cache.

    A hard link is removed first, because truncating it would truncate the file that it shares.
    """
    if path.is_file() and path.stat().st_nlink > 1:
        path.unlink()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    bypass = getattr(os, "O_DIRECT", 0) if direct else 0
    if bypass:
        try:
            return os.open(path, flags | bypass, 0o666), True
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
    return os.open(path, flags, 0o666), False


def _clear_direct(handle: int) -> bool:
    """Switch to writing through the page cache; return False if already switched.

    Some file systems accept the flag but refuse the write, or need multiples of more than a page.
    """
    flags = fcntl.fcntl(handle, fcntl.F_GETFL)
    bypass = getattr(os, "O_DIRECT", 0)
    fcntl.fcntl(handle, fcntl.F_SETFL, flags & ~bypass)
    return bool(flags & bypass)


def _on_page(view: memoryview) -> bool:
    """Return whether a buffer starts at a page boundary, as direct writes need."""
    if view.readonly or not view.contiguous or not len(view):
        return False
    return ctypes.addressof(ctypes.c_char.from_buffer(view)) % PAGE_BYTES == 0
