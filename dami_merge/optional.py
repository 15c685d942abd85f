"""Optional packages: what to install for an extra, and keeping libraries off the caller's terminal."""

import importlib
import importlib.util
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dami_merge.errors import DamiMergeError

_PACKAGE = "dami-merge"


def install_hint(extra: str) -> str:
    """The command that installs what an extra needs; true for a clone and for a release alike.

    Args:
        extra: Name of an extra in pyproject.toml.
    """
    import importlib.metadata  # takes longer than all the rest of this module

    try:
        requirements = importlib.metadata.requires(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    parts = (line.partition(";") for line in requirements)
    needs = [name.strip() for name, _, marker in parts if f"extra == '{extra}'" in marker.replace('"', "'")]
    return f"pip install {shlex.join(needs)}" if needs else f"install {_PACKAGE} with the extra {extra!r}"


def needed(
    module: str,
    what: str,
    *,
    extra: str = "",
    package: str = "",
    error: type[DamiMergeError] = DamiMergeError,
) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name for `import`.
        what: What needs it, for the message: `a page`.
        extra: The extra that installs the package; empty if no extra does.
        package: Name of the package, where that of the module differs.
        error: Class of the error.

    Raises:
        DamiMergeError: Or `error`: the package is not installed; the hint is the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise _not_installed(package or module, what, extra, error) from missing


def require_installed(module: str, what: str, *, extra: str) -> None:
    """Refuse early what needs an optional package, without importing it.

    Args:
        module: Its name for `import`.
        what: What needs it, for the message.
        extra: The extra that installs the package.

    Raises:
        DamiMergeError: The package is not installed; the hint is the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise _not_installed(module, what, extra, DamiMergeError)


def _not_installed(name: str, what: str, extra: str, error: type[DamiMergeError]) -> DamiMergeError:
    hint = install_hint(extra) if extra else f"pip install {name}"
    return error(f"{what} needs {name}, which is not installed", hint=hint)


@contextmanager
def without_progress_bars(
    *, shown: bool, off: Callable[[], object], on: Callable[[], object]
) -> Iterator[None]:
    """Turn the progress bars of a library off for a while: a library does not draw on its caller's terminal.

    Args:
        shown: Whether they are on now.
        off: Turns them off.
        on: Turns them on again, if they were on.
    """
    off()
    try:
        yield
    finally:
        if shown:
            on()
