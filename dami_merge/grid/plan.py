"""What a run will do, as a value: shards, bytes, memory, files; made from headers alone, without torch.

The output keeps the Instruct side's shard boundaries and tensor order, so the unit of work is one output
shard for all λ: both sources are read once for the whole grid. Resume, digests and verification are facts
about that unit. Tensors are matched by name, never by file.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from dami_merge.checkpoint.config import with_dtype
from dami_merge.checkpoint.folder import CONFIG_FILE, SINGLE_FILE, Checkpoint
from dami_merge.checkpoint.header import TensorInfo, build_header
from dami_merge.checkpoint.pair import Pair
from dami_merge.dtypes import DTYPES, FLOATS, HEADER_NAMES, ITEM_BYTES
from dami_merge.errors import OutputRefused, UsageError
from dami_merge.files import digest_bytes
from dami_merge.grid.recipe import Recipe, Side
from dami_merge.tensors.writer import GATHER_BYTES, PAGE_BYTES

EndsMode = Literal["auto", "link", "write"]
"""How λ = 0 and λ = 1 come about where they are a source's file, byte for byte."""

DEFAULT_BLOCK_BYTES = 4 << 20
MIN_BLOCK_BYTES = 64 << 10
SLOTS = 3
"""Blocks in flight: one is read, one is computed, one is written."""

_SCRATCH_BYTES = 32 << 20
"""Operands of the arithmetic, of all its threads, and the buffers of hashing; measured, rounded up."""


@dataclass(frozen=True, slots=True)
class TensorJob:
    """One tensor: where its two inputs lie and where its results go.

    Attributes:
        name: The tensor's name.
        instruct: File and header entry on the Instruct side.
        thinking: File and header entry on the Thinking side.
        dtype: What is written, in the words of a safetensors header.
        start: Offset of the result from the start of the output file.
    """

    name: str
    instruct: tuple[str, TensorInfo]
    thinking: tuple[str, TensorInfo]
    dtype: str
    start: int

    @property
    def kind(self) -> Literal["interpolate", "equal"]:
        """Floats are interpolated; integers must be equal and are copied."""
        return "interpolate" if self.dtype in FLOATS else "equal"


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One output shard, for all λ.

    Attributes:
        name: File name, equal for all λ.
        header: Its first bytes, equal for all λ.
        size_bytes: Size of the whole file.
        tensors: In the order of their bytes.
        instruct_file: The Instruct side's file that is, byte for byte, this shard at λ = 0; None if none is.
        thinking_file: Likewise of the Thinking side at λ = 1.
    """

    name: str
    header: bytes = field(repr=False)
    size_bytes: int
    tensors: tuple[TensorJob, ...] = field(repr=False)
    instruct_file: str | None = None
    thinking_file: str | None = None


@dataclass(frozen=True, slots=True)
class GridPlan:
    """Everything a run will do.

    Attributes:
        recipe: What was asked for.
        pair: The two checkpoints, checked against each other.
        output: Folder of the grid.
        name: Prefix of the served model names.
        shards: Units of work, in order.
        block_bytes: Size of one buffer.
        endpoints: How a file that is a source's, byte for byte, comes about; see `make_plan`.
        memory_bytes: Bound on the memory that the run takes above an interpreter with torch in it; it depends
            on the block size and the number of λ, not on the models.
    """

    recipe: Recipe
    pair: Pair
    output: Path
    name: str
    shards: tuple[ShardJob, ...]
    block_bytes: int
    endpoints: EndsMode
    memory_bytes: int

    @property
    def lambdas(self) -> tuple[Fraction, ...]:
        """The grid's λ, sorted."""
        return self.recipe.lambdas

    @property
    def read_bytes(self) -> int:
        """Bytes of weights that are read: both sources, once."""
        return self.pair.instruct.size_bytes + self.pair.thinking.size_bytes

    @property
    def checkpoint_bytes(self) -> int:
        """Bytes of weights of one checkpoint."""
        return sum(shard.size_bytes for shard in self.shards)

    @property
    def sidecar_bytes(self) -> int:
        """Bytes of all the small files of all checkpoints, as they lie in the donors."""
        size = {
            side: sum((donor.root / name).stat().st_size for name in donor.sidecars)
            for side, donor in (("instruct", self.pair.instruct), ("thinking", self.pair.thinking))
        }
        return sum(size[self.recipe.donor_of(lam)] for lam in self.lambdas)

    @property
    def write_bytes(self) -> int:
        """Bytes that the finished grid takes."""
        return self.checkpoint_bytes * len(self.lambdas) + self.sidecar_bytes

    @property
    def link_bytes(self) -> int:
        """Of `write_bytes`, what hard links save where they were asked for and the disk is the same."""
        if self.endpoints != "link":
            return 0
        place = next(folder for folder in (self.output, *self.output.absolute().parents) if folder.exists())
        sources = [
            (shard.size_bytes, self.source_file(shard, lam)) for shard in self.shards for lam in self.lambdas
        ]
        return sum(
            size_bytes
            for size_bytes, source in sources
            if source is not None and source.exists() and source.stat().st_dev == place.stat().st_dev
        )

    @property
    def download_bytes(self) -> int:
        """Bytes of weights that are still on the Hub."""
        return sum(side.size_bytes for side in (self.pair.instruct, self.pair.thinking) if side.remote)

    def source_file(self, shard: ShardJob, lam: Fraction) -> Path | None:
        """The source's file that is, byte for byte, a shard at one λ; None if none is."""
        if lam == 0 and shard.instruct_file is not None:
            return self.pair.instruct.root / shard.instruct_file
        if lam == 1 and shard.thinking_file is not None:
            return self.pair.thinking.root / shard.thinking_file
        return None

    def donor(self, lam: Fraction) -> Checkpoint:
        """The checkpoint whose sidecars this λ gets."""
        return self.side(self.recipe.donor_of(lam))

    def side(self, side: Side) -> Checkpoint:
        """The checkpoint of one side."""
        return self.pair.instruct if side == "instruct" else self.pair.thinking


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


