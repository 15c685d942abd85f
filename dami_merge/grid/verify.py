"""Verify every byte of a grid against its grid.json."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dami_merge.files import digest_file
from dami_merge.grid.admission import STATE_FOLDER
from dami_merge.grid.manifest import GRID_FILE, File, read_grid


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of a verification; paths are relative to the grid, with forward slashes.

    Attributes:
        missing: Files that grid.json lists but that do not exist.
        changed: Files whose size or digest differs.
        extra: Files that grid.json does not list.
        files: Number of files that grid.json lists.
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

    Args:
        folder: Folder of the grid.
        on_bytes: Called with the number of bytes read so far and the total of the grid.

    Raises:
        GridUnreadable: grid.json is unreadable or malformed, or missing from a folder without an unfinished
            grid.
    """
    folder = Path(folder)
    if not (folder / GRID_FILE).is_file() and (folder / STATE_FOLDER).is_dir():
        return Verification((GRID_FILE,), (), (), 0, 0)
    grid = read_grid(folder)
    total = sum(file.size for member in grid.checkpoints for file in member.files)
    missing, changed, read_bytes = [], [], 0
    named = {GRID_FILE}
    for member in grid.checkpoints:
        for file in member.files:
            name = f"{member.path}/{file.name}"
            named.add(name)
            path = folder / name
            if not path.is_file():
                missing.append(name)
            elif path.stat().st_size != file.size:
                changed.append(name)
            else:
                if not _same(path, file, partial(_report, on_bytes, read_bytes, total)):
                    changed.append(name)
                read_bytes += file.size
    return Verification(tuple(missing), tuple(changed), _extra(folder, named), len(named) - 1, read_bytes)


def _report(on_bytes: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    on_bytes(before + done, total)


def _same(path: Path, file: File, on_bytes: Callable[[int], None]) -> bool:
    digest, done = "", 0
    for count, text in digest_file(path):
        done += count
        on_bytes(done)
        digest = text
    return digest == file.digest


def _extra(folder: Path, named: set[str]) -> tuple[str, ...]:
    present = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    return tuple(
        sorted(
            path.as_posix()
            for path in present
            if path.parts[0] != STATE_FOLDER and path.as_posix() not in named
        )
    )
