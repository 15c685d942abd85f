"""The output folder of a run: its lock, its finished shards, and how checkpoints are published.

    grid.json                     written last; without it the grid is unfinished
    lambda-0.30/                  a published checkpoint
    lambda-0.30.partial/          a checkpoint being written; without config.json, so that nothing loads it
    .dami-merge/lock              held by the one run that uses the folder
    .dami-merge/identity.json     recipe and sources of the grid; any others are refused
    .dami-merge/locks/*.lock      one for each shard: several processes may make different shards
    .dami-merge/receipts/*.json   one per finished shard: size, digest and time of its file at every λ

A receipt is written after its files are durable. A file in it counts as finished while it has the recorded
size and either the recorded modification time or the recorded digest. Knows nothing about arithmetic.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dami_merge.checkpoint.folder import CONFIG_FILE
from dami_merge.files import (
    Written,
    digest_bytes,
    digest_file,
    locked,
    publish_folder,
    sync_folder,
    write_durable,
)
from dami_merge.grid.admission import STATE_FOLDER
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
        """Call `grid.opening.opened` instead, which takes the lock."""
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

    def receipts(self) -> dict[str, Receipt]:
        """Return the receipts that an earlier run left, by the shard's file name; see `intact`."""
        found = ((shard.name, self._receipt(shard)) for shard in self._plan.shards)
        return {name: receipt for name, receipt in found if receipt is not None}

    def _receipt(self, shard: ShardJob) -> Receipt | None:
        try:
            content = self._receipt_path(shard.name).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(content, type=Receipt)
        except (msgspec.MsgspecError, RecursionError):
            return None  # our own file: if it is damaged, make the shard again

    def intact(self, receipt: Receipt) -> Receipt:
        """Return a receipt with only the plan's files that exist and are unchanged."""
        files = {}
        for member in self._plan.members:
            written = receipt.files.get(member.name)
            if written and _untouched(self.folder(member.name) / receipt.shard, written):
                files[member.name] = written
        return msgspec.structs.replace(receipt, files=files)

    def keep_receipt(self, receipt: Receipt) -> None:
        """Record a finished shard; its files must already be durable."""
        for name in receipt.files:
            folder = self.folder(name)
            for place in {folder, (folder / receipt.shard).parent}:
                sync_folder(place)
        write_durable(self._receipt_path(receipt.shard), msgspec.json.encode(receipt), resumes=True)

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

    def unpublish(self, names: Collection[str]) -> None:
        """Prepare the folders of checkpoints whose shards will be made: partial ones, without config.json.

        If one of them is published, it is damaged: grid.json, which lists it, is removed first. Otherwise, as
        when λ are added to a finished grid, grid.json and the checkpoints that it lists stay usable.
        """
        if any(self.final(name).is_dir() for name in names):
            (self._root / GRID_FILE).unlink(missing_ok=True)
            sync_folder(self._root)
        for name in sorted(names):
            final, partial = self.final(name), self.partial(name)
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
                write_durable(path, content, resumes=True)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()  # from a run that was killed while writing a small file
        if folder == self.partial(name):
            publish_folder(folder, self.final(name))
        elif self.partial(name).is_dir():
            shutil.rmtree(self.partial(name))
        files = [File(file, len(data), digest_bytes(data)) for file, data in small_files.items()]
        files += [File(file, written.size, written.digest) for file, written in shards.items()]
        return sorted(files, key=lambda file: file.name)


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
