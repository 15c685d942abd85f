"""Verify every byte of a grid against its grid.json."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dami_merge.errors import GridUnreadable
from dami_merge.files import digest_file
from dami_merge.grid.admission import STATE_FOLDER
from dami_merge.grid.manifest import GRID_FILE, File, read_grid


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a verification; paths are relative to the grid, with forward slashes.

    Attributes:
        missing: Files that grid.json lists but that do not exist.
        changed: Files whose size or digest differs, and whatever else is in their place: links, folders.
        extra: Files, links and empty folders that grid.json does not list.
        files: Number of files that grid.json lists and that were found.
        read_bytes: Number of bytes read.
    """

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    extra: tuple[str, ...]
    files: int
    read_bytes: int

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, changed or extra."""
        return not (self.missing or self.changed or self.extra)


def verify(folder: str | Path, *, on_bytes: Callable[[int, int], None] = lambda _, __: None) -> Verification:
    """Read every file of a grid and compare it with grid.json.

    A symbolic link counts as changed or extra wherever it leads: what it shows may change without the grid.

    Args:
        folder: Folder of the grid.
        on_bytes: Called with the number of bytes read so far and the total of the grid.

    Raises:
        GridUnreadable: grid.json is unreadable or malformed, or missing from a folder without an unfinished
            grid; or a file or folder may not be read.
    """
    folder = Path(folder)
    try:
        return _verified(folder, on_bytes)
    except OSError as error:
        raise GridUnreadable(
            f"{error.filename or folder}: {error.strerror}",
            hint="run it as a user who may read every file of the grid",
        ) from error


def _verified(folder: Path, on_bytes: Callable[[int, int], None]) -> Verification:
    if not os.path.lexists(folder / GRID_FILE) and (folder / STATE_FOLDER).is_dir():
        return Verification((GRID_FILE,), (), (), 0, 0)
    grid = read_grid(folder)
    total = sum(file.size for member in grid.checkpoints for file in member.files)
    listed = {f"{member.path}/{file.name}": file for member in grid.checkpoints for file in member.files}
    found = dict(_entries(folder))
    missing: list[str] = []
    changed: list[str] = []
    read_bytes = 0
    for name, file in listed.items():
        if name not in found:
            behind = _link_above(name, found)
            (changed if behind or (folder / name).is_dir() else missing).append(name)
        elif not stat.S_ISREG(found[name].st_mode) or found[name].st_size != file.size:
            changed.append(name)
        else:
            if not _same(folder / name, file, partial(_report, on_bytes, read_bytes, total)):
                changed.append(name)
            read_bytes += file.size
    extra = tuple(sorted(found.keys() - listed.keys() - {GRID_FILE}))
    return Verification(tuple(missing), tuple(changed), extra, len(listed) - len(missing), read_bytes)


def _entries(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Yield whatever lies in a grid but the state of its run: files, links, devices, empty folders.

    Follows no link. Paths are relative to the grid.
    """
    folders = [""]
    while folders:
        below = folders.pop()
        with os.scandir(root / below) as scanned:
            entries = list(scanned)
        if below and not entries:
            yield below, (root / below).lstat()
        for entry in entries:
            name = f"{below}/{entry.name}" if below else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield name, entry.stat(follow_symlinks=False)
            elif name != STATE_FOLDER:
                folders.append(name)


def _link_above(name: str, found: dict[str, os.stat_result]) -> bool:
    """Return whether a link or another file stands in place of a folder on the way to a listed file."""
    return any(parent.as_posix() in found for parent in Path(name).parents)


def _report(on_bytes: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    on_bytes(before + done, total)


def _same(path: Path, file: File, on_bytes: Callable[[int], None]) -> bool:
    digest, done = "", 0
    for count, text in digest_file(path):
        done += count
        on_bytes(done)
        digest = text
    return digest == file.digest
