"""What a run will do, as a value: shards, bytes, memory, files; made from headers alone, without torch.

The output keeps the Instruct side's shard boundaries and tensor order, so the unit of work is one output
shard for all λ: both sources are read once for the whole grid. Resume, digests and verification are facts
about that unit. Tensors are matched by name, never by file.
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
"""How λ = 0 and λ = 1 come about where they are a source's file, byte for byte."""

DEFAULT_BLOCK_BYTES = 4 << 20
SLOTS = 3
"""Blocks in flight: one is read, one is computed, one is written."""


@dataclass(frozen=True, slots=True)
class TensorJob:
    """One tensor: where its two inputs lie and where its results go.

    Attributes:
        name: The tensor's name.
        elements: Number of elements.
        instruct_dtype: Dtype in which the Instruct side gives them, as a safetensors header spells it.
        thinking_dtype: Same for the Thinking side.
        dtype: Dtype that is written.
        start: Offset of the result from the start of the output file.
    """

    name: str
    elements: int
    instruct_dtype: str
    thinking_dtype: str
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
class PlannedMember:
    """One checkpoint of the grid.

    Attributes:
        name: Name of its folder; files, receipts and manifest go by it.
        lam: λ of its tensors.
        donor: Side that its tokenizer, templates and config come from.
        served_model_name: What a server should call it.
    """

    name: str
    lam: Fraction
    donor: Side
    served_model_name: str


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
    def members(self) -> tuple[PlannedMember, ...]:
        """The checkpoints, in the order of λ."""
        names = [(folder_name(lam), lam) for lam in self.lambdas]
        return tuple(
            PlannedMember(name, lam, self.recipe.donor_of(lam), f"{self.name}-{name}") for name, lam in names
        )

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

    def side(self, side: Side) -> Checkpoint:
        """The checkpoint of one side."""
        return self.pair.instruct if side == "instruct" else self.pair.thinking
