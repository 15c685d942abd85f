"""What the operating system refused, as errors with a way out."""

import errno
import os
from collections.abc import Callable

from dami_merge.errors import DamiMergeError, DiskFull
from dami_merge.files import WAYS_OUT

_PERMISSION = "use a file or folder that you may read and write, or change its permissions"
_FULL = "free some space, or choose another disk for the output, and run the same command again"
_THREADS = "raise the limits with `ulimit -u 4096` and `ulimit -v unlimited`, or set OMP_NUM_THREADS=1"

_HINTS = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EROFS: "the disk is mounted read-only: choose another folder for the output",
    errno.ENOENT: "check the path",
    errno.EEXIST: "choose another name for the output",
    errno.EISDIR: "give a file, not a folder",
    errno.ENOTDIR: "a part of the path is a file: give a folder",
    errno.ENOTEMPTY: "choose another name for the output",
    errno.ENAMETOOLONG: "use a shorter name or path",
    errno.ELOOP: "symbolic links point at each other: give the path that they should lead to",
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    **WAYS_OUT,
    errno.ESTALE: WAYS_OUT[errno.EIO],
    errno.ENXIO: "give a regular file",
    errno.EINVAL: "give a regular file on an ordinary disk",
    errno.ENOMEM: "free some memory, or use a machine with more",
    errno.EAGAIN: _THREADS,
}

_OTHER = "check the file or folder, and run the same command again"


def system_error(error: OSError) -> DamiMergeError:
    """Turn an error of the operating system into one with a hint.

    Args:
        error: The error; one without a number comes from a library, which has said what it means.
    """
    if error.errno is None:
        return DamiMergeError(_one_line(str(error) or type(error).__name__), hint=_OTHER)
    said = error.strerror or os.strerror(error.errno)
    names = [_one_line(os.fsdecode(name)) for name in (error.filename, error.filename2) if _is_path(name)]
    message = f"{' and '.join(names)}: {said}" if names else f"the system refuses an operation: {said}"
    kind = DiskFull if error.errno in {errno.ENOSPC, errno.EDQUOT} else DamiMergeError
    return kind(message, hint=_HINTS.get(error.errno, _OTHER))


def refusal_of(error: Exception) -> DamiMergeError | None:
    """Turn what the input or the environment caused into an error with a hint; None for what may be a bug."""
    if isinstance(error, OSError):
        return system_error(error)
    if isinstance(error, ImportError):
        ours = (error.name or "").startswith("dami_merge")
        return (
            None
            if ours
            else DamiMergeError(
                f"a package cannot be imported: {_one_line(str(error))}",
                hint="install the package again, in a new virtual environment; check `ulimit -v`",
            )
        )
    for kind, said, refusal in _KNOWN:
        if isinstance(error, kind) and said in str(error):
            return refusal()
    return None


def _no_memory() -> DamiMergeError:
    return DamiMergeError(
        "there is not enough memory",
        hint="use a smaller input or --batch-size, or a machine with more memory",
    )


def _no_threads() -> DamiMergeError:
    return DamiMergeError("the system starts no more threads", hint=_THREADS)


def _loop() -> DamiMergeError:
    return system_error(OSError(errno.ELOOP, os.strerror(errno.ELOOP)))


def _surrogate() -> DamiMergeError:
    return DamiMergeError(
        "an input holds a lone surrogate, which is no character",
        hint=r"look for escapes from \ud800 to \udfff in JSON and YAML files",
    )


def _deep() -> DamiMergeError:
    return DamiMergeError(
        "an input is nested too deeply",
        hint="look for thousands of brackets in a JSON, YAML or template file",
    )


_KNOWN: tuple[tuple[type[Exception], str, Callable[[], DamiMergeError]], ...] = (
    (MemoryError, "", _no_memory),
    (RecursionError, "", _deep),
    (UnicodeEncodeError, "surrogates not allowed", _surrogate),
    (RuntimeError, "can't allocate memory", _no_memory),
    (RuntimeError, "can't start new thread", _no_threads),
    (RuntimeError, "Symlink loop", _loop),
)
"""Class, words, what to say instead: torch, threading and pathlib before Python 3.13 have no own classes."""


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike)


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))
