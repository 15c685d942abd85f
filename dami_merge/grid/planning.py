"""From a recipe to a plan: open and check both models, lay out the grid. Headers only, no torch."""

import re
from collections.abc import Mapping
from pathlib import Path

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import TensorInfo, build_header
from dami_merge.checkpoint.pair import Pair, join
from dami_merge.checkpoint.source import open_both
from dami_merge.dtypes import FLOATS, HEADER_NAMES, ITEM_BYTES
from dami_merge.errors import OutputRefused, UsageError
from dami_merge.grid.plan import DEFAULT_BLOCK_BYTES, SLOTS, EndsMode, GridPlan, ShardJob, TensorJob
from dami_merge.grid.recipe import Recipe
from dami_merge.tensors.writer import GATHER_BYTES, PAGE_BYTES

MIN_BLOCK_BYTES = 64 << 10

_SCRATCH_BYTES = 32 << 20
"""Operands of the arithmetic in all its threads, and the buffers of hashing; measured, rounded up."""


def plan_grid(
    recipe: Recipe,
    output: str | Path = "grid",
    *,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    endpoints: EndsMode = "auto",
) -> GridPlan:
    """Open both models, check them against each other, and lay out the grid; writes nothing.

    Args:
        recipe: What to build.
        output: Folder of the grid; need not exist.
        block_bytes: See `make_plan`.
        endpoints: See `make_plan`.

    Raises:
        InputRefused: The models must not be interpolated, with every reason.
        HubError: A Hub id cannot be read.
        UsageError: See `make_plan`.
        OutputRefused: See `make_plan`.

    Example:
        >>> from dami_merge import Recipe
        >>> plan = plan_grid(Recipe(instruct="bundled:tiny/instruct", thinking="bundled:tiny/thinking"))
        >>> [member.name for member in plan.members][:3], len(plan.shards)
        (['lambda-0.00', 'lambda-0.10', 'lambda-0.20'], 1)
    """
    sides = open_both(recipe.instruct, recipe.thinking)
    pair = join(*sides, allow=recipe.allow_config, mixed_dtypes=recipe.dtype is not None)
    return make_plan(recipe, pair, Path(output), block_bytes=block_bytes, endpoints=endpoints)


def make_plan(
    recipe: Recipe,
    pair: Pair,
    output: Path,
    *,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    endpoints: EndsMode = "auto",
) -> GridPlan:
    """Lay out a grid; reads nothing and writes nothing.

    Args:
        recipe: What to build.
        pair: The checked pair.
        output: Folder of the grid; need not exist.
        block_bytes: Size of one buffer, a multiple of 4096.
        endpoints: How an output that is byte for byte a source's file comes about: `auto` shares the
            file's blocks where the file system can (reflink) and writes elsewhere, `link` makes a hard link
            where it can, `write` always writes.

    Raises:
        UsageError: The blocks are smaller than 64 KiB.
        OutputRefused: The output lies in a source, or a source in the output.
    """
    if block_bytes < MIN_BLOCK_BYTES or block_bytes % PAGE_BYTES:
        raise UsageError(
            f"blocks of {block_bytes} bytes: must be {MIN_BLOCK_BYTES} at least"
            f" and a multiple of {PAGE_BYTES}"
        )
    for source in (pair.instruct, pair.thinking):
        _refuse_nested(output, source)
    dtype = HEADER_NAMES[recipe.dtype] if recipe.dtype else None
    thinking = pair.thinking.tensors()
    same = {header.verbatim: file for file, header in pair.thinking.files.items() if header.verbatim}
    shards = tuple(_shard(pair.instruct, file, thinking, same, dtype) for file in sorted(pair.instruct.files))
    buffers = SLOTS * (2 + len(recipe.lambdas)) * block_bytes + 2 * len(recipe.lambdas) * GATHER_BYTES
    return GridPlan(
        recipe=recipe,
        pair=pair,
        output=output,
        name=recipe.name or _shared_name(pair),
        shards=shards,
        block_bytes=block_bytes,
        endpoints=endpoints,
        memory_bytes=buffers + _SCRATCH_BYTES,
    )


def _shard(
    instruct: Checkpoint,
    file: str,
    thinking: Mapping[str, tuple[str, TensorInfo]],
    same: Mapping[bytes, str],
    dtype: str | None,
) -> ShardJob:
    """Begins with the Instruct file's own header where it can, so that λ = 0 is that file.

    Args:
        instruct: The side whose shards are kept.
        file: Which of them.
        thinking: Where each tensor lies on the other side.
        same: The other side's files by the bytes of their headers.
        dtype: Of the floats that are written; None keeps each tensor's own.
    """
    tensors = instruct.files[file].tensors
    dtypes = [dtype if dtype and info.dtype in FLOATS else info.dtype for info in tensors]
    kept = instruct.files[file].verbatim if dtypes == [info.dtype for info in tensors] else b""
    header = kept or build_header(
        (info.name, written, info.shape) for info, written in zip(tensors, dtypes, strict=True)
    )
    same_instruct, same_thinking = (file, same.get(kept)) if kept else (None, None)
    jobs = []
    start = len(header)
    for info, written in zip(tensors, dtypes, strict=True):
        other = thinking[info.name][1]
        jobs.append(TensorJob(info.name, info.elements, info.dtype, other.dtype, written, start))
        start += info.elements * ITEM_BYTES[written]
    return ShardJob(file, header, start, tuple(jobs), same_instruct, same_thinking)


def _refuse_nested(output: Path, source: Checkpoint) -> None:
    out, root = output.resolve(), source.root.resolve()
    if out == root or root in out.parents:
        raise OutputRefused(
            f"the output {output} lies in the source {source.spec}",
            hint="give a folder outside it with -o",
        )
    if out in root.parents:
        raise OutputRefused(
            f"the source {source.spec} lies in the output {output}",
            hint="give a folder of its own with -o",
        )


def _shared_name(pair: Pair) -> str:
    """What both models' names begin with: Qwen3-4B for Qwen3-4B-Instruct-2507 and …-Thinking-2507."""
    left, right = (side.source_id.rpartition("/")[2] for side in (pair.instruct, pair.thinking))
    shared = ""
    for ours, theirs in zip(left, right, strict=False):
        if ours != theirs:
            break
        shared += ours
    return re.sub(r"[^A-Za-z0-9._-]+", "-", shared).strip("-_.") or "merge"
