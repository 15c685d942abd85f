"""What a run does to a disk so that a kill or a full disk leaves nothing that looks finished.

Digests, durable writes, publishing by rename, free space, locks. Knows nothing of checkpoints.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
from blake3 import blake3

from dami_merge.errors import DiskFull, OutputRefused

CHUNK_BYTES = 4 << 20
DIGEST_PREFIX = "blake3:"


class Digest:
    """A running BLAKE3 over bytes in their order; `b3sum` prints the same hex."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes."""
        self._hash.update(data)

    def text(self) -> str:
        """The digest so far, as `blake3:<64 hex digits>`."""
        return DIGEST_PREFIX + self._hash.hexdigest()


def digest_bytes(data: bytes) -> str:
    """The digest of a byte string, as `blake3:<64 hex digits>`."""
    digest = Digest()
    digest.update(data)
    return digest.text()


def digest_file(path: Path) -> Iterator[tuple[int, str]]:
    """Digest a file of any size in bounded memory.

    Yields:
        `(bytes read in this step, digest so far as text or "")`; the last item has the digest.
    """
    digest = Digest()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            yield count, ""
    yield 0, digest.text()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durable(path: Path, data: bytes) -> None:
    """Write a small file whole or not at all: a temporary name, fsync, rename, fsync of the folder.

    Raises:
        DiskFull: There is no room; the temporary file is gone.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with disk_full_is_clear(path.parent), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def publish_folder(partial: Path, final: Path) -> None:
    """Give a finished folder its final name; its files must be durable already."""
    sync_folder(partial)
    partial.rename(final)
    sync_folder(final.parent)


@contextmanager
def disk_full_is_clear(folder: Path) -> Iterator[None]:
    """Turn ENOSPC and EDQUOT into an error that says what to do.

    Raises:
        DiskFull: With the folder and the free space that is left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise disk_full(folder) from error


def disk_full(folder: Path) -> DiskFull:
    """The error of a disk that filled up on the way, with the way out."""
    return DiskFull(
        f"the disk of {folder} is full ({size_text(free_bytes(folder))} free)",
        hint="make space and give the same command again: it resumes, nothing is lost",
    )


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write on the disk of `path`, which need not exist yet."""
    place = path.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


@contextmanager
def locked(path: Path, *, what: Path) -> Iterator[None]:
    """Hold a lock file; a second holder is refused at once. A killed holder's lock is free.

    Args:
        path: The lock file; its folder must be there.
        what: What is worked on, for the message.

    Raises:
        OutputRefused: Somebody holds it.
    """
    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise OutputRefused(
            f"another run is working on {what}", hint="wait for it, or give another output with -o"
        ) from error
    try:
        yield
    finally:
        lock.release()


def size_text(size_bytes: int) -> str:
    """A size as people read it, in powers of ten: `8.05 GB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
