"""May a run use this output folder: whose is it, what is it for, has the disk room? Writes nothing."""

import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from dami_merge.errors import DiskFull, OutputRefused
from dami_merge.files import free_bytes, size_text
from dami_merge.grid.identity import changed, identity_of
from dami_merge.grid.manifest import GRID_FILE
from dami_merge.grid.plan import GridPlan

STATE_FOLDER = ".dami-merge"
OUR_FOLDERS = re.compile(r"lambda-\d+(\.\d+|of\d+)(\.partial)?")


def require_space(plan: GridPlan) -> None:
    """Refuse to start what cannot be finished.

    Raises:
        DiskFull: With both numbers.
    """
    needed, free = space_needed(plan), free_bytes(plan.output)
    if needed > free:
        raise DiskFull(
            f"{plan.output} needs {size_text(needed)} more, its disk has {size_text(free)} free",
            hint="make space, choose fewer λ with --lambdas, or another disk with -o",
        )


def space_needed(plan: GridPlan) -> int:
    """Bytes that the disk must have free; what an earlier run left in the folder is kept or replaced."""
    return max(plan.write_bytes - plan.link_bytes - _bytes_in(plan.output), 0)


def refuse_folder(plan: GridPlan, *, fresh: bool) -> None:
    """Say, without taking the lock or writing anything, whether a run could have this folder.

    Raises:
        OutputRefused: It holds files that are not ours, or work for another recipe.
    """
    refuse_foreign(plan.output)
    path = plan.output / STATE_FOLDER / "identity.json"
    if path.is_file() and has_work(plan.output) and not fresh:
        refuse_other(plan.output, msgspec.json.decode(path.read_bytes()), identity_of(plan))


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that holds anything which a run of ours did not make.

    Raises:
        OutputRefused: It is a file, or a folder with other people's files.
    """
    if not root.exists():
        return
    if not root.is_dir():
        raise OutputRefused(f"{root} is a file", hint="give a folder with -o")
    names = sorted(path.name for path in root.iterdir())
    foreign = [name for name in names if not _is_ours(root / name)]
    if foreign or (names and STATE_FOLDER not in names):
        what = foreign[0] if foreign else names[0]
        raise OutputRefused(
            f"{root} is not empty and not a grid in the making: it holds {what}",
            hint="give an empty or new folder with -o",
        )


def refuse_other(root: Path, before: object, now: Mapping[str, object]) -> None:
    """Refuse a folder whose recorded identity differs.

    Raises:
        OutputRefused: With the first differences.
    """
    changes = changed(before, now)
    if changes:
        shown = "; ".join(changes[:3]) + (f"; {len(changes) - 3} more" if len(changes) > 3 else "")
        raise OutputRefused(
            f"{root} holds a grid of another recipe or source: {shown}",
            hint="give another folder with -o, or --fresh to start over in this one",
        )


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return path.name == STATE_FOLDER or OUR_FOLDERS.fullmatch(path.name) is not None
    return path.name in {GRID_FILE, f".{GRID_FILE}.tmp"}


def has_work(root: Path) -> bool:
    """Whether an earlier run finished anything; if not, another recipe may have the folder."""
    return (root / GRID_FILE).is_file() or any((root / STATE_FOLDER / "receipts").glob("*.json"))


def _bytes_in(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
