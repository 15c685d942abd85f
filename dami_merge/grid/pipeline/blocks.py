"""A shard cut into blocks of bounded size: what to read, what to compute, where the result goes.

Tensors that follow each other are packed into one block, and a large tensor is cut into several, so that
fifty thousand small tensors cost as few steps as their bytes need. Knows offsets only.
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
    """Neighbouring elements of one kind and dtype, possibly of several tensors.

    Attributes:
        kind: `interpolate` or `equal`.
        instruct_dtype: In the words of a safetensors header.
        thinking_dtype: Likewise.
        dtype: Likewise, of the result.
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
        start: Offset of its first output byte in the file, always a multiple of 4096.
        lead: The file's bytes from there on that belong to the header; both inputs leave room for them.
        instruct: Elements to read from Instruct, and where they go, in order.
        thinking: Same for Thinking.
        segments: What to compute.
        instruct_bytes: Bytes used in the Instruct buffer; likewise the others.
        instruct_is_output: What is read of Instruct is, byte by byte and place by place, the output at λ = 0.
        thinking_is_output: Likewise for Thinking at λ = 1.
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
    """Cut a shard into blocks none of whose buffers exceeds `block_bytes`; a lazy, repeatable sequence.

    The first begins with the part of the header that fills no page, so that all begin on a page of the file.
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
    """How many elements of a tensor still fit."""
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
