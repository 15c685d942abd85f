"""The job itself: a plan becomes a grid, or resumes becoming one.

Plan (headers) → shards (each durable, then receipted) → checkpoints (renamed when whole) → grid.json (last).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dami_merge.checkpoint.source import fetched
from dami_merge.files import disk_full_is_clear
from dami_merge.grid.admission import require_space
from dami_merge.grid.manifest import (
    Grid,
)
from dami_merge.grid.output import Output, Receipt, opened
from dami_merge.grid.pipeline.execute import Hooks, Shards
from dami_merge.grid.pipeline.slots import Tally, Waits
from dami_merge.grid.plan import GridPlan, ShardJob
from dami_merge.grid.seal import seal
from dami_merge.tensors.device import choose_devices


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a run is.

    Attributes:
        shard: File name of the shard in work.
        done_bytes: Weight bytes written, of all λ, those of an earlier run included.
        total_bytes: Weight bytes of the whole grid.
        resumed_bytes: Of `done_bytes`, what an earlier run had finished.
    """

    shard: str
    done_bytes: int
    total_bytes: int
    resumed_bytes: int


@dataclass(frozen=True, slots=True)
class Built:
    """What a run did.

    Attributes:
        grid: The manifest that is now in the folder.
        path: Folder of the grid.
        devices: Where the arithmetic ran.
        kernel: Which form of it: `torch`, `numba` or `triton`.
        made: Names of the shards that this run computed; the others were finished before.
        written_bytes: Weight bytes that this run wrote.
        direct_io: Whether what this run wrote went past the page cache; the file system decides.
        shared_files: How many of the files that this run made are a source's, by a reflink or a hard link.
        waits: What the steps of this run waited for, in seconds; several devices add up.
        wall_s: Seconds.
    """

    grid: Grid
    path: Path
    devices: tuple[str, ...]
    kernel: str
    made: tuple[str, ...]
    written_bytes: int
    direct_io: bool
    shared_files: int
    waits: Waits
    wall_s: float


def build_grid(
    plan: GridPlan,
    *,
    device: str = "auto",
    fresh: bool = False,
    on_progress: Callable[[BuildProgress], None] = lambda _: None,
) -> Built:
    """Materialise every checkpoint of a plan.

    A killed run is resumed by the same call: finished shards are kept, and the result is byte-identical.

    Args:
        plan: From `make_plan`. Weights that are still on the Hub are downloaded first.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `cuda:0,cuda:1` or `mps`; several share the shards.
        fresh: Discard an earlier run's work in the output folder.
        on_progress: Called after each block, by one thread at a time.

    Raises:
        OutputRefused: The folder is locked, foreign, or holds another grid.
        DiskFull: Not enough space, before the first byte or on the way.
        InputRefused: NaN or Inf weights, integer tensors that differ, or a source that changed.
        DeviceUnfit: The device is not there or rounds differently.
        HubError: A download failed.

    Peak memory: `plan.memory_bytes` for each device, above an interpreter that has imported torch.
    """
    started = time.monotonic()
    shards = Shards(choose_devices(device), output_bytes=plan.checkpoint_bytes * len(plan.members))
    plan = _on_this_disk(plan)
    with disk_full_is_clear(plan.output), opened(plan, fresh=fresh) as output:
        receipts = output.intact_receipts()
        require_space(plan)
        missing = [shard for shard in plan.shards if shard.name not in receipts]
        tally = _make(plan, output, shards, missing, receipts, on_progress) if missing else None
        output.require_same_sources()
        grid = seal(plan, output, receipts)
    return Built(
        grid=grid,
        path=plan.output,
        devices=tuple(map(str, shards.devices)),
        kernel=shards.kernel.name,
        made=tuple(shard.name for shard in missing),
        written_bytes=sum(shard.size_bytes for shard in missing) * len(plan.members),
        direct_io=tally is not None and tally.direct,
        shared_files=0 if tally is None else tally.shared,
        waits=Waits() if tally is None else tally.waits,
        wall_s=time.monotonic() - started,
    )


def _make(
    plan: GridPlan,
    output: Output,
    shards: Shards,
    missing: Sequence[ShardJob],
    receipts: dict[str, Receipt],
    on_progress: Callable[[BuildProgress], None],
) -> Tally:
    """Make the missing shards; their receipts are added to `receipts`."""
    resumed = done = sum(w.size for receipt in receipts.values() for w in receipt.files.values())
    total = plan.checkpoint_bytes * len(plan.members)
    output.unpublish()

    def advance(shard: ShardJob, count: int) -> None:
        nonlocal done
        done += count
        on_progress(BuildProgress(shard.name, done, total, resumed))

    def keep(receipt: Receipt) -> None:
        output.keep_receipt(receipt)
        receipts[receipt.shard] = receipt

    advance(missing[0], 0)
    folders = [output.partial(member.name) for member in plan.members]
    return shards.make(plan, missing, folders, Hooks(output.claimed, advance, keep))


def _on_this_disk(plan: GridPlan) -> GridPlan:
    pair = plan.pair
    if not (pair.instruct.remote or pair.thinking.remote):
        return plan
    local = replace(pair, instruct=fetched(pair.instruct), thinking=fetched(pair.thinking))
    return replace(plan, pair=local)
