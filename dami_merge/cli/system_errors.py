"""What the operating system refused, as errors with a way out."""

import errno
import os

from dami_merge.errors import DamiMergeError, DiskFull

_PERMISSION = "use a file or folder that you may read and write, or change its permissions"
_FULL = "free some space, or choose another disk for the output, and run the same command again"
_MANY_FILES = "raise the limit, for instance with `ulimit -n 4096`, and run the same command again"
_THREADS = "raise the limits with `ulimit -u 4096` and `ulimit -v unlimited`, or set OMP_NUM_THREADS=1"
_DEVICE = "the disk or network drive reports a fault: check it, and copy the files elsewhere"

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
    errno.EFBIG: "raise the limit with `ulimit -f unlimited`, or use a file system that takes larger files",
    errno.EMFILE: _MANY_FILES,
    errno.ENFILE: _MANY_FILES,
    errno.EIO: _DEVICE,
    errno.ESTALE: _DEVICE,
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


def memory_error() -> DamiMergeError:
    """Build the error for a process that got no more memory."""
    return DamiMergeError(
        "there is not enough memory",
        hint="use a smaller input or --batch-size, or a machine with more memory",
    )


def loop_error() -> DamiMergeError:
    """Build the error for symbolic links that point at each other."""
    return system_error(OSError(errno.ELOOP, os.strerror(errno.ELOOP)))


def thread_error() -> DamiMergeError:
    """Build the error for a process that may start no more threads."""
    return DamiMergeError("the system starts no more threads", hint=_THREADS)


def import_error(error: ImportError) -> DamiMergeError:
    """Build the error for a package of somebody else that is broken or does not fit this machine."""
    return DamiMergeError(
        f"a package cannot be imported: {_one_line(str(error))}",
        hint="install the package again, in a new virtual environment; check `ulimit -v`",
    )


def depth_error() -> DamiMergeError:
    """Build the error for data nested deeper than Python's stack."""
    return DamiMergeError(
        "an input is nested too deeply",
        hint="look for thousands of brackets in a JSON, YAML or template file",
    )


def _is_path(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike)


def _one_line(text: str) -> str:
    return " ".join(text.split("\n"))
