"""Blocks cover a shard once, in order, within their bound, and read what the headers say."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dami_merge.checkpoint.folder import Checkpoint
from dami_merge.checkpoint.header import Header, TensorInfo
from dami_merge.dtypes import FLOATS, INTEGERS, ITEM_BYTES
from dami_merge.grid.pipeline.blocks import Block, cut_blocks
from dami_merge.grid.plan import ShardJob, TensorJob
from dami_merge.tensors.sources import FileSource
from dami_merge.tensors.stream import Read

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)

Tensors = list[tuple[str, str, str, tuple[int, ...]]]
"""Dtype on the Instruct side, on the Thinking side, as written, and the shape."""

floats = st.sampled_from(sorted(FLOATS))
shapes = st.lists(st.sampled_from((0, 1, 2, 3, 5, 7, 13, 64, 301)), max_size=2).map(tuple)
tensors = st.lists(
    st.one_of(
        st.tuples(floats, floats, floats, shapes),
        st.builds(
            lambda dtype, shape: (dtype, dtype, dtype, shape), st.sampled_from(sorted(INTEGERS)), shapes
        ),
    ),
    max_size=12,
)


def laid_out(tensors: list[tuple[int, str, tuple[int, ...]]], start: int) -> list[TensorInfo]:
    infos = []
    for number, dtype, shape in tensors:
        size = math.prod(shape) * ITEM_BYTES[dtype]
        infos.append(TensorInfo(f"t{number}", dtype, shape, start, size))
        start += size
    return infos


@dataclass(frozen=True)
class Laid:
    """A shard, and where its tensors lie on each side."""

    shard: ShardJob
    instruct: Checkpoint
    thinking: Checkpoint

    def side(self, name: str) -> Checkpoint:
        return self.instruct if name == "instruct" else self.thinking


def checkpoint_of(files: dict[str, list[TensorInfo]]) -> Checkpoint:
    headers = {name: Header(tuple(infos), 1 << 30, "") for name, infos in files.items()}
    return Checkpoint("side", "side", "", Path("nowhere"), headers, {}, ())


def shard_of(content: Tensors, thinking_files: int = 1) -> Laid:
    """A shard whose Thinking side is spread over files, in another order within each."""
    header = b"h" * 4096
    left = laid_out([(number, a, shape) for number, (a, _, _, shape) in enumerate(content)], start=104)
    orders = [list(range(part, len(content), thinking_files))[::-1] for part in range(thinking_files)]
    right = {
        f"part-{part}": laid_out([(m, content[m][1], content[m][3]) for m in order], start=57)
        for part, order in enumerate(orders)
    }
    jobs, start = [], len(header)
    for number, (instruct, thinking, written, shape) in enumerate(content):
        elements = math.prod(shape)
        jobs.append(TensorJob(f"t{number}", elements, instruct, thinking, written, start))
        start += elements * ITEM_BYTES[written]
    shard = ShardJob("model.safetensors", header, start, tuple(jobs))
    return Laid(shard, checkpoint_of({"one": left}), checkpoint_of(right))


def bytes_read(reads: Iterable[Read]) -> list[tuple[int, str, int]]:
    """Every byte of a buffer that is read: its position, and where it comes from."""
    return [(r.position + i, r.file, r.offset + i) for r in reads for i in range(r.size_bytes)]


def reads_of(block: Block, side: str, laid: Laid) -> list[Read]:
    return list(FileSource(laid.side(side)).reads(getattr(block, side)))


def origins_of(block: Block, side: str, laid: Laid) -> list[tuple[str, str, int]]:
    """What each element that a block computes is read from: dtype, file and offset, in output order."""
    places = {position: (file, offset) for position, file, offset in bytes_read(reads_of(block, side, laid))}
    found = []
    for segment in block.segments:
        dtype, position = getattr(segment, f"{side}_dtype"), getattr(segment, f"{side}_at")
        for element in range(segment.elements):
            first = position + element * ITEM_BYTES[dtype]
            file, offset = places[first]
            span = [places[first + i] for i in range(ITEM_BYTES[dtype])]
            assert span == [(file, offset + i) for i in range(ITEM_BYTES[dtype])]
            found.append((dtype, file, offset))
    return found


def promised(laid: Laid, side: str) -> list[tuple[str, str, int]]:
    found = []
    places = laid.side(side).tensors()
    for job in laid.shard.tensors:
        file, info = places[job.name]
        item = ITEM_BYTES[info.dtype]
        found += [(info.dtype, file, info.start + element * item) for element in range(info.elements)]
    return found


@quick
@given(tensors, st.sampled_from((64, 72, 256, 4096, 1 << 16)), st.integers(1, 3))
def test_every_element_is_read_from_its_place_and_written_once_in_order(
    content: Tensors, block_bytes: int, files: int
) -> None:
    laid = shard_of(content, files)
    shard = laid.shard
    cut = list(cut_blocks(shard, block_bytes))
    for side in ("instruct", "thinking"):
        assert [place for block in cut for place in origins_of(block, side, laid)] == promised(laid, side)
    position = len(shard.header)
    for block in cut:
        assert block.start == position
        at = 0
        for segment in block.segments:
            assert segment.out_at == at
            at += segment.elements * ITEM_BYTES[segment.dtype]
        assert at == block.out_bytes > 0
        position += block.out_bytes
    assert position == shard.size_bytes


@quick
@given(tensors, st.sampled_from((64, 72, 256, 4096)))
def test_no_buffer_exceeds_the_block_size_and_inputs_are_aligned(content: Tensors, block_bytes: int) -> None:
    laid = shard_of(content, 2)
    for block in cut_blocks(laid.shard, block_bytes):
        assert max(block.instruct_bytes, block.thinking_bytes, block.out_bytes) <= block_bytes
        for side, used in (("instruct", block.instruct_bytes), ("thinking", block.thinking_bytes)):
            reads = reads_of(block, side, laid)
            assert all(read.position + read.size_bytes <= used for read in reads)
            ends = [(read.position, read.position + read.size_bytes) for read in reads]
            assert all(first[1] <= second[0] for first, second in pairwise(ends)), "reads overlap"
        for segment in block.segments:
            assert segment.instruct_at % 8 == segment.thinking_at % 8 == 0
            assert segment.kind == ("interpolate" if segment.dtype in FLOATS else "equal")


def test_two_thousand_small_tensors_are_one_read_and_one_run() -> None:
    laid = shard_of([("BF16", "BF16", "BF16", (3, 5))] * 2000)
    (block,) = cut_blocks(laid.shard, 1 << 16)
    assert [segment.elements for segment in block.segments] == [30_000]
    assert [read.size_bytes for read in reads_of(block, "instruct", laid)] == [60_000]
    assert len(reads_of(block, "thinking", laid)) == 2000, "the Thinking side holds them in reverse"


def test_a_large_tensor_is_cut_into_full_blocks() -> None:
    cut = list(cut_blocks(shard_of([("BF16", "BF16", "BF16", (100_001,))]).shard, 1 << 16))
    assert [block.out_bytes for block in cut] == [65_536, 65_536, 65_536, 3_394]


def test_a_wider_written_dtype_bounds_the_block_by_its_output() -> None:
    cut = list(cut_blocks(shard_of([("BF16", "BF16", "F64", (20_000,))]).shard, 1 << 16))
    assert [block.out_bytes for block in cut] == [65_536, 65_536, 28_928]
    assert [block.instruct_bytes for block in cut] == [16_384, 16_384, 7_232]


def test_a_shard_without_elements_has_no_blocks() -> None:
    assert list(cut_blocks(shard_of([]).shard, 1 << 16)) == []
    assert list(cut_blocks(shard_of([("BF16", "BF16", "BF16", (0, 4))]).shard, 1 << 16)) == []
