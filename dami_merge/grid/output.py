"""The output folder of a run: its lock, its finished shards, and how checkpoints are published.

    grid.json                     written last; without it the grid is unfinished
    lambda-0.30/                  a published checkpoint
    lambda-0.30.partial/          a checkpoint being written; without config.json, so that nothing loads it
    .dami-merge/lock              held by the one run that uses the folder
    .dami-merge/identity.json     recipe and sources of the grid; any others are refused
    .dami-merge/locks/*.lock      one for each shard: several processes may make different shards
    .dami-merge/receipts/*.json   one per finished shard: size, digest and time of its file at every λ

A receipt is written after its files are durable. It is valid while every file has the recorded size and
either the recorded modification time or the recorded digest. Knows nothing about arithmetic or torch.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dami_merge.checkpoint.folder import CONFIG_FILE
from dami_merge.errors import InputRefused, Problem
from dami_merge.files import (
    Written,
    digest_bytes,
    digest_file,
    locked,
    publish_folder,
    sync_folder,
    write_durable,
)
from dami_merge.grid.admission import OUR_FOLDERS, STATE_FOLDER, has_work, refuse_foreign, refuse_other
from dami_merge.grid.identity import changed, identity_of
from dami_merge.grid.manifest import GRID_FILE, File
from dami_merge.grid.plan import GridPlan, ShardJob


class Receipt(msgspec.Struct, frozen=True):
    """One finished unit of work: a shard at every λ.

    Attributes:
        shard: File name of the shard.
        files: The written files, by name of the checkpoint.
        instruct: Digest of the tensor bytes read from Instruct.
        thinking: Digest of the tensor bytes read from Thinking.
    """

    shard: str
    files: dict[str, Written]
    instruct: str
    thinking: str


class Output:
    """The output folder, while its lock is held."""

    def __init__(self, plan: GridPlan) -> None:
        """Call `opened` instead, which takes the lock."""
        self._plan = plan
        self._root = plan.output
        self._receipts = plan.output / STATE_FOLDER / "receipts"

    @property
    def root(self) -> Path:
        """Folder of the grid."""
        return self._root

    def folder(self, name: str) -> Path:
        """Return the folder that holds a checkpoint's files now: the published or the partial one."""
        final = self.final(name)
        return final if final.is_dir() else self.partial(name)

    def final(self, name: str) -> Path:
        """Return the folder of a published checkpoint."""
        return self._root / name

    def partial(self, name: str) -> Path:
        """Return the folder of a checkpoint that is being written."""
        return self._root / f"{name}.partial"

    def intact_receipts(self) -> dict[str, Receipt]:
        """Return the receipts of shards that are finished and unchanged, by file name."""
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
            return None  # our own file: if it is damaged, make the shard again
        for member in self._plan.members:
            written = receipt.files.get(member.name)
            if written is None or not _untouched(self.folder(member.name) / shard.name, written):
                return None
        return receipt

    def keep_receipt(self, receipt: Receipt) -> None:
        """Record a finished shard; its files must already be durable."""
        for member in self._plan.members:
            folder = self.folder(member.name)
            for place in {folder, (folder / receipt.shard).parent}:
                sync_folder(place)
        write_durable(self._receipt_path(receipt.shard), msgspec.json.encode(receipt))

    @contextmanager
    def claimed(self, shard: str) -> Iterator[None]:
        """Hold the lock of one shard while it is made, so that several processes may share the folder.

        Raises:
            OutputRefused: Another process is making this shard.
        """
        locks = self._root / STATE_FOLDER / "locks"
        locks.mkdir(exist_ok=True)
        with locked(locks / f"{_flat(shard)}.lock", what=self._root / shard):
            yield

    def _receipt_path(self, shard: str) -> Path:
        return self._receipts / f"{_flat(shard)}.json"

    def require_same_sources(self) -> None:
        """Refuse to publish a grid if a source has changed since the folder was opened.

        Raises:
            InputRefused: A source changed or disappeared; states every change.
        """
        before = msgspec.json.decode((self._root / STATE_FOLDER / "identity.json").read_bytes())
        try:
            now = identity_of(self._plan)
        except FileNotFoundError as error:
            problem = Problem("source-changed", f"{error.filename} disappeared during the run")
            raise InputRefused([problem]) from error
        changes = changed(before, now)
        if changes:
            hint = "restore the file, or start over with --fresh"
            facts = [f"a source changed during the run: {change}" for change in changes]
            raise InputRefused([Problem("source-changed", fact, hint) for fact in facts])

    def unpublish(self) -> None:
        """Remove grid.json and make every checkpoint partial, before shards are made again."""
        (self._root / GRID_FILE).unlink(missing_ok=True)
        sync_folder(self._root)
        for member in self._plan.members:
            final, partial = self.final(member.name), self.partial(member.name)
            if final.is_dir():
                if partial.is_dir():
                    shutil.rmtree(partial)
                final.rename(partial)
            partial.mkdir(exist_ok=True)
            (partial / CONFIG_FILE).unlink(missing_ok=True)
        sync_folder(self._root)

    def publish(
        self, name: str, small_files: Mapping[str, bytes], shards: Mapping[str, Written]
    ) -> list[File]:
        """Complete a checkpoint's folder and rename it to its final name; check and keep a published one.

        Args:
            name: Name of the checkpoint.
            small_files: Contents of all files except the shards, by POSIX path.
            shards: The shards, by file name; they must already be in the folder.

        Returns:
            All files of the checkpoint, sorted by name.
        """
        folder = self.folder(name)
        for file, content in small_files.items():
            path = folder / file
            if not (path.is_file() and path.read_bytes() == content):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_durable(path, content)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()  # from a run that was killed while writing a small file
        if folder == self.partial(name):
            publish_folder(folder, self.final(name))
        files = [File(file, len(data), digest_bytes(data)) for file, data in small_files.items()]
        files += [File(file, written.size, written.digest) for file, written in shards.items()]
        return sorted(files, key=lambda file: file.name)


@contextmanager
def opened(plan: GridPlan, *, fresh: bool = False) -> Iterator[Output]:
    """Open the output folder for one run and hold its lock.

    Args:
        plan: Plan of the grid to build.
        fresh: Discard an earlier run's work first.

    Raises:
        OutputRefused: The folder is in use, holds files that are not ours, or holds another grid.
    """
    root, state = plan.output, plan.output / STATE_FOLDER
    refuse_foreign(root)
    state.mkdir(parents=True, exist_ok=True)
    with locked(state / "lock", what=root):
        if fresh:
            _clear(root)
        identity = identity_of(plan)
        path = state / "identity.json"
        if path.is_file() and has_work(root):
            refuse_other(root, msgspec.json.decode(path.read_bytes()), identity)
        else:
            _clear(root)
            write_durable(path, msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")
        (state / "receipts").mkdir(exist_ok=True)
        yield Output(plan)


def _clear(root: Path) -> None:
    """Remove an earlier run's work, grid.json first; keep the lock."""
    (root / GRID_FILE).unlink(missing_ok=True)
    state = root / STATE_FOLDER
    (state / "identity.json").unlink(missing_ok=True)
    shutil.rmtree(state / "receipts", ignore_errors=True)
    for path in root.iterdir():
        if OUR_FOLDERS.fullmatch(path.name):
            shutil.rmtree(path)


def _flat(shard: str) -> str:
    """Return a shard's name with its folder separators escaped."""
    return shard.replace("/", "%2F")


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
