"""Publish finished shards as checkpoints, and checkpoints as a grid: small files, renames, grid.json last.

Needs only receipts, so the shards may come from one process, several jobs, or another engine.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open

from dami_merge._version import __version__
from dami_merge.checkpoint.config import with_dtype
from dami_merge.checkpoint.folder import CONFIG_FILE, INDEX_FILE, SINGLE_FILE, Checkpoint
from dami_merge.dtypes import DTYPES, FLOATS
from dami_merge.files import digest_bytes
from dami_merge.grid.card import model_card
from dami_merge.grid.manifest import (
    SCHEMA_VERSION,
    Grid,
    Inventory,
    Member,
    RecipeRecord,
    Source,
    Tool,
    write_grid,
)
from dami_merge.grid.output import Output, Receipt
from dami_merge.grid.plan import GridPlan, PlannedMember
from dami_merge.lambdas import fraction_text


def seal(plan: GridPlan, output: Output, receipts: Mapping[str, Receipt]) -> Grid:
    """Complete and publish every checkpoint, then grid.json.

    Args:
        plan: Plan of the grid.
        output: Output folder of the grid.
        receipts: The receipt of every shard of the plan, by file name.

    Returns:
        The contents of grid.json.

    Raises:
        DiskFull: The disk has no room for the small files.
    """
    members = [_published(plan, output, receipts, member) for member in plan.members]
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
            parameters=sum(job.elements for s in plan.shards for job in s.tensors),
            digest=inventory_digest(plan),
        ),
        notes=list(plan.pair.notes),
        allowed=list(plan.pair.allowed),
        checkpoints=members,
    )
    write_grid(output.root, grid)
    return grid


def _published(
    plan: GridPlan, output: Output, receipts: Mapping[str, Receipt], member: PlannedMember
) -> Member:
    shards = {shard.name: receipts[shard.name].files[member.name] for shard in plan.shards}
    for shard in plan.shards:
        _require_readable(output.folder(member.name) / shard.name, len(shard.tensors))
    donor = plan.side(member.donor)
    small = {path: (donor.root / path).read_bytes() for path in donor.sidecars}
    small[CONFIG_FILE] = config_bytes(plan, member)
    small["README.md"] = model_card(plan, member)
    index = index_bytes(plan)
    if index is not None:
        small[INDEX_FILE] = index
    return Member(
        fraction=fraction_text(member.lam),
        value=float(member.lam),
        name=member.name,
        path=member.name,
        served_model_name=member.served_model_name,
        donor=member.donor,
        files=output.publish(member.name, small, shards),
    )


def _require_readable(path: Path, tensors: int) -> None:
    """Assert that the format's own library opens a shard and finds all its tensors."""
    path.open("rb").close()  # the library calls every error of the system a missing file
    with safe_open(path, framework="numpy") as file:
        found = len(list(file.keys()))
    assert found == tensors, f"{path}: wrote {tensors} tensors, safetensors finds {found}"  # noqa: S101


def _source(side: Checkpoint, tensors: dict[str, str]) -> Source:
    return Source(
        id=side.source_id,
        revision=side.revision,
        headers={name: header.digest for name, header in sorted(side.files.items())},
        tensors=dict(sorted(tensors.items())),
    )


def config_bytes(plan: GridPlan, member: PlannedMember) -> bytes:
    """Return config.json of one checkpoint: the donor's bytes, or its fields with the dtype corrected."""
    donor = plan.side(member.donor)
    original = (donor.root / CONFIG_FILE).read_bytes()
    written = _main_dtype(plan)
    fixed = with_dtype(donor.config, written) if written else dict(donor.config)
    if fixed == donor.config:
        return original
    return (json.dumps(fixed, indent=2, ensure_ascii=False) + "\n").encode()


def index_bytes(plan: GridPlan) -> bytes | None:
    """Return the index that maps every tensor to its shard; None for a single file."""
    if [shard.name for shard in plan.shards] == [SINGLE_FILE]:
        return None
    content = {
        "metadata": {"total_size": sum(s.size_bytes - len(s.header) for s in plan.shards)},
        "weight_map": {job.name: shard.name for shard in plan.shards for job in shard.tensors},
    }
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def inventory_digest(plan: GridPlan) -> str:
    """Return a digest of every tensor's name, dtype, shape and shard: equal for grids with equal layouts."""
    return digest_bytes(b"".join(shard.name.encode() + shard.header for shard in plan.shards))


def _main_dtype(plan: GridPlan) -> str | None:
    """Return the float dtype of most written elements; None if no tensor is float."""
    elements: dict[str, int] = {}
    for shard in plan.shards:
        for job in shard.tensors:
            if job.dtype in FLOATS:
                elements[job.dtype] = elements.get(job.dtype, 0) + job.elements
    return DTYPES[max(elements, key=lambda name: elements[name])].torch if elements else None
