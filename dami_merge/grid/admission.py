"""Decide whether a run may use an output folder: owner, recipe and free space. Writes nothing."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from dami_merge.errors import DiskFull, OutputRefused
from dami_merge.files import free_bytes, size_text
from dami_merge.grid.identity import IdentityChange, changed, identity_of
from dami_merge.grid.manifest import GRID_FILE, LambdaText
from dami_merge.grid.plan import GridPlan

STATE_FOLDER = ".dami-merge"
IDENTITY_FILE = f"{STATE_FOLDER}/identity.json"
_WAYS_OUT = "choose another folder with -o, or start over in this one with --fresh"
OUR_FOLDERS = re.compile(r"lambda-\d+(\.\d+|of\d+)(\.partial)?")


def require_space(plan: GridPlan) -> None:
    """Refuse a run that the disk cannot hold.

    Raises:
        DiskFull: The disk has too little free space; states the needed and the free bytes.
    """
    needed, free = space_needed(plan), free_bytes(plan.output)
    if needed > free:
        raise DiskFull(
            f"{plan.output} needs {size_text(needed)} more, but its disk has only {size_text(free)} free",
            hint="free some space, choose fewer λ with --lambdas, or choose another disk with -o",
        )


def space_needed(plan: GridPlan) -> int:
    """Return the bytes that must be free; files of an earlier run do not count, they are kept or replaced."""
    return max(plan.write_bytes - plan.link_bytes - _bytes_in(plan.output), 0)


def refuse_folder(plan: GridPlan, *, fresh: bool) -> None:
    """Refuse an output folder that a run could not use; takes no lock, reads no weights and writes nothing.

    Raises:
        OutputRefused: The folder holds files that are not ours, or work for another recipe or source, or
            cannot be written.
    """
    refuse_foreign(plan.output)
    before, now = None if fresh else earlier_identity(plan.output), identity_of(plan)
    if before is not None:
        refuse_changes(plan.output, changed(before, now))
    finished = isinstance(before, dict) and before.get("lambdas") == now["lambdas"]
    there = next(place for place in (plan.output, *plan.output.absolute().parents) if place.exists())
    if not finished and not os.access(there, os.W_OK | os.X_OK):
        raise OutputRefused(f"{there} cannot be written", hint="choose another folder with -o")


def earlier_identity(root: Path) -> object:
    """Return the identity of the work in a folder, as plain JSON; None if no shard is finished in it.

    Raises:
        OutputRefused: The identity is damaged.
    """
    if not ((root / IDENTITY_FILE).is_file() and has_work(root)):
        return None
    try:
        identity = msgspec.json.decode((root / IDENTITY_FILE).read_bytes())
        msgspec.convert(identity, _WithLambdas)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise OutputRefused(f"{root / IDENTITY_FILE} is damaged: {error}", hint=_WAYS_OUT) from error
    return identity


class _WithLambdas(msgspec.Struct):
    """The part of an identity that is read, not only compared."""

    lambdas: list[LambdaText]


def refuse_foreign(root: Path) -> None:
    """Refuse a folder that holds anything not created by dami-merge.

    Raises:
        OutputRefused: The path is a file, or the folder holds files that are not ours.
    """
    there = next(place for place in (root, *root.absolute().parents) if place.exists())
    if not there.is_dir():
        raise OutputRefused(f"{there} is a file, not a folder", hint="choose a folder with -o")
    if there != root:
        return
    names = sorted(path.name for path in root.iterdir())
    foreign = [name for name in names if not _is_ours(root / name)]
    if foreign or (names and STATE_FOLDER not in names):
        what = foreign[0] if foreign else names[0]
        raise OutputRefused(
            f"{root} is neither empty nor the output folder of an earlier run: it holds {what}",
            hint="choose an empty or new folder with -o",
        )


def refuse_changes(root: Path, changes: Sequence[IdentityChange]) -> None:
    """Refuse to continue the work in a folder for another recipe or source.

    Args:
        root: The folder.
        changes: What differs; file times and names of sources are not refused here, see `grid.contents`.

    Raises:
        OutputRefused: Something else differs; states the first three differences and what each would change.
    """
    refused = [change for change in changes if change.needs_contents is None]
    if not refused:
        return
    shown = "; ".join(map(str, refused[:3])) + (f"; {len(refused) - 3} more" if len(refused) > 3 else "")
    kept = [change.keep for change in refused]
    keep = f"keep this grid with {' '.join(kept)}, " if all(kept) else ""
    raise OutputRefused(
        f"{root} holds a grid made from another recipe or source: {shown}", hint=f"{keep}{_WAYS_OUT}"
    )


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return path.name == STATE_FOLDER or OUR_FOLDERS.fullmatch(path.name) is not None
    return path.name in {GRID_FILE, f".{GRID_FILE}.tmp"}


def has_work(root: Path) -> bool:
    """Return whether an earlier run finished at least a shard; if not, another recipe may use the folder."""
    return (root / GRID_FILE).is_file() or any((root / STATE_FOLDER / "receipts").glob("*.json"))


def _bytes_in(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
