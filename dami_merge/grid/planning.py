"""Make a plan from a recipe: open and check both models, lay out the grid. Headers only, no torch."""

import re
from collections.abc import Mapping
from pathlib import Path

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import TensorInfo, build_header
from dami_merge.checkpoint.pair import Pair, join
from dami_merge.checkpoint.source import open_both
from dami_merge.dtypes import FLOATS, HEADER_NAMES, ITEM_BYTES
from dami_merge.errors import OutputRefused, UsageError
from dami_merge.files import writing_is_clear
from dami_merge.grid.plan import DEFAULT_BLOCK_BYTES, SLOTS, EndsMode, GridPlan, ShardJob, TensorJob
from dami_merge.grid.recipe import Recipe
from dami_merge.tensors.writer import GATHER_BYTES, PAGE_BYTES

MIN_BLOCK_BYTES = 64 << 10

_SCRATCH_BYTES = 32 << 20
"""Operands of the arithmetic in all threads, plus the buffers for hashing; measured and rounded up."""


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
        InputRefused: The models must not be interpolated; carries every reason.
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
    with writing_is_clear(Path(output)):
        return make_plan(recipe, pair, Path(output), block_bytes=block_bytes, endpoints=endpoints)


def make_plan(
    recipe: Recipe,
    pair: Pair,
    output: Path,
    *,
    block_bytes: int = DEFAULT_BLOCK_BYTES,
    endpoints: EndsMode = "auto",
) -> GridPlan:
    """Lay out a grid without reading or writing anything.

    Args:
        recipe: What to build.
        pair: The checked pair.
        output: Folder of the grid; need not exist.
        block_bytes: Size of one buffer, a multiple of 4096.
        endpoints: How to create a shard that equals a source file byte for byte: `auto` shares the file's
            blocks (reflink) if the file system supports it, `link` makes a hard link if the file system
            supports it, and both write the file otherwise; `write` always writes it.

    Raises:
        UsageError: The blocks are smaller than 64 KiB, or not a multiple of 4096 bytes.
        OutputRefused: The output is inside a source, or a source inside the output.
    """
    if block_bytes < MIN_BLOCK_BYTES or block_bytes % PAGE_BYTES:
        raise UsageError(
            f"the block size of {block_bytes} bytes must be at least {MIN_BLOCK_BYTES}"
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
    """Lay out one shard; keep the Instruct file's own header if possible, so that λ = 0 equals that file.

    Args:
        instruct: Side whose shard boundaries are kept.
        file: File name of the shard.
        thinking: File and description of every tensor on the other side, by name.
        same: Files of the other side, by the bytes of their headers.
        dtype: Dtype of the written float tensors; None keeps each tensor's own.
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
    try:
        out, root = output.resolve(), source.root.resolve()
    except RuntimeError as error:  # what Python before 3.13 raises for links in a circle
        raise OutputRefused(f"{output}: {error}", hint="choose another folder with -o") from error
    if out == root or root in out.parents:
        raise OutputRefused(
            f"the output {output} is inside the source {source.spec}",
            hint="choose a folder outside the source with -o",
        )
    if out in root.parents:
        raise OutputRefused(
            f"the source {source.spec} is inside the output {output}",
            hint="choose a separate folder with -o",
        )


def _shared_name(pair: Pair) -> str:
    """Return the prefix that both names share: Qwen3-4B for Qwen3-4B-Instruct-2507 and …-Thinking-2507."""
    left, right = (side.source_id.rpartition("/")[2] for side in (pair.instruct, pair.thinking))
    shared = ""
    for ours, theirs in zip(left, right, strict=False):
        if ours != theirs:
            break
        shared += ours
    return re.sub(r"[^A-Za-z0-9._-]+", "-", shared).strip("-_.") or "merge"
