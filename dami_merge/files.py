"""File operations that leave nothing that looks finished when the run is killed or the disk fills up.

Digests, durable writes, publishing by rename, free space, locks. Knows nothing about checkpoints.
"""

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec
from blake3 import blake3

from dami_merge.errors import DiskFull, InputRefused, OutputRefused, Problem

CHUNK_BYTES = 4 << 20
DIGEST_PREFIX = "blake3:"
_AGAIN = "free some space and run the same command again"


class Digest:
    """An incremental BLAKE3 digest; `b3sum` prints the same hex digits."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = blake3()

    def update(self, data: bytes | bytearray | memoryview) -> None:
        """Add the next bytes."""
        self._hash.update(data)

    def text(self) -> str:
        """Return the digest so far, as `blake3:<64 hex digits>`."""
        return DIGEST_PREFIX + self._hash.hexdigest()


def digest_bytes(data: bytes) -> str:
    """Return the digest of a byte string, as `blake3:<64 hex digits>`."""
    digest = Digest()
    digest.update(data)
    return digest.text()


def digest_file(path: Path) -> Iterator[tuple[int, str]]:
    """Digest a file of any size in bounded memory.

    Yields:
        `(bytes read in this step, "")` for each chunk, then `(0, digest)`.
    """
    digest = Digest()
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            yield count, ""
    yield 0, digest.text()


class Written(msgspec.Struct, frozen=True):
    """A finished file, as its writer left it.

    Attributes:
        size: Bytes.
        digest: `blake3:<64 hex digits>` of its content.
        mtime_ns: Modification time in ns.
    """

    size: int
    digest: str
    mtime_ns: int


def sync_folder(folder: Path) -> None:
    """Fsync a folder, so that the names in it are durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_durable(path: Path, data: bytes, *, resumes: bool = False) -> None:
    """Write a small file atomically: temporary name, fsync, rename, fsync of the folder.

    Args:
        path: The file.
        data: Its whole content.
        resumes: See `disk_full_is_clear`.

    Raises:
        DiskFull: The disk is full; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with disk_full_is_clear(path.parent, resumes=resumes), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def publish_folder(partial: Path, final: Path) -> None:
    """Rename a finished folder to its final name; its files must already be durable."""
    sync_folder(partial)
    partial.rename(final)
    sync_folder(final.parent)


@contextmanager
def disk_full_is_clear(folder: Path, *, resumes: bool = True) -> Iterator[None]:
    """Turn ENOSPC and EDQUOT into an error with a hint.

    Args:
        folder: A folder on the disk.
        resumes: Whether the same command goes on where it stopped, as the hint then says.

    Raises:
        DiskFull: The disk is full; names the folder and the remaining free space.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise disk_full(folder, resumes=resumes) from error


WAYS_OUT: Mapping[int, str] = {
    errno.EMFILE: "raise the limit on open files (`ulimit -n 4096`), or choose fewer λ at once",
    errno.ENFILE: "close other programs: the system has no more open files",
    errno.EFBIG: "raise the limit on the size of a file (`ulimit -f unlimited`), or choose another disk",
    errno.EIO: "the disk or network drive reports a fault: choose another one",
}
"""What to do about errors that are not about one file, by number."""


def _way_out(error: OSError, otherwise: str) -> str:
    """Return what to do about an error of the operating system, as a hint."""
    return WAYS_OUT.get(error.errno or 0, otherwise)


@contextmanager
def writing_is_clear(folder: Path) -> Iterator[None]:
    """Turn every error of the operating system into one with a hint, for work that writes into a folder.

    Raises:
        DiskFull: The disk is full.
        OutputRefused: Anything else, such as a missing permission; names the file, or else the folder.
    """
    try:
        with disk_full_is_clear(folder):
            yield
    except OSError as error:
        fact = f"{error.filename or folder}: {error.strerror or error}"
        hint = _way_out(error, "choose another place, or make this one accessible")
        raise OutputRefused(fact, hint=hint) from error


@contextmanager
def reading_is_clear() -> Iterator[None]:
    """Turn every error of the operating system into one with a hint, for work that reads a model.

    Raises:
        InputRefused: A file cannot be read; names it.
    """
    try:
        yield
    except OSError as error:
        fact = f"{error.filename or 'a file of the model'} cannot be read: {error.strerror or error}"
        hint = _way_out(error, "make it readable, or give another copy of the model")
        raise InputRefused([Problem("unreadable", fact, hint)]) from error


def disk_full(folder: Path, *, resumes: bool = True) -> DiskFull:
    """Build the error for a disk that filled up during the run; see `disk_full_is_clear`."""
    return DiskFull(
        f"the disk of {folder} is full ({size_text(free_bytes(folder))} free)",
        hint=_AGAIN + (": it resumes, nothing is lost" if resumes else ""),
    )


def is_special(path: Path) -> bool:
    """Whether a path is anything but a regular file, such as a pipe, whose reader might wait for ever.

    A path where nothing is, or that may not be looked at, is not: opening it says why.
    """
    return path.exists() and not path.is_file()


def free_bytes(path: Path) -> int:
    """Return the bytes available to this user on the disk of `path`, which need not exist yet."""
    place = path.absolute()
    while not _exists(place):
        place = place.parent
    return shutil.disk_usage(place).free


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder on the way may not be searched, or the name is too long
        return False


@contextmanager
def locked(path: Path, *, what: Path) -> Iterator[None]:
    """Hold a lock file; a second holder is refused at once. Killing the holder releases the lock.

    Args:
        path: The lock file; its folder must exist.
        what: The file or folder that the lock protects, for the message.

    Raises:
        OutputRefused: Another process holds the lock.
    """
    import filelock  # reading needs no locks, and this takes as long as the rest of the router

    lock = filelock.FileLock(path, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise OutputRefused(
            f"another run is working on {what}",
            hint="wait for it to finish, or choose another output with -o",
        ) from error
    try:
        yield
    finally:
        lock.release()


def size_text(size_bytes: int) -> str:
    """Format a size for people, in powers of ten: `8.05 GB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
