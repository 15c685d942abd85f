"""Open the output folder of a run: whose it is, its lock, and whether its work may be continued.

A run that is refused or ends before it has finished a shard leaves nothing behind that was not there before.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from dami_merge.errors import DamiMergeError, InputRefused, OutputRefused, Problem
from dami_merge.files import digest_bytes, locked, write_durable
from dami_merge.grid.admission import (
    IDENTITY_FILE,
    OUR_FOLDERS,
    STATE_FOLDER,
    earlier_identity,
    has_work,
    refuse_changes,
    refuse_foreign,
)
from dami_merge.grid.contents import require_same_contents
from dami_merge.grid.identity import SIDES, changed, identity_of
from dami_merge.grid.manifest import GRID_FILE, Grid, read_grid
from dami_merge.grid.output import Output
from dami_merge.grid.plan import GridPlan

OnCompared = Callable[[str, int, int], None]
"""Called while sources are compared, with a shard's name, the bytes read so far and the bytes to read."""


@contextmanager
def opened(
    plan: GridPlan, *, fresh: bool = False, on_compared: OnCompared = lambda *_: None
) -> Iterator[Output]:
    """Open the output folder for one run and hold its lock.

    Args:
        plan: Plan of the grid to build.
        fresh: Discard an earlier run's work first.
        on_compared: See `OnCompared`. Sources are compared only if the times or names of their files differ.

    Raises:
        OutputRefused: The folder is in use, holds files that are not ours, or holds another grid.
        InputRefused: A source changed while it was compared.
    """
    root, state = plan.output, plan.output / STATE_FOLDER
    refuse_foreign(root)
    created = [folder for folder in (state, root, *root.absolute().parents) if not folder.exists()]
    try:
        state.mkdir(parents=True, exist_ok=True)
        with locked(state / "lock", what=root), _left_as_found(plan, created):
            yield _prepared(plan, fresh=fresh, on_compared=on_compared)
    except BaseException:
        for folder in created:
            with suppress(OSError):  # it is not empty: it holds work, or somebody else uses it too
                folder.rmdir()
        raise


@contextmanager
def _left_as_found(plan: GridPlan, created: Collection[Path]) -> Iterator[None]:
    """If the run fails, remove what it began and did not finish: checkpoints without a single shard."""
    root, identity = plan.output, plan.output / IDENTITY_FILE
    before = identity.read_bytes() if identity.is_file() else None
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the error that ended the run matters more
            begun = {name for receipt in Output(plan).receipts().values() for name in receipt.files}
            for path in root.glob("*.partial"):
                if OUR_FOLDERS.fullmatch(path.name) and path.name.removesuffix(".partial") not in begun:
                    shutil.rmtree(path)
            if not has_work(root):
                _clear(root)
                if root / STATE_FOLDER in created:
                    shutil.rmtree(root / STATE_FOLDER)
            elif before is not None and not {member.name for member in plan.members} <= begun:
                write_durable(identity, before)
        raise


def _prepared(plan: GridPlan, *, fresh: bool, on_compared: OnCompared) -> Output:
    root, output = plan.output, Output(plan)
    now = identity_of(plan)
    before = None if fresh else earlier_identity(root)
    if before is None:
        _clear(root)
    else:
        _require_continuable(plan, output, before, now, on_compared)
    (root / STATE_FOLDER / "receipts").mkdir(exist_ok=True)
    if before is None or before != _plain(now):
        write_durable(root / IDENTITY_FILE, msgspec.json.format(msgspec.json.encode(now), indent=2) + b"\n")
    return output


def _require_continuable(
    plan: GridPlan, output: Output, before: object, now: dict[str, object], on_compared: OnCompared
) -> None:
    """Refuse an earlier run's work if this run could not continue it; compare sources where times differ."""
    changes = changed(before, now)
    refuse_changes(plan.output, changes)
    sides = [side for side in SIDES if side in {change.needs_contents for change in changes}]
    require_same_contents(plan, output.receipts(), sides, on_bytes=on_compared)


def require_same_sources(plan: GridPlan) -> None:
    """Refuse to publish a grid if a source has changed since the folder was opened.

    Raises:
        InputRefused: A source changed or disappeared; states every change.
    """
    before = msgspec.json.decode((plan.output / IDENTITY_FILE).read_bytes())
    try:
        now = identity_of(plan)
    except FileNotFoundError as error:
        problem = Problem("source-changed", f"{error.filename} disappeared during the run")
        raise InputRefused([problem]) from error
    changes = changed(before, now)
    if changes:
        hint = "restore the file, or start over with --fresh"
        facts = [f"a source changed during the run: {change}" for change in changes]
        raise InputRefused([Problem("source-changed", fact, hint) for fact in facts])


def finished_elsewhere(plan: GridPlan, *, on_compared: OnCompared = lambda *_: None) -> Grid | None:
    """Return the contents of grid.json if the plan's grid is already whole in a read-only folder.

    Takes no lock and writes nothing. None if the folder can be written.

    Raises:
        OutputRefused: The folder cannot be written, and does not hold the whole grid of this plan.
    """
    root = plan.output
    places = [root / STATE_FOLDER / "lock", root / STATE_FOLDER, root]
    if not root.is_dir() or all(os.access(place, os.W_OK) for place in places if place.exists()):
        return None
    refuse_foreign(root)
    before, now = earlier_identity(root), identity_of(plan)
    output = Output(plan)
    if before is not None:
        _require_continuable(plan, output, before, now, on_compared)
    with suppress(DamiMergeError, OSError):
        grid = read_grid(root)
        if _is_whole(plan, output, grid):
            return grid
    raise OutputRefused(
        f"{root} cannot be written, and does not hold the whole grid",
        hint="choose another folder with -o, or make this one writable",
    )


def _is_whole(plan: GridPlan, output: Output, grid: Grid) -> bool:
    """Return whether every member of a plan is published; reads small files, trusts receipts for shards."""
    receipts = {name: output.intact(receipt) for name, receipt in output.receipts().items()}
    shards = {shard.name for shard in plan.shards}
    names = [member.name for member in plan.members]
    small = [(member.path, file) for member in grid.checkpoints for file in member.files]
    return (
        [member.name for member in grid.checkpoints] == names
        and receipts.keys() == shards
        and all(list(receipt.files) == names for receipt in receipts.values())
        and all(
            digest_bytes((plan.output / path / file.name).read_bytes()) == file.digest
            for path, file in small
            if file.name not in shards
        )
    )


def _plain(identity: dict[str, object]) -> object:
    return msgspec.json.decode(msgspec.json.encode(identity))


def _clear(root: Path) -> None:
    """Remove an earlier run's work, grid.json first; keep the lock."""
    (root / GRID_FILE).unlink(missing_ok=True)
    (root / IDENTITY_FILE).unlink(missing_ok=True)
    shutil.rmtree(root / STATE_FOLDER / "receipts", ignore_errors=True)
    for path in root.iterdir():
        if OUR_FOLDERS.fullmatch(path.name):
            shutil.rmtree(path)
