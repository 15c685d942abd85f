"""Build the grid of a plan, or resume an unfinished one.

Plan (headers) → shards (durable, then receipted) → checkpoints (renamed when complete) → grid.json (last).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dami_merge.checkpoint.source import fetched
from dami_merge.files import writing_is_clear
from dami_merge.grid.admission import refuse_foreign, require_space
from dami_merge.grid.contents import require_one_source
from dami_merge.grid.manifest import Grid
from dami_merge.grid.opening import finished_elsewhere, opened, require_same_sources
from dami_merge.grid.output import Output, Receipt
from dami_merge.grid.pipeline.execute import Hooks, Shards
from dami_merge.grid.pipeline.slots import Tally, Waits
from dami_merge.grid.plan import GridPlan, ShardJob
from dami_merge.grid.seal import seal
from dami_merge.tensors.device import choose_devices

if TYPE_CHECKING:
    from fractions import Fraction


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
        OutputRefused: The folder is in use, holds files that are not ours or another grid, or cannot be
            written, or a limit of the system was reached.
        DiskFull: The disk has too little free space, or filled up during the run.
        InputRefused: Weights hold NaN or Inf, integer tensors differ, or a source changed.
        DeviceUnfit: A device is unavailable, or rounds differently from the CPU.
        HubError: A download failed.

    Peak memory: `plan.memory_bytes` per device, in addition to an interpreter that has imported torch.
    """
    started = time.monotonic()
    shards = Shards(choose_devices(device), output_bytes=plan.checkpoint_bytes * len(plan.members))
    plan = _on_this_disk(plan)

    def on_compared(shard: str, done: int, total: int) -> None:
        on_progress(BuildProgress(shard, done, total, 0))

    batches: list[Batch] = []
    tallies: list[Tally] = []
    with writing_is_clear(plan.output):
        grid = None if fresh else finished_elsewhere(plan, on_compared=on_compared)
        if grid is None:
            refuse_foreign(plan.output)
            require_space(plan)
            with opened(plan, fresh=fresh, on_compared=on_compared) as output:
                receipts = {name: output.intact(receipt) for name, receipt in output.receipts().items()}
                batches = _batches(plan, receipts)
                tallies = _make(plan, output, shards, batches, receipts, on_progress)
                require_same_sources(plan)
                grid = seal(plan, output, receipts)
    tally = sum(tallies, Tally())
    return Built(
        grid=grid,
        path=plan.output,
        devices=tuple(map(str, shards.devices)),
        kernel=shards.kernel.name,
        made=tuple(shard.name for batch in batches for shard in batch.shards),
        written_bytes=sum(batch.size_bytes for batch in batches),
        direct_io=bool(tallies) and tally.direct,
        shared_files=tally.shared,
        waits=tally.waits,
        wall_s=time.monotonic() - started,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Shards that are missing at the same λ.

    Attributes:
        plan: The plan of only these λ.
        shards: The shards to make.
    """

    plan: GridPlan
    shards: tuple[ShardJob, ...]

    @property
    def size_bytes(self) -> int:
        """Weight bytes to write."""
        return sum(shard.size_bytes for shard in self.shards) * len(self.plan.members)


def _batches(plan: GridPlan, receipts: Mapping[str, Receipt]) -> list[Batch]:
    """Group the shards that are missing: at every λ in a new grid, at the added λ in a finished one."""
    groups: dict[tuple[Fraction, ...], list[ShardJob]] = {}
    for shard in plan.shards:
        finished = receipts[shard.name].files if shard.name in receipts else {}
        missing = tuple(member.lam for member in plan.members if member.name not in finished)
        if missing:
            groups.setdefault(missing, []).append(shard)
    return [
        Batch(replace(plan, recipe=msgspec.structs.replace(plan.recipe, lambdas=lambdas)), tuple(shards))
        for lambdas, shards in groups.items()
    ]


def _make(
    plan: GridPlan,
    output: Output,
    shards: Shards,
    batches: Sequence[Batch],
    receipts: dict[str, Receipt],
    on_progress: Callable[[BuildProgress], None],
) -> list[Tally]:
    """Make the missing shards and add what they wrote to `receipts`."""
    resumed = done = sum(w.size for receipt in receipts.values() for w in receipt.files.values())
    total = plan.checkpoint_bytes * len(plan.members)

    def advance(shard: ShardJob, count: int) -> None:
        nonlocal done
        done += count
        on_progress(BuildProgress(shard.name, done, total, resumed))

    def keep(receipt: Receipt) -> None:
        before = receipts.get(receipt.shard)
        if before is not None:
            require_one_source(plan, before, receipt)
            receipt = msgspec.structs.replace(receipt, files={**before.files, **receipt.files})
        output.keep_receipt(receipt)
        receipts[receipt.shard] = receipt

    if batches:
        output.unpublish({member.name for batch in batches for member in batch.plan.members})
        advance(batches[0].shards[0], 0)
    hooks = Hooks(output.claimed, advance, keep)
    return [
        shards.make(
            batch.plan,
            batch.shards,
            [output.partial(member.name) for member in batch.plan.members],
            hooks,
        )
        for batch in batches
    ]


def _on_this_disk(plan: GridPlan) -> GridPlan:
    pair = plan.pair
    if not (pair.instruct.remote or pair.thinking.remote):
        return plan
    local = replace(pair, instruct=fetched(pair.instruct), thinking=fetched(pair.thinking))
    return replace(plan, pair=local)
