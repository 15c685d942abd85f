"""Build the grid of a plan, or resume an unfinished one.

Plan (headers) → shards (durable, then receipted) → checkpoints (renamed when complete) → grid.json (last).
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
    """Progress of a run.

    Attributes:
        shard: File name of the shard in progress.
        done_bytes: Weight bytes written at all λ, including those of an earlier run.
        total_bytes: Weight bytes of the whole grid.
        resumed_bytes: The part of `done_bytes` that an earlier run had finished.
    """

    shard: str
    done_bytes: int
    total_bytes: int
    resumed_bytes: int


@dataclass(frozen=True, slots=True)
class Built:
    """Result of a run.

    Attributes:
        grid: The manifest, as published.
        path: Folder of the grid.
        devices: Devices that the arithmetic ran on.
        kernel: Implementation of the arithmetic: `torch`, `numba` or `triton`.
        made: Names of the shards that this run computed; the others were already finished.
        written_bytes: Weight bytes that this run wrote.
        direct_io: Whether all writes of this run bypassed the page cache; the file system decides.
        shared_files: Number of files that share a source file's blocks, by a reflink or a hard link.
        waits: Time spent waiting for each step, summed over devices.
        wall_s: Elapsed time in seconds.
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
        OutputRefused: The folder is in use, holds files that are not ours, or holds another grid.
        DiskFull: The disk has too little free space, or filled up during the run.
        InputRefused: Weights hold NaN or Inf, integer tensors differ, or a source changed.
        DeviceUnfit: A device is unavailable, or rounds differently from the CPU.
        HubError: A download failed.

    Peak memory: `plan.memory_bytes` per device, in addition to an interpreter that has imported torch.
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
    """Make the missing shards and add their receipts to `receipts`."""
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
