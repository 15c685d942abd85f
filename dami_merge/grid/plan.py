"""The plan of a run as a value: shards, bytes, memory and files, derived from headers alone, without torch.

The output keeps Instruct's shard boundaries and tensor order, so the unit of work is one output shard at
every λ, and both sources are read once for the whole grid. Resuming, digests and verification work on that
unit. Tensors are matched by name, never by file.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.pair import Pair
from dami_merge.dtypes import FLOATS
from dami_merge.grid.recipe import Recipe, Side
from dami_merge.lambdas import folder_name

EndsMode = Literal["auto", "link", "write"]
"""How to create a shard at λ = 0 or λ = 1 that equals a source file byte for byte; see `make_plan`."""

DEFAULT_BLOCK_BYTES = 4 << 20
SLOTS = 3
"""Blocks in flight: one being read, one being computed, one being written."""


@dataclass(frozen=True, slots=True)
class TensorJob:
    """One tensor: its dtypes in both sources, and where its result goes.

    Attributes:
        name: Name of the tensor.
        elements: Number of elements.
        instruct_dtype: Dtype of the elements that Instruct provides, as a safetensors header spells it.
        thinking_dtype: Dtype of the elements that Thinking provides, in the same spelling.
        dtype: Dtype of the result, in the same spelling.
        start: Byte offset of the result in the output file.
    """

    name: str
    elements: int
    instruct_dtype: str
    thinking_dtype: str
    dtype: str
    start: int

    @property
    def kind(self) -> Literal["interpolate", "equal"]:
        """`interpolate` for floats; `equal` for integers, which must be equal and are copied."""
        return "interpolate" if self.dtype in FLOATS else "equal"


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One output shard, at every λ.

    Attributes:
        name: File name, the same at every λ.
        header: Header bytes, the same at every λ.
        size_bytes: Size of the whole file.
        tensors: The tensors, in the order of their bytes.
        instruct_file: Instruct's file that equals this shard at λ = 0 byte for byte; None if there is none.
        thinking_file: Thinking's file that equals this shard at λ = 1 byte for byte; None if there is none.
    """

    name: str
    header: bytes = field(repr=False)
    size_bytes: int
    tensors: tuple[TensorJob, ...] = field(repr=False)
    instruct_file: str | None = None
    thinking_file: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """One checkpoint of the grid.

    Attributes:
        name: Folder name, by which files, receipts and the manifest refer to the checkpoint.
        lam: λ of the tensors.
        donor: Side that the tokenizer, templates and config come from.
        served_model_name: Model name that a server should use.
    """

    name: str
    lam: Fraction
    donor: Side
    served_model_name: str


@dataclass(frozen=True, slots=True)
class GridPlan:
    """Everything a run will do.

    Attributes:
        recipe: What to build.
        pair: The two checkpoints, checked against each other.
        output: Folder of the grid.
        name: Prefix of the served model names.
        shards: Units of work, in order.
        block_bytes: Size of one buffer.
        endpoints: How to create a shard that equals a source file byte for byte; see `make_plan`.
        memory_bytes: Upper bound on the memory of the run, in addition to an interpreter that has imported
            torch; it depends on the block size and the number of λ, not on the models.
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
    def members(self) -> tuple[PlannedMember, ...]:
        """The checkpoints, in ascending order of λ."""
        names = [(folder_name(lam), lam) for lam in self.lambdas]
        return tuple(
            PlannedMember(name, lam, self.recipe.donor_of(lam), f"{self.name}-{name}") for name, lam in names
        )

    @property
    def read_bytes(self) -> int:
        """Weight bytes to read: both sources, once."""
        return self.pair.instruct.size_bytes + self.pair.thinking.size_bytes

    @property
    def checkpoint_bytes(self) -> int:
        """Weight bytes of one checkpoint."""
        return sum(shard.size_bytes for shard in self.shards)

    @property
    def sidecar_bytes(self) -> int:
        """Bytes of all sidecars of all checkpoints, as stored in the donors."""
        size = {
            side: sum((donor.root / name).stat().st_size for name in donor.sidecars)
            for side, donor in (("instruct", self.pair.instruct), ("thinking", self.pair.thinking))
        }
        return sum(size[self.recipe.donor_of(lam)] for lam in self.lambdas)

    @property
    def write_bytes(self) -> int:
        """Bytes of the finished grid."""
        return self.checkpoint_bytes * len(self.lambdas) + self.sidecar_bytes

    @property
    def link_bytes(self) -> int:
        """The part of `write_bytes` that hard links save, if requested and the source is on the same disk."""
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
        """Weight bytes still to be downloaded from the Hub."""
        return sum(side.size_bytes for side in (self.pair.instruct, self.pair.thinking) if side.remote)

    def source_file(self, shard: ShardJob, lam: Fraction) -> Path | None:
        """Return the source file that equals a shard at one λ byte for byte; None if there is none."""
        if lam == 0 and shard.instruct_file is not None:
            return self.pair.instruct.root / shard.instruct_file
        if lam == 1 and shard.thinking_file is not None:
            return self.pair.thinking.root / shard.thinking_file
        return None

    def side(self, side: Side) -> Checkpoint:
        """Return the checkpoint of one side."""
        return self.pair.instruct if side == "instruct" else self.pair.thinking
