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

    def folder(self, name: str) -> Path:
        """Where the files of a checkpoint lie now: its published folder, or the partial one."""
        final = self.final(name)
        return final if final.is_dir() else self.partial(name)

    def final(self, name: str) -> Path:
        """Folder of a published checkpoint."""
        return self._root / name

    def partial(self, name: str) -> Path:
        """Folder of a checkpoint that is being written."""
        return self._root / f"{name}.partial"

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
        for member in self._plan.members:
            written = receipt.files.get(member.name)
            if written is None or not _untouched(self.folder(member.name) / shard.name, written):
                return None
        return receipt

    def keep_receipt(self, receipt: Receipt) -> None:
        """Record a finished shard; its files must be durable."""
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
        """Complete a checkpoint's folder and give it its final name; done already, it is checked and kept.

        Args:
            name: Name of the checkpoint.
            small_files: Everything but the shards, by POSIX path.
            shards: The shards, by file name; they lie in the folder already.

        Returns:
            All of its files, sorted by name.
        """
        folder = self.folder(name)
        for file, content in small_files.items():
            path = folder / file
            if not (path.is_file() and path.read_bytes() == content):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_durable(path, content)
        for leftover in folder.rglob(".*.tmp"):
            leftover.unlink()  # of a run that was killed while it wrote a small file
        if folder == self.partial(name):
            publish_folder(folder, self.final(name))
        files = [File(file, len(data), digest_bytes(data)) for file, data in small_files.items()]
        files += [File(file, written.size, written.digest) for file, written in shards.items()]
        return sorted(files, key=lambda file: file.name)


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
        if path.is_file() and has_work(root):
            refuse_other(root, msgspec.json.decode(path.read_bytes()), identity)
        else:
            _clear(root)
            write_durable(path, msgspec.json.format(msgspec.json.encode(identity), indent=2) + b"\n")
        (state / "receipts").mkdir(exist_ok=True)
        yield Output(plan)


def _clear(root: Path) -> None:
    """Remove an earlier run's work; grid.json first, the lock stays."""
    (root / GRID_FILE).unlink(missing_ok=True)
    state = root / STATE_FOLDER
    (state / "identity.json").unlink(missing_ok=True)
    shutil.rmtree(state / "receipts", ignore_errors=True)
    for path in root.iterdir():
        if OUR_FOLDERS.fullmatch(path.name):
            shutil.rmtree(path)


def _flat(shard: str) -> str:
    """A shard's name without folders."""
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
