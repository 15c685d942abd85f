"""The output folder of a run: whose it is, what is finished in it, how it becomes whole.

    grid.json                     written last; without it there is no grid
    lambda-0.30/                  a published checkpoint
    lambda-0.30.partial/          one that is being written; it has no config.json, so nothing loads it
    .dami-merge/lock              one run at a time
    .dami-merge/identity.json     what this folder is for; another recipe or source is refused
    .dami-merge/receipts/*.json   one per finished shard: size, digest and time of its file for every λ

A receipt is written after its files are durable. It is believed if the files still have the size and time it
names, or else the digest. Knows nothing of arithmetic; torch-free.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import msgspec

from dami_merge.checkpoint.folder import CONFIG_FILE
from dami_merge.errors import DiskFull, InputRefused, OutputRefused, Problem
from dami_merge.files import (
    digest_bytes,
    digest_file,
    free_bytes,
    locked,
    publish_folder,
    size_text,
    sync_folder,
    write_durable,
)
from dami_merge.grid.identity import changed, identity_of
from dami_merge.grid.manifest import GRID_FILE, File
from dami_merge.grid.plan import GridPlan, ShardJob
from dami_merge.lambdas import folder_name

STATE_FOLDER = ".dami-merge"
_OURS = re.compile(r"lambda-\d+(\.\d+|of\d+)(\.partial)?")


class Written(msgspec.Struct, frozen=True):
    """One written shard of one λ."""

    size: int
    digest: str
    mtime_ns: int


class Receipt(msgspec.Struct, frozen=True):
    """One finished unit of work: a shard at every λ.

    Attributes:
        shard: File name.
        files: By the name of the checkpoint's folder.
        instruct: Digest of the tensor bytes that were read on the Instruct side.
        thinking: Likewise, Thinking.
    """

    shard: str
    files: dict[str, Written]
    instruct: str
    thinking: str


class Output:
    """The folder while its lock is held."""

    def __init__(self, plan: GridPlan) -> None:
        """Use `opened`, which holds the lock."""
        self._plan = plan
        self._root = plan.output
        self._receipts = plan.output / STATE_FOLDER / "receipts"

    @property
    def root(self) -> Path:
        """Folder of the grid."""
        return self._root

    def folder(self, lam: Fraction) -> Path:
        """Where the files of a checkpoint lie now: its published folder, or the partial one."""
        final = self.final(lam)
        return final if final.is_dir() else self.partial(lam)

    def final(self, lam: Fraction) -> Path:
        """Folder of a published checkpoint."""
        return self._root / folder_name(lam)

    def partial(self, lam: Fraction) -> Path:
        """Folder of a checkpoint that is being written."""
        return self._root / f"{folder_name(lam)}.partial"

    def intact_receipts(self) -> dict[str, Receipt]:
        """Receipts of shards that are finished and untouched, by file name."""
        found = {}
        for shard in self._plan.shards:
            receipt = self._receipt(shard)
            if receipt is not None:
                found[shard.name] = receipt
        return found

    def _receipt(self, shard: ShardJob) -> Receipt | None:
        try:
            content = self._receipt_path(shard.name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            receipt = msgspec.json.decode(content, type=Receipt)
        except msgspec.MsgspecError:
            return None  # it is our own file: if it is damaged, the shard is made again
        for lam in self._plan.lambdas:
            written = receipt.files.get(folder_name(lam))
            if written is None or not _untouched(self.folder(lam) / shard.name, written):
                return None
        return receipt

    def keep_receipt(self, receipt: Receipt) -> None:
        """Record a finished shard; its files must be durable."""
        for lam in self._plan.lambdas:
            folder = self.folder(lam)
            for place in {folder, (folder / receipt.shard).parent}:
                sync_folder(place)
        write_durable(self._receipt_path(receipt.shard), msgspec.json.encode(receipt))

    def _receipt_path(self, shard: str) -> Path:
        return self._receipts / f"{shard.replace('/', '%2F')}.json"

    def require_same_sources(self) -> None:
        """Refuse to publish what was made of sources that changed since the folder was opened.

        Raises:
            InputRefused: With what changed.
        """
        before = msgspec.json.decode((self._root / STATE_FOLDER / "identity.json").read_bytes())
        try:
            now = identity_of(self._plan)
        except FileNotFoundError as error:
            problem = Problem("source-changed", f"{error.filename} disappeared since the run began")
            raise InputRefused([problem]) from error
        changes = changed(before, now)
        if changes:
            hint = "restore it, or start over with --fresh"
            raise InputRefused(
                [Problem("source-changed", f"{what} since the run began", hint) for what in changes]
            )

    def unpublish(self) -> None:
        """Take back what looks finished, before shards are made again."""
        (self._root / GRID_FILE).unlink(missing_ok=True)
        sync_folder(self._root)
        for lam in self._plan.lambdas:
            final, partial = self.final(lam), self.partial(lam)
            if final.is_dir():
                if partial.is_dir():
                    shutil.rmtree(partial)
                final.rename(partial)
            partial.mkdir(exist_ok=True)
            (partial / CONFIG_FILE).unlink(missing_ok=True)
        sync_folder(self._root)

    def publish(self, lam: Fraction, small_files: Mapping[str, bytes], shards: list[File]) -> list[File]:
        """Complete a checkpoint's folder and give it its final name; done already, it is checked and kept.

        Args:
            lam: Its λ.
            small_files: Everything but the shards, by POSIX path.
            shards: The shards, which lie in the folder.

        Returns:
            All of its files, sorted by name.
        """
        folder = self.folder(lam)
        for name, content in small_files.items():
            path = folder / name
            if not (path.is_file() and path.read_bytes() == content):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_durable(path, content)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()  # of a run that was killed while it wrote a small file
        if folder == self.partial(lam):
            publish_folder(folder, self.final(lam))
        small = [File(name, len(data), digest_bytes(data)) for name, data in small_files.items()]
        return sorted([*small, *shards], key=lambda file: file.name)


@contextmanager
def opened(plan: GridPlan, *, fresh: bool = False) -> Iterator[Output]:
    """Take the output folder for one run.

    Args:
        plan: What will be built in it.
        fresh: Remove an earlier run's work first.

    Raises:
        OutputRefused: Another run holds it, it holds files that are not ours, or work for another recipe.
    """
    root, state = plan.output, plan.output / STATE_FOLDER
    refuse_foreign(root)
    state.mkdir(parents=True, exist_ok=True)
    with locked(state / "lock", what=root):
        if fresh:
            _clear(root)
        identity = identity_of(plan)
        path = state / "identity.json"
        if path.is_file() and _has_work(root):
            _refuse_other(root, msgspec.json.decode(path.read_bytes()), identity)
        else:
            _clear(root)
            write_durable(path, msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")
        (state / "receipts").mkdir(exist_ok=True)
        yield Output(plan)


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
    if path.is_file() and _has_work(plan.output) and not fresh:
        _refuse_other(plan.output, msgspec.json.decode(path.read_bytes()), identity_of(plan))


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


def _refuse_other(root: Path, before: object, now: Mapping[str, object]) -> None:
    changes = changed(before, now)
    if changes:
        shown = "; ".join(changes[:3]) + (f"; {len(changes) - 3} more" if len(changes) > 3 else "")
        raise OutputRefused(
            f"{root} holds a grid of another recipe or source: {shown}",
            hint="give another folder with -o, or --fresh to start over in this one",
        )


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return path.name == STATE_FOLDER or _OURS.fullmatch(path.name) is not None
    return path.name in {GRID_FILE, f".{GRID_FILE}.tmp"}


def _has_work(root: Path) -> bool:
    """Whether an earlier run finished anything; if not, another recipe may have the folder."""
    return (root / GRID_FILE).is_file() or any((root / STATE_FOLDER / "receipts").glob("*.json"))


def _clear(root: Path) -> None:
    """Remove an earlier run's work; grid.json first, the lock stays."""
    (root / GRID_FILE).unlink(missing_ok=True)
    state = root / STATE_FOLDER
    (state / "identity.json").unlink(missing_ok=True)
    shutil.rmtree(state / "receipts", ignore_errors=True)
    for path in root.iterdir():
        if _OURS.fullmatch(path.name):
            shutil.rmtree(path)


def _untouched(path: Path, written: Written) -> bool:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return False
    if facts.st_size != written.size:
        return False
    if facts.st_mtime_ns == written.mtime_ns:
        return True
    *_, (_, digest) = digest_file(path)
    return digest == written.digest


def _bytes_in(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
