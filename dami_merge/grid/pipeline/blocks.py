"""Cut a shard into blocks of bounded size: what to read, what to compute, and where the results go.

Consecutive small tensors share a block, and a large tensor is cut into several blocks, so that even fifty
thousand small tensors take only as many steps as their bytes require. Knows only offsets.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dami_merge.dtypes import ITEM_BYTES
from dami_merge.grid.plan import ShardJob, TensorJob
from dami_merge.tensors.sources import Piece, Placed
from dami_merge.tensors.writer import PAGE_BYTES

_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class Segment:
    """Adjacent elements of one kind and dtype, possibly from several tensors.

    Attributes:
        kind: `interpolate` or `equal`.
        instruct_dtype: Dtype of the elements in Instruct, as a safetensors header spells it.
        thinking_dtype: Dtype of the elements in Thinking, in the same spelling.
        dtype: Dtype of the result, in the same spelling.
        instruct_at: Byte position in the Instruct buffer.
        thinking_at: Byte position in the Thinking buffer.
        out_at: Byte position in every output buffer.
        elements: Number of elements.
    """

    kind: str
    instruct_dtype: str
    thinking_dtype: str
    dtype: str
    instruct_at: int
    thinking_at: int
    out_at: int
    elements: int


@dataclass(slots=True)
class Block:
    """One step of the pipeline.

    Attributes:
        start: Offset of the first output byte in the file, always a multiple of 4096.
        lead: Header bytes that the block begins with; both input buffers leave room for them.
        instruct: Elements to read from Instruct, and where they go in the buffer, in order.
        thinking: Elements to read from Thinking, and where they go in the buffer, in order.
        segments: What to compute.
        instruct_bytes: Bytes used in the Instruct buffer.
        thinking_bytes: Bytes used in the Thinking buffer.
        out_bytes: Bytes used in every output buffer.
        instruct_is_output: Whether the Instruct buffer, as read, is the output at λ = 0.
        thinking_is_output: Whether the Thinking buffer, as read, is the output at λ = 1.
    """

    start: int
    lead: bytes = b""
    instruct: list[Placed] = field(default_factory=list)
    thinking: list[Placed] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    instruct_bytes: int = 0
    thinking_bytes: int = 0
    out_bytes: int = 0
    instruct_is_output: bool = True
    thinking_is_output: bool = True


def cut_blocks(shard: ShardJob, block_bytes: int) -> Iterator[Block]:
    """Cut a shard lazily into blocks, so that no buffer exceeds `block_bytes`; every call gives equal blocks.

    The first block begins with the part of the header that does not fill a page, so that every block begins
    at a page boundary of the file.
    """
    lead = len(shard.header) % PAGE_BYTES
    block = Block(
        start=len(shard.header) - lead,
        lead=shard.header[len(shard.header) - lead :],
        instruct_bytes=lead,
        thinking_bytes=lead,
        out_bytes=lead,
    )
    for job in shard.tensors:
        left, done = job.elements, 0
        while left:
            count = min(left, _room(block, job, block_bytes))
            if count <= 0:
                yield block
                block = Block(start=block.start + block.out_bytes)
                continue
            _append(block, job, done, count)
            left -= count
            done += count
    if block.out_bytes:
        yield block


def _room(block: Block, job: TensorJob, block_bytes: int) -> int:
    """Return how many elements of a tensor still fit."""
    used = (
        (_aligned(block.instruct_bytes), ITEM_BYTES[job.instruct_dtype]),
        (_aligned(block.thinking_bytes), ITEM_BYTES[job.thinking_dtype]),
        (block.out_bytes, ITEM_BYTES[job.dtype]),
    )
    return min((block_bytes - size) // item for size, item in used)


def _append(block: Block, job: TensorJob, first: int, count: int) -> None:
    dtypes = (job.instruct_dtype, job.thinking_dtype, job.dtype)
    last = block.segments[-1] if block.segments else None
    if last and (last.instruct_dtype, last.thinking_dtype, last.dtype) == dtypes:
        segment = replace(last, elements=last.elements + count)
        block.segments[-1] = segment
    else:
        block.instruct_bytes = _aligned(block.instruct_bytes)
        block.thinking_bytes = _aligned(block.thinking_bytes)
        places = block.instruct_bytes, block.thinking_bytes, block.out_bytes
        segment = Segment(job.kind, *dtypes, *places, count)
        block.segments.append(segment)
    block.instruct_is_output &= (segment.instruct_dtype, segment.instruct_at) == (
        segment.dtype,
        segment.out_at,
    )
    block.thinking_is_output &= (segment.thinking_dtype, segment.thinking_at) == (
        segment.dtype,
        segment.out_at,
    )
    piece = Piece(job.name, first, count)
    block.instruct.append((piece, block.instruct_bytes))
    block.thinking.append((piece, block.thinking_bytes))
    block.instruct_bytes += count * ITEM_BYTES[job.instruct_dtype]
    block.thinking_bytes += count * ITEM_BYTES[job.thinking_dtype]
    block.out_bytes += count * ITEM_BYTES[job.dtype]


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT
