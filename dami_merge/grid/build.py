"""The job itself: a plan becomes a grid, or resumes becoming one.

Plan (headers) → shards (each durable, then receipted) → checkpoints (renamed when whole) → grid.json (last).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from safetensors import safe_open

from dami_merge._version import __version__
from dami_merge.checkpoint.folder import CONFIG_FILE, INDEX_FILE, Checkpoint
from dami_merge.checkpoint.source import fetched
from dami_merge.files import disk_full_is_clear
from dami_merge.grid.card import model_card
from dami_merge.grid.manifest import (
    SCHEMA_VERSION,
    File,
    Grid,
    Inventory,
    Member,
    RecipeRecord,
    Source,
    Tool,
    write_grid,
)
from dami_merge.grid.output import Output, Receipt, opened, require_space
from dami_merge.grid.pipeline.execute import Shards
from dami_merge.grid.pipeline.slots import Waits
from dami_merge.grid.plan import GridPlan, ShardJob, config_bytes, index_bytes, inventory_digest
from dami_merge.lambdas import folder_name, fraction_text
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
    shards = Shards(choose_devices(device), output_bytes=plan.checkpoint_bytes * len(plan.lambdas))
    plan = _on_this_disk(plan)
    with disk_full_is_clear(plan.output), opened(plan, fresh=fresh) as output:
        receipts = output.intact_receipts()
        require_space(plan)
        missing = [shard for shard in plan.shards if shard.name not in receipts]
        resumed = sum(w.size for receipt in receipts.values() for w in receipt.files.values())
        total = plan.checkpoint_bytes * len(plan.lambdas)
        done = resumed
        if missing:
            output.unpublish()

            def advance(shard: ShardJob, count: int) -> None:
                nonlocal done
                done += count
                on_progress(BuildProgress(shard.name, done, total, resumed))

            def keep(receipt: Receipt) -> None:
                output.keep_receipt(receipt)
                receipts[receipt.shard] = receipt

            advance(missing[0], 0)
            shards.make(plan, missing, [output.partial(lam) for lam in plan.lambdas], advance, keep)
        output.require_same_sources()
        grid = _seal(plan, output, receipts)
    return Built(
        grid=grid,
        path=plan.output,
        devices=tuple(map(str, shards.devices)),
        kernel=shards.kernel.name,
        made=tuple(shard.name for shard in missing),
        written_bytes=sum(shard.size_bytes for shard in missing) * len(plan.lambdas),
        direct_io=bool(missing) and shards.direct,
        shared_files=shards.shared,
        waits=shards.waits,
        wall_s=time.monotonic() - started,
    )


def _on_this_disk(plan: GridPlan) -> GridPlan:
    pair = plan.pair
    if not (pair.instruct.remote or pair.thinking.remote):
        return plan
    local = replace(pair, instruct=fetched(pair.instruct), thinking=fetched(pair.thinking))
    return replace(plan, pair=local)


def _seal(plan: GridPlan, output: Output, receipts: dict[str, Receipt]) -> Grid:
    """Complete and publish every checkpoint, then grid.json."""
    members = [_member(plan, output, receipts, lam) for lam in plan.lambdas]
    grid = Grid(
        schema_version=SCHEMA_VERSION,
        tool=Tool("dami-merge", __version__),
        name=plan.name,
        recipe=RecipeRecord(
            lambdas=[fraction_text(lam) for lam in plan.lambdas],
            dtype=plan.recipe.dtype,
            donor=plan.recipe.donor,
            allow_config=list(plan.recipe.allow_config),
            allow_nonfinite=plan.recipe.allow_nonfinite,
            sampling=plan.recipe.sampling,
        ),
        instruct=_source(plan.pair.instruct, {n: r.instruct for n, r in receipts.items()}),
        thinking=_source(plan.pair.thinking, {n: r.thinking for n, r in receipts.items()}),
        inventory=Inventory(
            tensors=sum(len(shard.tensors) for shard in plan.shards),
            parameters=sum(job.instruct[1].elements for s in plan.shards for job in s.tensors),
            digest=inventory_digest(plan),
        ),
        notes=list(plan.pair.notes),
        allowed=list(plan.pair.allowed),
        checkpoints=members,
    )
    write_grid(output.root, grid)
    return grid


def _member(plan: GridPlan, output: Output, receipts: dict[str, Receipt], lam: Fraction) -> Member:
    name = folder_name(lam)
    served = f"{plan.name}-{name}"
    shards = []
    for shard in plan.shards:
        written = receipts[shard.name].files[name]
        shards.append(File(shard.name, written.size, written.digest))
        _require_readable(output.folder(lam) / shard.name, len(shard.tensors))
    small = {path: (plan.donor(lam).root / path).read_bytes() for path in plan.donor(lam).sidecars}
    small[CONFIG_FILE] = config_bytes(plan, lam)
    small["README.md"] = model_card(plan, lam, served_model_name=served)
    index = index_bytes(plan)
    if index is not None:
        small[INDEX_FILE] = index
    return Member(
        fraction=fraction_text(lam),
        value=float(lam),
        name=name,
        path=name,
        served_model_name=served,
        donor=plan.recipe.donor_of(lam),
        files=output.publish(lam, small, shards),
    )


def _require_readable(path: Path, tensors: int) -> None:
    """What we publish, the format's own library must open."""
    with safe_open(path, framework="numpy") as file:
        found = len(list(file.keys()))
    assert found == tensors, f"{path}: wrote {tensors} tensors, safetensors sees {found}"  # noqa: S101


def _source(side: Checkpoint, tensors: dict[str, str]) -> Source:
    return Source(
        id=side.source_id,
        revision=side.revision,
        headers={name: header.digest for name, header in sorted(side.files.items())},
        tensors=dict(sorted(tensors.items())),
    )