def config_bytes(plan: GridPlan, lam: Fraction) -> bytes:
    """config.json of one checkpoint: the donor's bytes, or its fields with the dtype corrected."""
    donor = plan.donor(lam)
    original = (donor.root / CONFIG_FILE).read_bytes()
    written = _main_dtype(plan)
    fixed = with_dtype(donor.config, written) if written else dict(donor.config)
    if fixed == donor.config:
        return original
    return (json.dumps(fixed, indent=2, ensure_ascii=False) + "\n").encode()


def index_bytes(plan: GridPlan) -> bytes | None:
    """The index that says which shard holds which tensor; None for a single file."""
    if [shard.name for shard in plan.shards] == [SINGLE_FILE]:
        return None
    content = {
        "metadata": {"total_size": sum(s.size_bytes - len(s.header) for s in plan.shards)},
        "weight_map": {job.name: shard.name for shard in plan.shards for job in shard.tensors},
    }
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def inventory_digest(plan: GridPlan) -> str:
    """A digest of every tensor's name, dtype, shape and shard: equal for grids of one layout."""
    return digest_bytes(b"".join(shard.name.encode() + shard.header for shard in plan.shards))


def _main_dtype(plan: GridPlan) -> str | None:
    """The float dtype that holds most elements of what is written; None without a float tensor."""
    elements: dict[str, int] = {}
    for shard in plan.shards:
        for job in shard.tensors:
            if job.dtype in FLOATS:
                elements[job.dtype] = elements.get(job.dtype, 0) + job.instruct[1].elements
    return DTYPES[max(elements, key=lambda name: elements[name])].torch if elements else None


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
        jobs.append(TensorJob(info.name, (file, info), thinking[info.name], written, start))
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
