"""Compare the weights of sources with the digests of an earlier run's receipts.

A modification time says little: a copy, a new installation or `touch` changes it and no weights. Where it
differs, the tensors themselves decide. Reads whole sources; imports no torch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.dtypes import ITEM_BYTES
from dami_merge.errors import OutputRefused
from dami_merge.files import CHUNK_BYTES, Digest
from dami_merge.grid.output import Receipt
from dami_merge.grid.plan import GridPlan, ShardJob
from dami_merge.grid.recipe import Side
from dami_merge.tensors.sources import Piece, TensorSource, source_of


def require_same_contents(
    plan: GridPlan,
    receipts: Mapping[str, Receipt],
    sides: Sequence[Side],
    *,
    on_bytes: Callable[[str, int, int], None],
) -> None:
    """Refuse a source that holds other tensors than those that the finished shards were made from.

    Args:
        plan: Plan of the grid.
        receipts: Receipts of an earlier run, by the shard's file name. Shards without one are made anew, so
            nothing is known or needed about them.
        sides: The sides to compare.
        on_bytes: Called with the name of the shard, the bytes read so far and the bytes to read.

    Raises:
        OutputRefused: A tensor differs; names the shard and the side.
        InputRefused: A source changed while it was read.

    Peak memory: one buffer of 4 MiB.
    """
    shards = [shard for shard in plan.shards if shard.name in receipts]
    total = sum(_bytes_of(plan.side(side), shard) for side in sides for shard in shards)
    done = 0
    for side in sides:
        with source_of(plan.side(side)) as source:
            for shard in shards:
                digest = Digest()
                for part in _tensor_bytes(source, plan.side(side), shard):
                    digest.update(part)
                    done += len(part)
                    on_bytes(shard.name, done, total)
                if digest.text() != getattr(receipts[shard.name], side):
                    raise _other_source(plan, side, shard.name)


def require_one_source(plan: GridPlan, before: Receipt, now: Receipt) -> None:
    """Refuse to add λ to a shard whose earlier λ were made from other tensors.

    Raises:
        OutputRefused: A tensor of a side differs; names the shard and the side.
    """
    for side in ("instruct", "thinking"):
        if getattr(before, side) != getattr(now, side):
            raise _other_source(plan, side, now.shard)


def _other_source(plan: GridPlan, side: str, shard: str) -> OutputRefused:
    return OutputRefused(
        f"{plan.output} holds a grid made from another source: the tensors of {shard} in {side}"
        f" ({getattr(plan.pair, side).spec}) are not those that the finished shard was made from",
        hint="give the model that the grid was made from, choose another folder with -o, or start over in"
        " this one with --fresh",
    )


def _bytes_of(side: Checkpoint, shard: ShardJob) -> int:
    tensors = side.tensors()
    return sum(tensors[job.name][1].size_bytes for job in shard.tensors)


def _tensor_bytes(source: TensorSource, side: Checkpoint, shard: ShardJob) -> Iterator[memoryview]:
    """Yield the bytes of a side's tensors in the order of the shard, which is the order of its digest."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    tensors = side.tensors()
    placed: list[tuple[Piece, int]] = []
    used = 0
    for job in shard.tensors:
        item = ITEM_BYTES[tensors[job.name][1].dtype]
        first = 0
        while first < job.elements:
            count = min((len(buffer) - used) // item, job.elements - first)
            if count == 0:
                yield from source.fill(placed, buffer)
                placed, used = [], 0
                continue
            placed.append((Piece(job.name, first, count), used))
            first += count
            used += count * item
    yield from source.fill(placed, buffer)
